-- READ: take what was given back, and what nobody has renewed for a lease. A claim holds only until a time that the caller gives:
-- carried out later, because the server stood still in between, it would take what its owners had no chance to renew.
-- Called by the fetcher. (New entries come by a plain XREADGROUP that waits.)
-- KEYS 1 stream
-- ARGV 1 group, 2 consumer, 3 count, 4 lease ms, or 0 for "only what was given back", 5 last ms of server time at which to
--      claim, 6 "1" when the server has XREADGROUP ... CLAIM
-- Returns the server's time in ms, ms until a lease can run out at the soonest (-1: nobody looked), entries of four: id, fields,
-- idle ms, deliveries before this one.
local group, me, left, lease, out = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), {}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local claims = lease > 0 and now <= tonumber(ARGV[5])

local function take(rows, min_idle)
  if not rows[1] then return end
  local claim, row = {'XCLAIM', KEYS[1], group, me, min_idle}, {}
  for i = 1, #rows do
    claim[#claim + 1] = rows[i][1]
    row[rows[i][1]] = rows[i]
  end
  local entries = redis.call(unpack(claim))
  for i = 1, #entries do
    if entries[i] then
      local r = row[entries[i][1]]
      out[#out + 1] = {entries[i][1], entries[i][2], r[3], r[4]}
    end
  end
end

if claims and ARGV[6] == '1' then -- quicker than XPENDING ... IDLE, which walks the whole pending list
  local found = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', left, 'CLAIM', lease, 'STREAMS', KEYS[1], '>')
  if found then out = found[1][2] end
else
  take(redis.call('XPENDING', KEYS[1], group, '-', '+', left, 'released'), 0)
  if claims and left > #out then
    take(redis.call('XPENDING', KEYS[1], group, 'IDLE', lease, '-', '+', left - #out), lease)
  end
end

if not claims then return {now, -1, out} end
if #out >= left then return {now, 0, out} end -- there may be more
local held = redis.call('XPENDING', KEYS[1], group)[1]
local wait = lease
if held > 200 then
  wait = math.min(lease, 750) -- too many to look at each; 750: a second is promised
elseif held > 0 then
  for _, row in ipairs(redis.call('XPENDING', KEYS[1], group, '-', '+', 200)) do wait = math.min(wait, lease - row[3]) end
end
return {now, math.max(0, wait), out}
