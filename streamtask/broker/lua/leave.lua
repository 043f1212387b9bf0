-- LEAVE: a group leaves its topic, and its own queue goes, unless something would be lost by that. Dead letters stay.
-- Called by operators (`streamtask topics leave`).
-- KEYS 1 topic, 2 own queue's stream, 3 due, 4 dead, 5 lost (a hash, group to count), 6.. what else belongs to the group's own queue
-- ARGV 1 group, 2 "1" to leave although events are pending or wait in the own queue; they are given up
-- Returns 1 when it has left, or 0; then pending events, those of the own queue's stream, those that are due, dead letters.
local held = redis.pcall('XPENDING', KEYS[1], ARGV[1])
local pending = held.err and 0 or held[1]
local waiting, due, dead = redis.call('XLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]), redis.call('XLEN', KEYS[4])
if pending + waiting + due > 0 and ARGV[2] ~= '1' then return {0, pending, waiting, due, dead} end
redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) -- an error: there is no such stream any more
redis.call('DEL', KEYS[2], KEYS[3], unpack(KEYS, 6))
redis.pcall('HDEL', KEYS[5], ARGV[1])
if dead == 0 then redis.call('DEL', KEYS[4]) end
return {1, pending, waiting, due, dead}
