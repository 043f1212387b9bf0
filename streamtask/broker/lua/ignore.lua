-- IGNORE: acknowledge events of types that nobody in the group handles. A worker knows only its own handlers; what a sibling
-- handles must not be lost, and the sibling may have come a moment ago, so the question is asked in the same step.
-- Called by the completer for events that this worker has no handler for.
-- KEYS 1 topic or the group's own queue, 2 types
-- ARGV 1 group, 2 consumer, 3 kind ("topic"; of "task", a group's own queue, nothing is ignored: somebody has handled what is
--      there), then for each item: entry id, delivery count, event type
-- Returns one number an item: 0 not ours, -1 acknowledged; else how many ms ago a worker last said that it handles the type, or
-- all types ("*"), (2 or more: 1 says of all scripts that a verdict was carried out), and the entry is untouched.
local group, me, kind, out = ARGV[1], ARGV[2], ARGV[3], {}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- When a worker last said that it handles a type. After a week of silence its handler was taken out of the code on purpose.
local function last_said(type)
  local said = tonumber(redis.call('HGET', KEYS[2], type) or nil)
  if said and now - said > 604800000 then
    redis.call('HDEL', KEYS[2], type)
    return nil
  end
  return said
end

local all = last_said('*')
for i = 4, #ARGV, 3 do
  local row = redis.call('XPENDING', KEYS[1], group, ARGV[i], ARGV[i], 1, me)[1]
  local status = 0
  if row and row[4] == tonumber(ARGV[i + 1]) then
    local said = last_said(ARGV[i + 2])
    if said or all or kind == 'task' then
      status = math.max(2, now - math.max(said or 0, all or 0))
    else
      redis.call('XACK', KEYS[1], group, ARGV[i])
      status = -1
    end
  end
  out[#out + 1] = status
end
return out
