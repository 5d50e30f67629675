-- KEYS[1]: the entry. ARGV: until when, in microseconds and packed, and for how many milliseconds from now.
local present = redis.call('GET', KEYS[1])
if present and #present == 8 and struct.unpack('>i8', present) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
