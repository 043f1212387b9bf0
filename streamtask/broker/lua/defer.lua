-- DEFER: keep a message until its time comes. Called by producers for countdown and eta.
-- KEYS 1 due, 2 body, 3.. the locks
-- ARGV 1 message id, 2 ms, 3 "1" when these are a time of day, "0" when they count from now, 4 number of locks n,
--      then n times: ttl ms of lock KEYS[2 + i], then the fields
-- Returns {1, due ms} accepted; {0, id of the holder}; {2, ""} this very message was accepted before.
local mid, n = ARGV[1], tonumber(ARGV[4])
for i = 1, n do
  local holder = redis.call('GET', KEYS[2 + i])
  if holder == mid then return {2, ''} end
  if holder then return {0, holder} end
end
local due = tonumber(ARGV[2])
if ARGV[3] == '0' then
  local clock = redis.call('TIME')
  due = due + clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local out = {}
for i = 5 + n, #ARGV do out[#out + 1] = #ARGV[i] .. ':' .. ARGV[i] .. ',' end
if redis.call('HEXISTS', KEYS[2], mid) == 1 then return {2, ''} end
redis.call('ZADD', KEYS[1], string.format('%.0f', due), mid) -- first: a body alone would look accepted at the next try
redis.call('HSET', KEYS[2], mid, table.concat(out))
for i = 1, n do redis.call('SET', KEYS[2 + i], mid, 'PX', ARGV[4 + i]) end
return {1, string.format('%.0f', due)}
