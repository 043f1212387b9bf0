-- REWIND: let one group have entries of its topic again; the others are not touched. Only backwards: forwards it would skip
-- what nobody has read. Called by operators (`streamtask topics replay`).
-- KEYS 1 topic ; ARGV 1 group, 2 the entry id after which it goes on
-- Returns where the group stood, "" when it is not after that id, "no group" when there is none.
local function before(a, b) -- is entry id a smaller than b?
  local ams, aseq = string.match(a, '^(%d+)-?(%d*)$')
  local bms, bseq = string.match(b, '^(%d+)-?(%d*)$')
  ams, bms, aseq, bseq = tonumber(ams), tonumber(bms), tonumber(aseq) or 0, tonumber(bseq) or 0
  return ams < bms or (ams == bms and aseq < bseq)
end

local found = redis.pcall('XINFO', 'GROUPS', KEYS[1])
for g = 1, found.err and 0 or #found do
  local row = {}
  for i = 1, #found[g], 2 do row[found[g][i]] = found[g][i + 1] end
  if row['name'] == ARGV[1] then
    if not before(ARGV[2], row['last-delivered-id']) then return '' end
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2])
    redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '*', 'poke', '1')) -- wakes the readers that are blocked
    return row['last-delivered-id']
  end
end
return 'no group'
