-- TRIM: keep a topic within its limits. It works when the memory is full, and publishing does not: without it a topic whose
-- publishers are all refused would stay as long as it is. Called by janitors and by the hub.
-- KEYS 1 topic, 2 lost ; ARGV 1 entries that are kept (0: all), 2 entries at which it is full (0: never), 3 "drop" or "refuse"
-- Returns entries that went because all groups had done with them, and those that were given up.
local most, full, done, given_up = tonumber(ARGV[1]), tonumber(ARGV[2]), 0, 0
if most > 0 then
  for _ = 1, 10 do -- Redis cuts so much at a time, and only whole nodes
    local cut = trim_done(most)
    done = done + cut
    if cut == 0 then break end
  end
end
if full > 0 and ARGV[3] == 'drop' then
  for _ = 1, 100 do
    local length = redis.call('XLEN', KEYS[1])
    if length <= full then break end
    given_up = given_up + drop(length - full)
  end
end
return {done, given_up}
