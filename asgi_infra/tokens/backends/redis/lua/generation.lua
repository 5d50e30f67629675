-- KEYS[1]: the entry. ARGV: a fresh generation, until when in microseconds and packed, for how many milliseconds from now,
-- the time, and '1' to renew it. Returns the generation.
local fresh, until_, packed, left, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local present = redis.call('GET', KEYS[1])
local generation = fresh
if present and #present > 8 then
  local end_ = struct.unpack('>i8', present)
  if ARGV[6] ~= '1' and end_ > now then generation = present:sub(9) end
  if end_ > until_ then
    packed = present:sub(1, 8)
    left = math.max(left, redis.call('PTTL', KEYS[1]))
  end
end
redis.call('SET', KEYS[1], packed .. generation, 'PX', string.format('%.0f', left))
return generation
