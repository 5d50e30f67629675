-- KEYS[1]: a bucket of pointers, or one pointer. ARGV: the field or '', the route, for how many milliseconds from now.
-- A pointer is never shortened, but one to another place is replaced.
local field, route, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
if field == '' then
  if redis.call('GET', KEYS[1]) ~= route or redis.call('PTTL', KEYS[1]) < ttl then
    redis.call('SET', KEYS[1], route, 'PX', ARGV[3])
  end
elseif redis.call('HGET', KEYS[1], field) ~= route or redis.call('HPTTL', KEYS[1], 'FIELDS', 1, field)[1] < ttl then
  redis.call('HSETEX', KEYS[1], 'PX', ARGV[3], 'FIELDS', 1, field, route)
end
return 1
