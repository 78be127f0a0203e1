-- Counts nothing of what was counted.

redis.call('DEL', KEYS[1])
