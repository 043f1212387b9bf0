-- READ: what XREADGROUP ... CLAIM does, for servers without it (Redis before 8.4, Valkey): first what was given back, then what
-- has been idle for a lease. New entries come by a plain blocking XREADGROUP. Called by the fetcher.
-- KEYS 1 stream ; ARGV 1 group, 2 consumer, 3 count, 4 lease ms, or 0 for "only what was given back"
-- Returns entries of four: id, fields, idle ms, deliveries before this one.
local group, me, left, out = ARGV[1], ARGV[2], tonumber(ARGV[3]), {}
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
take(redis.call('XPENDING', KEYS[1], group, '-', '+', left, 'released'), 0)
left = left - #out
if left > 0 and ARGV[4] ~= '0' then
  take(redis.call('XPENDING', KEYS[1], group, 'IDLE', ARGV[4], '-', '+', left), ARGV[4])
end
return out
