-- flags=allow-oom
-- ARGV: up to how many tokens to look at each, then what the one to keep may be stored under. Returns how many were live.
-- Of more, all that the server has not yet expired count, since looking at each would block it. With the one that is
-- kept stay those that it has replaced; of a used one, what has replaced it.
local looked_at = tonumber(ARGV[FIRST])
local kept, families, short = {}, {}, {}
for at = FIRST + 1, #ARGV do
  local token = stored(ARGV[at])
  if token and token.user == USER then
    local following = token
    while following do
      token = following
      following = token.used_at and stored(token.successor)
    end
    kept[token.digest] = token
    families[token.family] = true
    for from = 1, #token.ancestors, 8 do short[token.ancestors:sub(from, from + 7)] = true end
  end
end
local count = redis.call('HLEN', KEYS[1])
if count <= looked_at then
  local dropped, live = {}, 0
  for _, token in ipairs(everything()) do
    if not kept[token.digest] and not (token.used_at and families[token.family]) then
      dropped[#dropped + 1] = token.digest
      if token.live then live = live + 1 end
    end
  end
  drop(dropped)
  return live
end
if next(short) then
  for _, digest in ipairs(redis.call('HKEYS', KEYS[1])) do
    local token = short[digest:sub(1, 8)] and stored(digest)
    if token and token.used_at and families[token.family] then kept[digest] = token end
  end
end
clear()
for _, token in pairs(kept) do
  put(token.digest, token.value, ttl(ends(token)))
  count = count - 1
end
return count
