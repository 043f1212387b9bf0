-- MARK: note that a suspect is about to start. A mark that is found already there is proof that its worker died while it ran.
-- Called by the executor just before the start, and before the message is decoded. Safe to repeat: a mark knows its delivery.
-- KEYS 1 stream, 2 suspects ; ARGV 1 group, 2 consumer, 3.. triples of entry id, delivery count, message id
-- Returns one number a triple: -1 not ours, else the number of earlier marked starts.
local group, me = ARGV[1], ARGV[2]
redis.call('XACK', KEYS[1], group, '0-1') -- must work when the memory is full
local out = {}
for i = 3, #ARGV, 3 do
  local row = redis.call('XPENDING', KEYS[1], group, ARGV[i], ARGV[i], 1, me)[1]
  if row and row[4] == tonumber(ARGV[i + 1]) then
    local token = ARGV[i] .. ' ' .. ARGV[i + 1] .. ' ' .. me
    local marks, last = string.match(redis.call('HGET', KEYS[2], ARGV[i + 2]) or '', '^(%d+) (.*)$')
    marks = tonumber(marks or 0)
    if last ~= token then
      marks = marks + 1
      redis.call('HSET', KEYS[2], ARGV[i + 2], marks .. ' ' .. token)
    end
    out[#out + 1] = marks - 1
  else
    out[#out + 1] = -1
  end
end
return out
