-- flags=allow-oom
-- ARGV: up to how many tokens to look at each, then what the one to keep may be stored under. Returns how many were live.
-- Of more, all that the server has not yet expired count, since looking at each would block it.
local looked_at = tonumber(ARGV[FIRST])
local count = redis.call('HLEN', KEYS[1])
if count <= looked_at then
  local dropped, live, kept = {}, 0, {}
  for at = FIRST + 1, #ARGV do kept[ARGV[at]] = true end
  for _, token in ipairs(everything()) do
    if not kept[token.digest] then
      dropped[#dropped + 1] = token.digest
      if token.live then live = live + 1 end
    end
  end
  drop(dropped)
  return live
end
local keep = {}
for at = FIRST + 1, #ARGV do
  local token = stored(ARGV[at])
  if token then keep[#keep + 1] = token end
end
clear()
for _, token in ipairs(keep) do
  put(token.digest, token.value, ttl(ends(token)))
end
return count - #keep
