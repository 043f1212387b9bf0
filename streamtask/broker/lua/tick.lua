-- TICK: a schedule's ticks fire once, whoever offers them: compare-and-set on the last tick. Called by beats.
-- KEYS 1 stream, 2 ticks[, 3 lock of overlap="skip"]
-- ARGV 1 schedule, 2 the last tick that the caller knows ("" on first sight), 3 the last tick after this call, 4 ttl ms of the lock,
--      then for each message: message id, count of field strings, the fields
-- Returns {status, last, now, sent}: 1 fired, 0 another was faster, 2 first sight (nothing fires), -1 the tick lies in the future.
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local last = redis.call('HGET', KEYS[2], ARGV[1])
if not last then
  redis.call('HSET', KEYS[2], ARGV[1], now)
  return {2, now, now, 0}
end
if last ~= ARGV[2] then return {0, last, now, 0} end
if tonumber(ARGV[3]) > tonumber(now) then return {-1, last, now, 0} end
local sent, i = 0, 5
while i <= #ARGV do
  local n = tonumber(ARGV[i + 1])
  if not KEYS[3] or not redis.call('GET', KEYS[3]) then
    redis.call('XADD', KEYS[1], '*', unpack(ARGV, i + 2, i + 1 + n))
    if KEYS[3] then redis.call('SET', KEYS[3], ARGV[i], 'PX', ARGV[4]) end
    sent = sent + 1
  end
  i = i + 2 + n
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return {1, ARGV[3], now, sent}
