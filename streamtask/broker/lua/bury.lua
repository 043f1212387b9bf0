-- BURY: make dead letters of entries without sending their bodies: the server copies what it has. Destination first, source
-- last, each only if its row is as the caller saw it. Called by the janitor for what was delivered far too often, and by the
-- completer for a dead letter that could not be written in any other way.
-- KEYS 1 stream, 2 dead, 3 suspects, 4 where, 5.. keys that items name by number (unique locks, results)
-- ARGV 1 group, 2 kind ("task" deletes the entry, "topic" keeps it), 3 most field strings that are copied one by one (Lua hands
--      at most 8,000 values to XADD; those of a longer entry go into one field `dead_fields`, as netstrings), then for each item:
--      entry id, owner, delivery count, message id, number of the unique key or 0, number of the result key or 0, result record,
--      its ttl ms, count of dead field strings, the dead fields
-- Returns one status an item: 1 buried, 0 its row is another one's by now, -1 its entry is gone (the row is acknowledged), or the
-- error's text (that item is untouched).
local group, kind, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('XACK', KEYS[1], group, '0-1') -- matches nothing; after a first write the memory limit no longer refuses

local function letter(fields, first, n)
  local out = fields
  if #fields > most then
    local packed = {}
    for i = 1, #fields do packed[i] = #fields[i] .. ':' .. fields[i] .. ',' end
    out = {'dead_fields', table.concat(packed)}
  end
  for i = first, first + n - 1 do out[#out + 1] = ARGV[i] end
  return out
end

-- What comes beside it (the result, a lock, marks, where) goes by pcall: an error after the destination was written would write
-- it again.
local function apply(i)
  local id, mid = ARGV[i], ARGV[i + 3]
  local row = redis.call('XPENDING', KEYS[1], group, id, id, 1, ARGV[i + 1])[1]
  if not row or row[4] ~= tonumber(ARGV[i + 2]) then return 0 end
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then redis.call('XADD', KEYS[2], '*', unpack(letter(entry[2], i + 9, tonumber(ARGV[i + 8])))) end
  local lock, result = KEYS[tonumber(ARGV[i + 4])], KEYS[tonumber(ARGV[i + 5])]
  if lock and redis.pcall('GET', lock) == mid then redis.pcall('DEL', lock) end
  if entry and result then
    redis.pcall('SET', result, ARGV[i + 6], 'PX', ARGV[i + 7])
    redis.pcall('PUBLISH', result, '1')
  end
  redis.pcall('HDEL', KEYS[3], mid)
  redis.pcall('HDEL', KEYS[4], mid)
  redis.call('XACK', KEYS[1], group, id)
  if kind == 'task' then redis.call('XDEL', KEYS[1], id) end
  return entry and 1 or -1
end

local status, i = {}, 4
while i <= #ARGV do
  local ok, found = pcall(apply, i)
  status[#status + 1] = ok and found or (type(found) == 'table' and found.err or tostring(found))
  i = i + 9 + tonumber(ARGV[i + 8])
end
return status
