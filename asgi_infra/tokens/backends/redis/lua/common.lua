-- What all scripts on a user's tokens begin with. ARGV: the time, the idle lifetime or '', for how long used tokens are
-- kept, whose tokens or ''; times in microseconds. What something else wrote counts as nothing here.
local NOW = tonumber(ARGV[1])
local IDLE = tonumber(ARGV[2])
local KEPT = tonumber(ARGV[3])
local USER = ARGV[4]
local FIRST = 5
local LONGEST = 3.2e12 -- a hundred years in milliseconds, more than servers take for granted

local function whole(number)
  return string.format('%.0f', number)
end

local function parsed(value)
  if not value then return nil end
  local token, at = {}, 1
  if value:sub(1, 1) == 'U' then
    if #value < 27 then return nil end
    local length
    token.used_at, token.successor, length = struct.unpack('>i8c16I2', value, 2)
    token.sealed = value:sub(28, 27 + length)
    at = 28 + length
  end
  if value:sub(at, at) ~= 'L' or #value < at + 37 then return nil end
  local users, families, ancestors, first
  token.started, token.issued, token.expires, token.last, users, families, ancestors, first =
    struct.unpack('>i8i8i8i8I2I2I1', value, at + 1)
  if #value < first + users + families + ancestors then return nil end
  token.at = at
  token.value = value
  token.user = value:sub(first, first + users - 1)
  token.family = value:sub(first + users, first + users + families - 1)
  token.ancestors = value:sub(first + users + families, first + users + families + ancestors - 1)
  token.rest = first + users + families + ancestors
  return token
end

-- A token that was never used has the smallest number there.
local function last_use(token)
  return token.last > -9e18 and token.last or token.issued
end

-- When a token ends: a live one by expiry or idleness, a used one when it need not be kept longer.
local function ends(token)
  if token.used_at then return token.used_at + KEPT end
  if not IDLE then return token.expires end
  return math.min(token.expires, last_use(token) + IDLE)
end

local function ttl(moment)
  return math.max(1, math.min(LONGEST, math.ceil((moment - NOW) / 1000)))
end

local function ttl_of(value)
  local token = parsed(value)
  return token and ttl(ends(token))
end

local function stored(digest)
  local token = parsed(redis.call('HGET', KEYS[1], digest))
  if token and ends(token) > NOW then
    token.digest = digest
    return token
  end
end

-- Everything that is stored for the user, what has ended but is still there included.
local function everything()
  local fields, tokens = redis.call('HGETALL', KEYS[1]), {}
  for at = 1, #fields, 2 do
    local token = parsed(fields[at + 1])
    if token and (USER == '' or token.user == USER) then
      token.digest = fields[at]
      token.live = not token.used_at and ends(token) > NOW
      tokens[#tokens + 1] = token
    end
  end
  return tokens
end
