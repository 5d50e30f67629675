-- ARGV: what a token may be stored under. Returns 1 if something is, used tokens included; otherwise who has claimed it
-- may no longer store it.
for at = FIRST, #ARGV do
  if stored(ARGV[at]) then return 1 end
end
if CLAIM then redis.call('UNLINK', CLAIM) end
return 0
