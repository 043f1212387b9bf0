-- RENEW: set the idle time of deliveries that are still ours to 0. Never changes an owner or a count, never steals.
-- Called by the lease thread.
-- KEYS 1 stream ; ARGV 1 group, 2 consumer, 3.. pairs of entry id, delivery count
-- Returns the server's time in ms, then one number a pair: 1 ours, 0 taken by another, -1 gone (no longer pending).
local group, me = ARGV[1], ARGV[2]
local claim, status, place = {'XCLAIM', KEYS[1], group, me, 0}, {}, {}
for i = 3, #ARGV, 2 do
  local id, at = ARGV[i], #status + 1
  local row = redis.call('XPENDING', KEYS[1], group, id, id, 1, me)[1]
  if row and row[4] == tonumber(ARGV[i + 1]) then
    claim[#claim + 1] = id
    place[id] = at
    status[at] = -1 -- until XCLAIM names it: it leaves out (and forgets) entries that were deleted
  elseif redis.call('XPENDING', KEYS[1], group, id, id, 1)[1] then
    status[at] = 0
  else
    status[at] = -1
  end
end
if #claim > 5 then
  claim[#claim + 1] = 'JUSTID'
  local kept = redis.call(unpack(claim))
  for i = 1, #kept do status[place[kept[i]]] = 1 end
end
local clock = redis.call('TIME')
return {clock[1] * 1000 + math.floor(clock[2] / 1000), unpack(status)}
