-- flags=no-writes
-- Many values in one answer: a field of KEYS[i] named ARGV[i], or the string under KEYS[i] where that is empty.
-- Each is preceded by its length plus one; 0 is for none, all ones for a key of another type.
local values = {}
for i, key in ipairs(KEYS) do
  local value
  if ARGV[i] == '' then
    value = redis.pcall('GET', key)
  else
    value = redis.pcall('HGET', key, ARGV[i])
  end
  if type(value) == 'string' then
    values[i] = struct.pack('>I4', #value + 1) .. value
  elseif value then
    values[i] = '\255\255\255\255'
  else
    values[i] = '\0\0\0\0'
  end
end
return table.concat(values)
