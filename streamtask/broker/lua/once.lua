-- ONCE: may this entry be handled, or has another entry with the same event id been handled, or is being handled?
-- Called by the worker before a handler with once="event_id" starts.
-- KEYS 1.. the locks, one an event ; ARGV 1 ttl ms of a lock, 2.. pairs of the message's id, "1" to take over a lock whose holder is gone
-- Returns one text an event: "" go on, "done" another one was handled, else the message id of the one that has the lock.
-- The verdict sets the lock to "done" after a success, and deletes it when the message becomes a dead letter.
local out = {}
redis.pcall('SREM', KEYS[1], '') -- changes nothing; after a first write the memory limit no longer refuses, and what fills the
-- memory may be the very events that wait here
for i = 1, #KEYS do
  local me, holder = ARGV[2 * i], redis.call('GET', KEYS[i])
  if holder == 'done' then
    out[i] = 'done'
  elseif holder and holder ~= me and ARGV[2 * i + 1] ~= '1' then
    out[i] = holder
  else
    redis.call('SET', KEYS[i], me, 'PX', ARGV[1])
    out[i] = ''
  end
end
return out
