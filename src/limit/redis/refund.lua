-- Takes back what one request counted, from a state that has not been lost meanwhile.
-- ARGV: cost; when the state was made; its tick under each quota; quotas.

local cost, born = tonumber(ARGV[1]), tonumber(ARGV[2])
local count = (#ARGV - 2) / 4
local quotas = read_quotas(3 + count)
local state = read_state(quotas)
if state.born == born then
  for i, window in ipairs(state) do
    take_back(window, tonumber(ARGV[2 + i]), cost)
  end
  write_state(state, quotas)
end
