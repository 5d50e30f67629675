-- flags=allow-oom
-- ARGV: what the token may be stored under. Returns how many were live.
local removed = 0
for at = FIRST, #ARGV do
  local token = stored(ARGV[at])
  if token and (USER == '' or token.user == USER) then
    if token.used_at then
      removed = removed + drop_family(token.family)
    else
      removed = removed + 1
      drop({token.digest})
    end
  end
end
return removed
