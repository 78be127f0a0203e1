-- What counts for one subject in one category: the part that the scripts after it share.
--
-- KEYS[1] is a string, so that one SET writes everything with its expiry. All numbers are big-endian:
--   last   double  the newest time seen, in microseconds since the Unix epoch
--   shift  double  added to the server's clock, so that time goes on from `last` where that clock was set back
--   born   double  when the state was made; tells it from one that was lost
-- and for each quota:
--   first  double  the tick of the first cell
--   total  u32     the sum of the cells
--   cells  u16 length in bytes, then a u32 for each tick from `first` on: what was admitted in it
--
-- Ticks number the sub-windows. What was admitted in tick k counts until tick k + span is over, as in the sliding
-- window in memory.

local HEADER, CELL = 24, 4

-- Three arguments for each quota, from ARGV[from] on: limit, span in ticks, sub-window in microseconds.
local function read_quotas(from)
  local quotas = {}
  for i = from, #ARGV, 3 do
    quotas[#quotas + 1] = { limit = tonumber(ARGV[i]), span = tonumber(ARGV[i + 1]), sub = tonumber(ARGV[i + 2]) }
  end
  return quotas
end

-- The first cell becomes one that holds something, and still counts.
local function expire(window, live)
  local position = 1
  while position <= #window.cells do
    local count = struct.unpack('>I4', window.cells, position)
    if window.first >= live and count > 0 then break end
    window.total = window.total - count
    window.first = window.first + 1
    position = position + CELL
  end
  window.cells = string.sub(window.cells, position)
end

local function read_state(quotas)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local state = { now = now, shift = 0, born = now, changed = false }
  local stored = redis.call('GET', KEYS[1])
  local position = HEADER + 1
  if stored then
    local last
    last, state.shift, state.born = struct.unpack('>ddd', stored)
    state.now = now + state.shift
    if state.now < last then
      state.now, state.shift, state.changed = last, last - now, true
    end
  end
  for i, quota in ipairs(quotas) do
    local tick = math.floor(state.now / quota.sub)
    local window = { tick = tick, first = tick, total = 0, cells = '' }
    if stored then
      window.first, window.total, window.cells, position = struct.unpack('>dI4I2c0', stored, position)
      expire(window, tick - quota.span)
      if window.total == 0 then
        window.first, window.cells = tick, ''
      end
    end
    state[i] = window
  end
  return state
end

local function write_state(state, quotas)
  local parts = { struct.pack('>ddd', state.now, state.shift, state.born) }
  local lifetime, total = 0, 0
  for i, quota in ipairs(quotas) do
    local window = state[i]
    parts[i + 1] = struct.pack('>dI4I2c0', window.first, window.total, #window.cells, window.cells)
    lifetime = math.max(lifetime, (quota.span + 1) * quota.sub)
    total = total + window.total
  end
  if total > 0 then
    redis.call('SET', KEYS[1], table.concat(parts), 'PX', math.ceil(lifetime / 1000))
  else
    redis.call('DEL', KEYS[1])
  end
end

-- Adds to the cell of a tick that is not before the first; takes from it if `cost` is negative.
local function add(window, tick, cost)
  local start = (tick - window.first) * CELL
  local cells = window.cells .. string.rep('\0', start + CELL - #window.cells)
  local count = struct.unpack('>I4', cells, start + 1)
  window.total = window.total + cost
  window.cells = string.sub(cells, 1, start) .. struct.pack('>I4', count + cost) .. string.sub(cells, start + CELL + 1)
end

local function admit(state, cost)
  if cost > 0 then
    for _, window in ipairs(state) do
      add(window, window.tick, cost)
    end
  end
end

-- Takes back what was counted in `tick`, unless it no longer counts.
local function take_back(window, tick, cost)
  local start = (tick - window.first) * CELL
  if start >= 0 and start < #window.cells and struct.unpack('>I4', window.cells, start + 1) >= cost then
    add(window, tick, -cost)
  end
end

local function fits(state, quotas, cost)
  for i, quota in ipairs(quotas) do
    if state[i].total + cost > quota.limit then return false end
  end
  return true
end

-- The tick with which `cost` fits.
local function fitting_tick(window, quota, cost)
  local excess = window.total + cost - quota.limit
  for position = 1, #window.cells, CELL do
    excess = excess - struct.unpack('>I4', window.cells, position)
    if excess <= 0 then
      return window.first + (position - 1) / CELL + quota.span + 1
    end
  end
  return window.tick + quota.span + 1
end

-- What was granted, when the state was made, and for each quota: whether it had room for `cost`, what counts, the
-- microseconds until less does (until `cost` fits, if it had no room; -1 if nothing counts), the present tick.
local function reply(state, quotas, granted, cost)
  local answer = { granted, state.born }
  for i, quota in ipairs(quotas) do
    local window = state[i]
    local admitted = granted >= 0 or window.total + cost <= quota.limit
    local tick
    if not admitted then
      tick = fitting_tick(window, quota, cost)
    elseif window.total > 0 then
      tick = window.first + quota.span + 1
    end
    local wait = tick and math.ceil(tick * quota.sub - state.now) or -1
    answer[#answer + 1] = admitted and 1 or 0
    answer[#answer + 1] = window.total
    answer[#answer + 1] = wait
    answer[#answer + 1] = window.tick
  end
  return answer
end
