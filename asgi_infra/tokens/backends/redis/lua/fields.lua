-- Storage where the server expires fields. KEYS[1] is the user's hash, KEYS[2] a claim, if there is one.
local CLAIM = KEYS[2]

local function put(digest, value, ttl)
  if redis.call('PTTL', KEYS[1]) > 0 then
    -- Written before the server could expire fields: what is there gets ends of its own.
    local pairs_ = redis.call('HGETALL', KEYS[1])
    local left = redis.call('PTTL', KEYS[1])
    for at = 1, #pairs_, 2 do
      redis.call('HPEXPIRE', KEYS[1], math.max(1, math.min(left, ttl_of(pairs_[at + 1]) or left)), 'FIELDS', 1, pairs_[at])
    end
    redis.call('PERSIST', KEYS[1])
  end
  redis.call('HSETEX', KEYS[1], 'PX', whole(ttl), 'FIELDS', 1, digest, value)
end

local function drop(digests)
  for from = 1, #digests, 1000 do
    redis.call('HDEL', KEYS[1], unpack(digests, from, math.min(from + 999, #digests)))
  end
end

local function clear()
  redis.call('UNLINK', KEYS[1])
end
