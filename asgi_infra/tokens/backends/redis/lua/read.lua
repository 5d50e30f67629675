-- flags=no-writes
-- Many values in one answer. ARGV[1]: for each key the name of a field, after its length in one byte, or nothing after a
-- zero to read a string. Each value comes after its length plus one; 0 is for none, all ones for a key of another type.
local values, names, at = {}, ARGV[1], 1
for i = 1, #KEYS do
  local length, value = names:byte(at), nil
  if length == 0 then
    value = redis.pcall('GET', KEYS[i])
  else
    value = redis.pcall('HGET', KEYS[i], names:sub(at + 1, at + length))
  end
  at = at + 1 + length
  if type(value) == 'string' then
    values[i] = struct.pack('>I4', #value + 1) .. value
  elseif value then
    values[i] = '\255\255\255\255'
  else
    values[i] = '\0\0\0\0'
  end
end
return table.concat(values)
