-- ENQ: add a message unless its unique key or its id is taken. Called by producers that asked for one of the two.
-- KEYS 1 stream, 2.. the locks ; ARGV 1 message id, 2 number of locks n, then n times: ttl ms of lock KEYS[1 + i], then the fields
-- Returns {1, entry id} added; {0, id of the holder}; {2, ""} this very message was accepted before.
local mid, n = ARGV[1], tonumber(ARGV[2])
for i = 1, n do
  local holder = redis.call('GET', KEYS[1 + i])
  if holder == mid then return {2, ''} end
  if holder then return {0, holder} end
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3 + n))
for i = 1, n do redis.call('SET', KEYS[1 + i], mid, 'PX', ARGV[2 + i]) end
return {1, id}
