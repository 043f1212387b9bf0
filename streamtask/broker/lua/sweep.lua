-- SWEEP: look through one page of a queue's pending list for what no worker gets rid of. A row whose entry is gone is
-- acknowledged; a row that was delivered far too often is reported, so that BURY can end it. No body leaves Redis: an entry
-- that kills whoever reads it must not be read.
-- Called by the janitor.
-- KEYS 1 stream
-- ARGV 1 group, 2 deliveries from which a row is hopeless, 3 idle ms: only a row that nobody has renewed for so long is looked
--      at, 4 where the page begins ("-" for the first), 5 rows of a page
-- Returns where the next page begins ("" after the last), then for each hopeless row: entry id, owner, deliveries, and what the
-- entry says of itself, "" where it is missing or too long to be one of ours: message id, task, unique hash.
local group, most, idle = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local rows = redis.call('XPENDING', KEYS[1], group, ARGV[4], '+', ARGV[5])
local out = {rows[tonumber(ARGV[5])] and '(' .. rows[#rows][1] or ''}

local function short(value, limit)
  return value and #value <= limit and value or ''
end

-- The hash of the unique key that the message holds, as the sender wrote it into `meta`.
local function unique(meta)
  if not meta or #meta > 65536 then return '' end
  local readable, values = pcall(cjson.decode, meta)
  if not readable or type(values) ~= 'table' or type(values.unique) ~= 'string' then return '' end
  return short(values.unique, 256)
end

for i = 1, #rows do
  local id, owner, since, count = rows[i][1], rows[i][2], rows[i][3], rows[i][4]
  if since >= idle then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if not entry then
      redis.call('XACK', KEYS[1], group, id)
    elseif count >= most then
      local field = {}
      for f = 1, #entry[2] - 1, 2 do
        local name = entry[2][f]
        if name == 'id' or name == 'task' or name == 'meta' then field[name] = entry[2][f + 1] end
      end
      for _, part in ipairs({id, owner, count, short(field.id, 256), short(field.task, 1024), unique(field.meta)}) do
        out[#out + 1] = part
      end
    end
  end
end
return out
