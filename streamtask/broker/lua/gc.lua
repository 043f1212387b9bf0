-- GC: forget a consumer that holds nothing. (XGROUP DELCONSUMER alone would drop its pending entries for ever.)
-- Called by a worker when it leaves.
-- KEYS 1 stream ; ARGV 1 group, 2 consumer
-- Returns 1 when the consumer is gone, 0 when it still holds something.
if redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])[1] then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
