-- AGREE: the lease of a queue is one for all its workers. In one step a worker becomes visible in the group and learns the lease;
-- of two that start in the same instant the second one sees the first.
-- Called by a worker at its start, after it has shown its presence, and when a lost group was made again.
-- KEYS 1 stream, 2 conf
-- ARGV 1 group, 2 consumer, 3 lease ms that it was asked to use, 4.. consumers of the group whose presence is not there
-- Returns the lease in ms: what was asked for, or what is stored, when somebody else holds messages or lives and reads.
local group, me, asked = ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('XACK', KEYS[1], group, '0-1') -- must work when the memory is full
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], group, me)
local stored = tonumber(redis.call('HGET', KEYS[2], 'lease') or nil)
if stored == asked then return asked end

local function in_use()
  local harmless = {[me] = true, released = true}
  for _, row in ipairs(redis.call('XPENDING', KEYS[1], group)[4] or {}) do
    if not harmless[row[1]] then return true end
  end
  for i = 4, #ARGV do harmless[ARGV[i]] = true end
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group)) do
    for i = 1, #flat, 2 do
      if flat[i] == 'name' and not harmless[flat[i + 1]] then return true end
    end
  end
  return false
end

if stored and in_use() then return stored end
redis.call('HSET', KEYS[2], 'lease', ARGV[3])
return asked
