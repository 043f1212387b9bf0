-- MOVE: messages whose time has come go from the due set into the stream. One mover a queue at a time, the rest stand by.
-- Called by every worker's and beat's mover.
-- KEYS 1 due, 2 body, 3 stream, 4 where, 5 mover
-- ARGV 1 group, 2 me, 3 limit, 4 lock ms, 5 "1" to move although another is the mover (a short retry is due here)
-- Returns moved, ms until the next one (-1: none, or another is the mover), the server's time in ms, 1 when we are the mover,
-- 1 when something was given back and waits for a reader (without native CLAIM nothing else wakes one).
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local rows = redis.pcall('XPENDING', KEYS[3], ARGV[1], '-', '+', 1, 'released') -- an error: nobody has read here yet
local parked = rows[1] and 1 or 0
local holder = redis.call('GET', KEYS[5])
if holder and holder ~= ARGV[2] then
  if ARGV[5] ~= '1' then return {0, -1, now, 0, parked} end
end
redis.call('XACK', KEYS[3], ARGV[1], '0-1') -- must work when the memory is full: what is due was accepted long ago
if holder == ARGV[2] or not holder then redis.call('SET', KEYS[5], ARGV[2], 'PX', ARGV[4]) end

local function unpack_fields(body)
  local out, at = {}, 1
  while at <= #body do
    local digits = string.match(body, '^(%d+):', at)
    local first, size = at + #digits + 1, tonumber(digits)
    out[#out + 1] = string.sub(body, first, first + size - 1)
    at = first + size + 1
  end
  return out
end

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[3]))
for i = 1, #due do
  local body = redis.call('HGET', KEYS[2], due[i])
  if body then
    local readable, fields = pcall(unpack_fields, body)
    -- Damaged, or of more fields than Lua can hand to XADD: it goes on as an entry that nobody can read, so a dead letter
    -- soon, instead of stopping all behind it.
    if not readable or #fields == 0 or #fields % 2 == 1 or #fields > 7000 then fields = {'body', body} end
    local entry = redis.call('XADD', KEYS[3], '*', unpack(fields))
    local mid = due[i]
    for f = 1, #fields, 2 do
      if fields[f] == 'id' then mid = fields[f + 1] end
    end
    redis.pcall('HSET', KEYS[4], mid, entry) -- only helps lookups: an error here would move the message twice
  end
  redis.call('HDEL', KEYS[2], due[i])
  redis.call('ZREM', KEYS[1], due[i])
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local wait = head[2] and math.max(0, math.ceil(tonumber(head[2]) - now)) or -1
return {#due, wait, now, holder == ARGV[2] and 1 or (holder and 0 or 1), parked}
