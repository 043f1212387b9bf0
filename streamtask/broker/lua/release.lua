-- RELEASE: give deliveries back at once. They move to the consumer "released" with an ancient delivery time, so that any reader
-- with CLAIM takes them next; an entry that is added and deleted again wakes the readers that are blocked.
-- Called at a graceful stop and for messages that were buffered too long.
-- KEYS 1 stream, 2 suspects
-- ARGV 1 group, 2 consumer, 3 ms of server time, or 0: what was delivered or renewed from then on is left alone (see below),
--      4.. of entry id, delivery count, "1" started / "0" never started, message id, "1" may hold a mark
-- Returns the number that were given back. The count of a message that never started goes down again: a deploy is free.
-- So its token comes again when its old owner reads it next. A second try, after a lost answer, therefore says when the first
-- one was sent: a delivery after that is a new one, and may run already.
local group, me, before, n = ARGV[1], ARGV[2], tonumber(ARGV[3]), 0
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A start that ends gracefully takes its mark back. What never started takes back only a mark of this very delivery, made just
-- before the stop: an older one is the evidence against it.
local function unmark(mid, started, token)
  if not started then
    local mark = redis.pcall('HGET', KEYS[2], mid)
    if mark ~= '1 ' .. token then return end
  end
  redis.pcall('HDEL', KEYS[2], mid)
end

for i = 4, #ARGV, 5 do
  local id, count = ARGV[i], tonumber(ARGV[i + 1])
  local row = redis.call('XPENDING', KEYS[1], group, id, id, 1, me)[1]
  if row and row[4] == count and (before == 0 or now - row[3] < before) then
    local started = ARGV[i + 2] == '1'
    if not started then count = count - 1 end
    redis.call('XCLAIM', KEYS[1], group, 'released', 0, id, 'TIME', 1, 'RETRYCOUNT', count, 'JUSTID')
    if ARGV[i + 4] == '1' then unmark(ARGV[i + 3], started, id .. ' ' .. ARGV[i + 1] .. ' ' .. me) end
    n = n + 1
  end
end
if n > 0 then redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '*', 'poke', '1')) end
return n
