-- ARGV: grace, absolute lifetime or '', family that the identifier names or '', successor's digest or '', its value,
-- sealed, then what the token may be stored under.
-- Returns what came of it, and what is known: the successor's digest, its value and what was sealed; or the family and
-- how many of it were live.
local GRACE, ABSOLUTE = tonumber(ARGV[FIRST]), tonumber(ARGV[FIRST + 1])
local named, digest, value, sealed = ARGV[FIRST + 2], ARGV[FIRST + 3], ARGV[FIRST + 4], ARGV[FIRST + 5]
local DIGESTS = FIRST + 6

local function reused(family)
  return {'reused', family, drop_family(family)}
end

-- The token that replaces another is of its family, good for no longer than that may be, and remembers what it replaces.
local function following(old)
  local new = parsed(value)
  local expires = value:sub(18, 25)
  if ABSOLUTE and new.expires > old.started + ABSOLUTE then
    expires = struct.pack('>i8', old.started + ABSOLUTE)
  end
  local ancestors = (old.digest:sub(1, 8) .. old.ancestors):sub(1, 128)
  return table.concat({
    'L', old.value:sub(old.at + 1, old.at + 8), value:sub(10, 17), expires, value:sub(26, 33),
    struct.pack('>I2I2I1', #new.user, #old.family, #ancestors), new.user, old.family, ancestors, value:sub(new.rest),
  })
end

local function used(token)
  local same = digest ~= '' and token.successor == digest
  if not same and NOW >= token.used_at + GRACE then return reused(token.family) end
  local successor = stored(token.successor)
  if not successor then return {'unknown'} end
  return {same and 'rotated' or 'superseded', successor.digest, successor.value:sub(successor.at), token.sealed}
end

local function forgotten()
  for _, token in ipairs(everything()) do
    if token.live then
      if token.family == named then return reused(token.family) end
      for at = DIGESTS, #ARGV do
        local short = ARGV[at]:sub(1, 8)
        for from = 1, #token.ancestors, 8 do
          if token.ancestors:sub(from, from + 7) == short then return reused(token.family) end
        end
      end
    end
  end
  return {'unknown'}
end

local old
for at = DIGESTS, #ARGV do
  old = old or stored(ARGV[at])
end
if not old then return forgotten() end
if USER ~= '' and old.user ~= USER then return {'unknown'} end
if old.used_at then return used(old) end
if digest == '' then return {'unknown'} end
if stored(digest) then return {'duplicate'} end
if CLAIM and redis.call('UNLINK', CLAIM) == 0 then return {'withdrawn'} end
local new = following(old)
put(digest, new, ttl(ends(parsed(new))))
local tombstone = table.concat({
  'U', struct.pack('>i8', NOW), digest, struct.pack('>I2', #sealed), sealed, old.value,
})
put(old.digest, tombstone, ttl(NOW + KEPT))
return {'rotated', digest, new, sealed}
