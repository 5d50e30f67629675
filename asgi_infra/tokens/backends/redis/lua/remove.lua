-- ARGV: what the token may be stored under. Returns how many were live.
local removed = 0
for at = FIRST, #ARGV do
  local token = parsed(redis.call('HGET', KEYS[1], ARGV[at]))
  if token and (USER == '' or token.user == USER) then
    if token.used_at then
      removed = removed + drop_family(token.family)
    else
      if ends(token) > NOW then removed = removed + 1 end
      drop({ARGV[at]})
    end
  end
end
return removed
