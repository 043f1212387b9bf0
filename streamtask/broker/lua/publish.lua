-- PUBLISH: add an event to a topic, within the topic's limits. Called by publishers.
-- KEYS 1 topic, 2 lost[, 3 lock: the entry that was added under this key]
-- ARGV 1 entries that are kept (0: all), 2 entries at which it is full (0: never), 3 "drop" gives up the oldest ones then,
--      "refuse" nothing, 4 ttl ms of the lock, 5 producer id for IDMP, or "", 6 id of the publication, 7.. the fields
-- Returns {1, entry id} added; {0, entry id} this key was published before; {-1, entries} refused: it is full.
if KEYS[3] then
  local known = redis.call('GET', KEYS[3])
  if known then return {0, known} end
end
local most, full = tonumber(ARGV[1]), tonumber(ARGV[2])
local length = redis.call('XLEN', KEYS[1])
if most > 0 and length > most and length % 100 == 0 then -- now and then: with a group that stands still each try is in vain
  length = length - trim_done(most)
end
if full > 0 and length >= full then
  if most > 0 then length = length - trim_below(most) end
  if length >= full then
    if ARGV[3] ~= 'drop' then return {-1, length} end
    drop(length - full + math.max(1, math.floor(full / 100))) -- a hundredth, so that this is rare
  end
end
local id
if ARGV[5] ~= '' then
  id = redis.call('XADD', KEYS[1], 'IDMP', ARGV[5], ARGV[6], '*', unpack(ARGV, 7))
else
  id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 7))
end
if KEYS[3] then redis.call('SET', KEYS[3], id, 'PX', ARGV[4]) end
return {1, id}
