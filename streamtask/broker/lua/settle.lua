-- SETTLE: carry out verdicts, each only if the delivery is still ours. Destination first, source last, so that an error at any
-- point leaves the message where it was. Called by the completer.
-- KEYS 1 stream, 2 due, 3 body, 4 dead, 5 suspects, 6 where, 7.. keys that items name by number (unique locks, results)
-- ARGV 1 group, 2 consumer, 3 kind ("task" deletes the entry, "topic" keeps it), then for each item:
--      op ("D" final, "R" again later, "X" dead letter), entry id, delivery count, message id, "1" when it may hold a mark,
--      number of the unique key or 0, its ttl ms, number of the result key or 0, result, its ttl ms,
--      delay ms (R), count of field strings, the fields (R: the new entry's; X: the dead letter's)
-- Returns one status an item: 1 applied, 0 not ours, or the error's text (that item is untouched).
local group, me, kind = ARGV[1], ARGV[2], ARGV[3]
redis.call('XACK', KEYS[1], group, '0-1') -- matches nothing; after a first write the memory limit no longer refuses
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function pack(first, n)
  local out = {}
  for i = first, first + n - 1 do out[#out + 1] = #ARGV[i] .. ':' .. ARGV[i] .. ',' end
  return table.concat(out)
end

local function fields(first, n)
  local out = {}
  for i = first, first + n - 1 do out[#out + 1] = ARGV[i] end
  return out
end

-- What is only looked at or tidied up (where, suspects, a lock), and the result beside a dead letter, goes by pcall: a key of
-- another type there holds nothing of ours, and an error after the destination was written would write it again with every try.
local function again(id, mid, delay, first, n)
  if delay <= 0 then
    redis.pcall('HSET', KEYS[6], mid, redis.call('XADD', KEYS[1], '*', unpack(fields(first, n))))
    return
  end
  local member = mid
  if redis.call('HEXISTS', KEYS[3], mid) == 1 then member = mid .. '@' .. id end -- a foreign producer's second use of an id
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + delay), member)
  redis.call('HSET', KEYS[3], member, pack(first, n))
  redis.pcall('HDEL', KEYS[6], mid)
end

local function apply(i)
  local op, id, mid = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local uniq, res, n = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 7]), tonumber(ARGV[i + 11])
  if op == 'R' then
    again(id, mid, tonumber(ARGV[i + 10]), i + 12, n)
    if uniq > 0 and redis.pcall('GET', KEYS[uniq]) == mid then redis.pcall('PEXPIRE', KEYS[uniq], ARGV[i + 6]) end
  else
    if op == 'X' then redis.call('XADD', KEYS[4], '*', unpack(fields(i + 12, n))) end
    if res > 0 then
      local set = op == 'X' and redis.pcall or redis.call
      set('SET', KEYS[res], ARGV[i + 8], 'PX', ARGV[i + 9])
      redis.pcall('PUBLISH', KEYS[res], '1')
    end
    if uniq > 0 and redis.pcall('GET', KEYS[uniq]) == mid then redis.pcall('DEL', KEYS[uniq]) end
    redis.pcall('HDEL', KEYS[6], mid)
  end
  if ARGV[i + 4] == '1' then redis.pcall('HDEL', KEYS[5], mid) end
  redis.call('XACK', KEYS[1], group, id)
  if kind == 'task' then redis.call('XDEL', KEYS[1], id) end
end

local items, lo, hi, i = {}, nil, nil, 4
while i <= #ARGV do
  items[#items + 1] = i
  local ms = tonumber(string.match(ARGV[i + 1], '^%d+'))
  if not lo or ms < lo then lo = ms end
  if not hi or ms > hi then hi = ms end
  i = i + 12 + tonumber(ARGV[i + 11])
end
local rows = redis.call('XPENDING', KEYS[1], group, string.format('%.0f', lo), string.format('%.0f', hi), 1000000, me)
local held = {}
for r = 1, #rows do held[rows[r][1]] = rows[r][4] end

local status = {}
for s = 1, #items do
  local at = items[s]
  local id = ARGV[at + 1]
  if held[id] ~= tonumber(ARGV[at + 2]) then
    status[s] = 0
  else
    local ok, err = pcall(apply, at)
    if ok then
      status[s] = 1
      held[id] = nil
    else
      status[s] = type(err) == 'table' and err.err or tostring(err)
    end
  end
end
return status
