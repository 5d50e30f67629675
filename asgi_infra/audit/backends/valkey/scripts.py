"""The steps that must not be parted, in Lua. A script's writes reach the append-only file together, or not at all.

Keys share one hash tag, so they are in one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

APPEND: Final = """
-- KEYS: stream, counter, then one for each id. ARGV: limit, milliseconds, then leaf hash and frame for each id.
local hashes = {}
local fresh = {}
for i = 3, #KEYS do
  hashes[i - 2] = redis.call('GET', KEYS[i])
  if not hashes[i - 2] then fresh[#fresh + 1] = i end
end
if #fresh > 0 and redis.call('XLEN', KEYS[1]) + #fresh > tonumber(ARGV[1]) then
  return redis.error_reply('FULL')
end
for _, i in ipairs(fresh) do
  local at = 2 * i - 3
  redis.call('XADD', KEYS[1], '*', 'e', ARGV[at + 1])
  redis.call('SET', KEYS[i], ARGV[at], 'PX', ARGV[2])
  hashes[i - 2] = ARGV[at]
end
-- Always a write: WAITAOF waits for the writes of its own connection only, and another one's may not be on disk yet.
redis.call('INCRBY', KEYS[2], #KEYS - 2 - #fresh)
return hashes
"""

ACQUIRE: Final = """
-- KEYS: lease, fence. ARGV: owner, milliseconds.
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+:(.*)$') ~= ARGV[1] then return false end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. ':' .. ARGV[1], 'PX', ARGV[2])
return token
"""

RENEW: Final = """
-- KEYS: lease. ARGV: token, milliseconds.
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+):') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

RELEASE: Final = """
-- KEYS: lease. ARGV: token.
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^(%d+):') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

SETTLE: Final = """
-- KEYS: lease, stream. ARGV: token, first position that stays.
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+):') ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[2])
return 1
"""
