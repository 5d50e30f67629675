-- KEYS[1]: a bucket of pointers, or one pointer. ARGV: the field or '', the route and the name of a claim there, for how
-- many milliseconds from now, and what is there to be replaced. Returns 1, or what else is there.
local field, mine, ttl, expected = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local present = field == '' and redis.call('GET', KEYS[1]) or field ~= '' and redis.call('HGET', KEYS[1], field) or ''
if present ~= expected and present ~= mine then return present end
if field == '' then
  redis.call('SET', KEYS[1], mine, 'PX', ttl)
else
  redis.call('HSETEX', KEYS[1], 'PX', ttl, 'FIELDS', 1, field, mine)
end
return 1
