-- How many requests of a subject are under way, by process: a hash of `count:end of the lease`, in microseconds since the
-- Unix epoch. A process whose lease has ended was killed, or has lost Redis; its requests no longer count.
-- ARGV: the process; the lease in microseconds; how many it has; how many more it asks for; the limit. What a process says
-- that it has replaces what is stored for it.

local process, lease = ARGV[1], tonumber(ARGV[2])
local has, more, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('HGETALL', KEYS[1])
local total = has
for i = 1, #stored, 2 do
  local count, ends = string.match(stored[i + 1], '^(%d+):(%d+)$')
  if not count or tonumber(ends) <= now then
    redis.call('HDEL', KEYS[1], stored[i])
  elseif stored[i] ~= process then
    total = total + tonumber(count)
  end
end
if more > 0 and total + more > limit then
  return { 0, total }
end
if has + more > 0 then
  redis.call('HSET', KEYS[1], process, string.format('%.0f:%.0f', has + more, now + lease))
  redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000))
else
  redis.call('HDEL', KEYS[1], process)
end
return { 1, total + more }
