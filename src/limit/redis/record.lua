-- Counts a cost whatever the limits, as far as the numbers reach.
-- ARGV: cost; quotas.

local cost, quotas = tonumber(ARGV[1]), read_quotas(2)
local state = read_state(quotas)
for _, window in ipairs(state) do
  local counted = math.min(cost, 2147483647 - window.total)
  if counted > 0 then
    add(window, window.tick, counted)
  end
end
write_state(state, quotas)
