-- REPLAY: a dead letter goes back into its stream, exactly once, and the record of its failure goes: it is not the end any
-- more. Called by operators (`streamtask dead replay`).
-- KEYS 1 dead, 2 stream, 3 result record[, 4 unique lock; or `where` of a group's own queue, whose events must be found as
--      long as they are not done]
-- ARGV 1 dead entry id, 2 message id, 3 ttl ms of the lock, 4 "1" to take a held lock, "event" when key 4 is `where`, 5.. the
--      new entry's fields
-- Returns the new entry id; "0" when the dead letter is no longer there; "-1" when another message holds the unique key.
if not redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1] then return '0' end
local lock, where = KEYS[4], nil
if ARGV[4] == 'event' then lock, where = nil, KEYS[4] end
if lock and ARGV[4] ~= '1' then
  local holder = redis.call('GET', lock)
  if holder and holder ~= ARGV[2] then return '-1' end
end
local entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
if lock then redis.call('SET', lock, ARGV[2], 'PX', ARGV[3]) end
if where then redis.pcall('HSET', where, ARGV[2], entry) end
redis.call('DEL', KEYS[3])
redis.call('XDEL', KEYS[1], ARGV[1])
return entry
