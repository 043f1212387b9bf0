-- REPLAY: a dead letter goes back into its stream, exactly once, and the record of its failure goes: it is not the end any
-- more. Called by operators (`streamtask dead replay`).
-- KEYS 1 dead, 2 stream, 3 result record[, 4 unique lock]
-- ARGV 1 dead entry id, 2 message id, 3 ttl ms of the lock, 4 "1" to take a held lock, 5.. the new entry's fields
-- Returns the new entry id; "0" when the dead letter is no longer there; "-1" when another message holds the unique key.
if not redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1] then return '0' end
if KEYS[4] and ARGV[4] ~= '1' then
  local holder = redis.call('GET', KEYS[4])
  if holder and holder ~= ARGV[2] then return '-1' end
end
local entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3]) end
redis.call('DEL', KEYS[3])
redis.call('XDEL', KEYS[1], ARGV[1])
return entry
