-- REPLAY: a dead letter goes back into its stream, exactly once. Called by operators (`streamtask dead replay`).
-- KEYS 1 dead, 2 stream[, 3 unique lock] ; ARGV 1 dead entry id, 2 message id, 3 ttl ms of the lock, 4 "1" to take a held lock,
--      5.. the new entry's fields
-- Returns the new entry id; "0" when the dead letter is no longer there; "-1" when another message holds the unique key.
if not redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1] then return '0' end
if KEYS[3] and ARGV[4] ~= '1' then
  local holder = redis.call('GET', KEYS[3])
  if holder and holder ~= ARGV[2] then return '-1' end
end
local entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
if KEYS[3] then redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3]) end
redis.call('XDEL', KEYS[1], ARGV[1])
return entry
