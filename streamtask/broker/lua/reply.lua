-- REPLY: answer to who waits on a reply stream, which dies by itself: with its answer comes its end, so that an answer that is
-- late, when nobody waits any more, leaks nothing. Called by `app.reply`.
-- KEYS 1 reply stream ; ARGV 1 entries that it keeps, 2 ttl ms, 3.. the fields
-- Returns the entry id; "0" when a key without an end is there: that is no reply stream, and must not die.
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('PTTL', KEYS[1]) == -1 then return '0' end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
