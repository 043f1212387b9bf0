-- HANDLES: say that a worker of this group handles events of these types, so that no sibling takes them for nobody's.
-- Called by workers at their start, before they read, and once a minute.
-- KEYS 1 a stream of the group, 2 types ; ARGV 1 group, 2.. event types
-- Returns how many types were noted.
redis.call('XACK', KEYS[1], ARGV[1], '0-1') -- must work when the memory is full: else a sibling would ignore these types
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
for i = 2, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], now) end
return #ARGV - 1
