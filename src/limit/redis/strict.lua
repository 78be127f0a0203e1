-- Counts a request under all quotas or, if one has no room for it, under none.
-- ARGV: cost; quotas. Grants the cost, or -1.

local cost, quotas = tonumber(ARGV[1]), read_quotas(2)
local state = read_state(quotas)
if not fits(state, quotas, cost) then
  if state.changed then write_state(state, quotas) end
  return reply(state, quotas, -1, cost)
end
admit(state, cost)
write_state(state, quotas)
return reply(state, quotas, cost, cost)
