-- ARGV: the latest use that is worth noting another after, then what the token may be stored under. Returns 1 if it is live.
local before = tonumber(ARGV[FIRST])
for at = FIRST + 1, #ARGV do
  local token = stored(ARGV[at])
  if token and not token.used_at then
    if USER ~= '' and token.user ~= USER then return 0 end
    if last_use(token) <= before then
      token.last = NOW
      put(token.digest, token.value:sub(1, 25) .. struct.pack('>i8', NOW) .. token.value:sub(34), ttl(ends(token)))
    end
    return 1
  end
end
return 0
