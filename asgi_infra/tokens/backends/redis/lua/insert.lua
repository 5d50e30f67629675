-- ARGV: most sessions or '', digest, value, other digests. Returns how many were dropped, or -1 for a duplicate, as
-- when the claim was withdrawn. The new one stays, also when it was issued before the others.
local most, digest, value = tonumber(ARGV[FIRST]), ARGV[FIRST + 1], ARGV[FIRST + 2]
if CLAIM and redis.call('UNLINK', CLAIM) == 0 then return -1 end
for at = FIRST + 1, #ARGV do
  if at ~= FIRST + 2 and stored(ARGV[at]) then return -1 end
end
put(digest, value, ttl(ends(parsed(value))))
if not most then return 0 end
local live = {}
for _, token in ipairs(everything()) do
  if token.live and token.digest ~= digest then live[#live + 1] = token end
end
table.sort(live, function(a, b)
  if a.issued ~= b.issued then return a.issued < b.issued end
  return a.digest < b.digest
end)
local dropped = {}
for at = 1, #live + 1 - most do dropped[at] = live[at].digest end
drop(dropped)
return #dropped
