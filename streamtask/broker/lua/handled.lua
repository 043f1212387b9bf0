-- HANDLED: what became of an entry of a topic in one group. Reads only. Called by publishers that wait, and by operators.
-- KEYS 1 topic, 2 due, 3 where (both of the group's own queue), 4 result record ; ARGV 1 group, 2 entry id
-- Returns "no group", "unread", "held" (a worker has it, or it was given back), "later" (it failed, and waits in the group's
-- own queue or runs from there), "done", or the record of its failure, which is JSON.
local last
local found = redis.pcall('XINFO', 'GROUPS', KEYS[1])
for g = 1, found.err and 0 or #found do
  local row = {}
  for i = 1, #found[g], 2 do row[found[g][i]] = found[g][i + 1] end
  if row['name'] == ARGV[1] then last = row['last-delivered-id'] end
end
if not last then return 'no group' end
local lms, lseq = string.match(last, '^(%d+)-(%d+)$')
local ms, seq = string.match(ARGV[2], '^(%d+)-(%d+)$')
lms, lseq, ms, seq = tonumber(lms), tonumber(lseq), tonumber(ms), tonumber(seq)
if lms < ms or (lms == ms and lseq < seq) then return 'unread' end
if redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1] then return 'held' end
if redis.call('ZSCORE', KEYS[2], ARGV[2]) or redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then return 'later' end
return redis.call('GET', KEYS[4]) or 'done'
