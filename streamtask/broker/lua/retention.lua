-- What PUBLISH and TRIM share; it stands before their texts. KEYS 1 topic, 2 lost.

local function groups()
  local out, found = {}, redis.pcall('XINFO', 'GROUPS', KEYS[1])
  if found.err then return out end -- there is no such stream yet
  for g = 1, #found do
    local row = {}
    for i = 1, #found[g], 2 do row[found[g][i]] = found[g][i + 1] end
    out[g] = row
  end
  return out
end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function before(a, b) -- is entry id a smaller than b?
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  return ams < bms or (ams == bms and aseq < bseq)
end

-- Beyond `most` entries (1 or more): away with what lies below the oldest entry that any group has not done with. Its cost does not grow
-- with the topic.
local function trim_below(most)
  local length, lowest = redis.call('XLEN', KEYS[1]), nil
  if length <= most then return 0 end
  for _, g in ipairs(groups()) do
    local id = redis.call('XPENDING', KEYS[1], g['name'])[2]
    if not id then
      local ms, seq = parts(g['last-delivered-id'])
      if seq < 2^53 then id = string.format('%.0f-%.0f', ms, seq + 1) else id = string.format('%.0f-0', ms + 1) end
    end
    if not lowest or before(id, lowest) then lowest = id end
  end
  local cut
  if lowest then
    cut = redis.call('XTRIM', KEYS[1], 'MINID', '~', lowest, 'LIMIT', length - most)
  else
    cut = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', most)
  end
  if cut > 0 then return cut end
  -- Redis cuts whole nodes only, of a hundred entries: the rest of a topic, or all of a short one, is cut by hand.
  if lowest and not before(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1], lowest) then return 0 end
  local rows = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(length - most, 100) + 1)
  local stays = rows[#rows][1]
  if lowest and before(lowest, stays) then stays = lowest end
  return redis.call('XTRIM', KEYS[1], 'MINID', stays)
end

-- Beyond `most` entries: away with all that every group has done with, also behind one that is not done. Redis does it by
-- itself from 8.2 on, but it looks at each entry; some versions accept ACKED and do nothing, and older ones refuse it.
local function trim_done(most)
  if redis.call('XLEN', KEYS[1]) <= most then return 0 end
  local cut = redis.pcall('XTRIM', KEYS[1], 'MAXLEN', '~', most, 'ACKED')
  if type(cut) == 'number' and cut > 0 then return cut end
  return trim_below(most)
end

-- Give up the oldest entries although somebody needs them, 200 at most, and count what each group loses.
local function drop(n)
  local rows, ids = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(n, 200)), {}
  for i = 1, #rows do ids[i] = rows[i][1] end
  if #ids == 0 then return 0 end
  for _, g in ipairs(groups()) do
    local lost = redis.call('XACK', KEYS[1], g['name'], unpack(ids)) -- else they would stay pending for ever
    for i = #ids, 1, -1 do
      if not before(g['last-delivered-id'], ids[i]) then break end
      lost = lost + 1
    end
    if lost > 0 then redis.pcall('HINCRBY', KEYS[2], g['name'], lost) end
  end
  return redis.call('XTRIM', KEYS[1], 'MAXLEN', redis.call('XLEN', KEYS[1]) - #ids)
end

