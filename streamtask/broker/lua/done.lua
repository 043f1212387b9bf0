-- DONE: the healthy end of many deliveries at once: acknowledge and delete those that are still ours.
-- Called by the completer for messages that leave nothing behind (no result, no unique key, never moved, no mark).
-- KEYS 1 stream
-- ARGV 1 group, 2 consumer, 3 kind ("task" deletes, "topic" only acknowledges), 4 "1" when the server has XACKDEL,
--      5.. pairs of entry id, delivery count
-- Returns one number a pair: 1 applied, 0 not ours (any more).
local group, me, n = ARGV[1], ARGV[2], #ARGV
local lo, hi
for i = 5, n, 2 do
  local ms = tonumber(string.match(ARGV[i], '^%d+'))
  if not lo or ms < lo then lo = ms end
  if not hi or ms > hi then hi = ms end
end
-- An incomplete id means the first (as start) or the last (as end) entry of that millisecond.
local rows = redis.call('XPENDING', KEYS[1], group, string.format('%.0f', lo), string.format('%.0f', hi), 1000000, me)
local held = {}
for i = 1, #rows do held[rows[i][1]] = rows[i][4] end

local status, ours = {}, {}
for i = 5, n, 2 do
  local id = ARGV[i]
  if held[id] == tonumber(ARGV[i + 1]) then
    status[#status + 1] = 1
    ours[#ours + 1] = id
    held[id] = nil -- the same id twice in one call counts once
  else
    status[#status + 1] = 0
  end
end
if #ours > 0 then
  if ARGV[3] == 'topic' then
    redis.call('XACK', KEYS[1], group, unpack(ours))
  elseif ARGV[4] == '1' then
    redis.call('XACKDEL', KEYS[1], group, 'IDS', #ours, unpack(ours))
  else
    redis.call('XACK', KEYS[1], group, unpack(ours))
    redis.call('XDEL', KEYS[1], unpack(ours))
  end
end
return status
