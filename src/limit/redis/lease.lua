-- Counts a request, and in advance some that the same process may admit by itself until the lease ends.
-- ARGV: cost; the divisor of what remains; of the lease before: the units left, when its state was made, its tick under
-- each quota; quotas. Grants the cost and what is leased beyond it, or -1.

local cost, divisor, left, born = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local count = (#ARGV - 4) / 4
local quotas = read_quotas(5 + count)
local state = read_state(quotas)
if left > 0 and state.born == born then
  state.changed = true
  for i, window in ipairs(state) do
    take_back(window, tonumber(ARGV[4 + i]), left)
  end
end
if not fits(state, quotas, cost) then
  if state.changed then write_state(state, quotas) end
  return reply(state, quotas, -1, cost)
end
local granted, room = math.huge, math.huge
for i, quota in ipairs(quotas) do
  local remaining = quota.limit - state[i].total
  local share = math.min(math.floor(remaining / divisor), math.floor(quota.limit / 20))
  granted = math.min(granted, math.max(share, 1))
  room = math.min(room, remaining)
end
granted = math.min(math.max(granted, cost), room)
admit(state, granted)
write_state(state, quotas)
return reply(state, quotas, granted, cost)
