-- How many requests of a subject are under way, by process: a hash of `count:end of the lease:call`, in microseconds since
-- the Unix epoch. A process whose lease has ended was killed, or has lost Redis; its requests no longer count.
-- ARGV: the process; the lease in microseconds; how many it has; how many more it asks for; the limit; the number of the call.
-- What a process says that it has replaces what is stored for it, unless a later call was faster: that one has included what
-- this one asks for. Answers 1, 0 if there is no room for more, or -1 if they are counted all the same.

local process, lease = ARGV[1], tonumber(ARGV[2])
local has, more, limit, call = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('HGETALL', KEYS[1])
local total, overtaken = 0, false
for i = 1, #stored, 2 do
  local count, ends, told = string.match(stored[i + 1], '^(%d+):(%d+):?(%d*)$')
  if not count or tonumber(ends) <= now then
    redis.call('HDEL', KEYS[1], stored[i])
  elseif stored[i] ~= process then
    total = total + tonumber(count)
  elseif (tonumber(told) or 0) > call then
    overtaken = true
    total = total + tonumber(count)
  end
end
if overtaken then
  if more > 0 and total > limit then
    return { -1, total }
  end
  return { 1, total }
end
total = total + has
if more > 0 and total + more > limit then
  return { 0, total }
end
if has + more > 0 then
  redis.call('HSET', KEYS[1], process, string.format('%.0f:%.0f:%.0f', has + more, now + lease, call))
  redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000))
else
  redis.call('HDEL', KEYS[1], process)
end
return { 1, total + more }
