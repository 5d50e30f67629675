-- Storage where the server expires keys only: KEYS[1] is the user's hash, KEYS[2] tells when its fields end, in
-- milliseconds of the server's time. Both keys vanish with the last of them. KEYS[3] is a claim, if there is one.
local CLAIM = KEYS[3]

local function drop(digests)
  for from = 1, #digests, 1000 do
    local to = math.min(from + 999, #digests)
    redis.call('HDEL', KEYS[1], unpack(digests, from, to))
    redis.call('ZREM', KEYS[2], unpack(digests, from, to))
  end
end

local function put(digest, value, ttl)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  drop(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, 100))
  redis.call('HSET', KEYS[1], digest, value)
  redis.call('ZADD', KEYS[2], whole(now + ttl), digest)
  for _, key in ipairs({KEYS[1], KEYS[2]}) do
    if redis.call('PTTL', key) < ttl then
      redis.call('PEXPIRE', key, whole(ttl))
    end
  end
end

local function clear()
  redis.call('UNLINK', KEYS[1], KEYS[2])
end
