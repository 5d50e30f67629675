-- flags=allow-oom
-- ARGV: the family. Returns how many were live.
return drop_family(ARGV[FIRST])
