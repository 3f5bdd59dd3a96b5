"""What the store in Redis has the server do in one step, in Lua.

A value is a string under its own key, whose time to live the server keeps. The index is a sorted
set of the places of all values of a tenant, by when each was written: a value is there when both
are, so a server that drops either for want of memory has lost that value, and nothing else.
"""

from __future__ import annotations

_COMMON = """
local index, values = KEYS[1], KEYS[2]

local function live(place)
  return redis.call('ZSCORE', index, place) and redis.call('GET', values .. place)
end

local function note(place, kept)
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('ZADD', index, now, place)
  redis.call('PEXPIRE', index, kept)
end

local function put(place, value, ttl, kept)
  redis.call('SET', values .. place, value, 'PX', ttl)
  note(place, kept)
end

local function drop(place)
  redis.call('ZREM', index, place)
  return redis.call('DEL', values .. place)
end

-- A place is the length of its namespace in bytes, a colon, the namespace and the key.
local function inside(place, space)
  local length, from = string.match(place, '^(%d+):()')
  local is_in = tonumber(length) >= #space and string.sub(place, from, from + #space - 1) == space
  return is_in, #place - from + 1 - length
end
"""

READ = f"""{_COMMON}
local found = {{}}
for number = 1, #ARGV do
  found[number] = live(ARGV[number]) or false
end
return found
"""

WRITE = f"""{_COMMON}
for number = 3, #ARGV, 2 do
  put(ARGV[number], ARGV[number + 1], ARGV[1], ARGV[2])
end
"""

WRITE_IF_ABSENT = f"""{_COMMON}
if live(ARGV[3]) then return 0 end
put(ARGV[3], ARGV[4], ARGV[1], ARGV[2])
return 1
"""

SWAP = f"""{_COMMON}
if live(ARGV[3]) ~= ARGV[4] then return 0 end
put(ARGV[3], ARGV[5], ARGV[1], ARGV[2])
return 1
"""

# INCRBY counts in 64 bits and says what is no number; a number of Lua has 53 bits.
ADD = f"""{_COMMON}
if live(ARGV[3]) then
  local counted = redis.pcall('INCRBY', values .. ARGV[3], ARGV[4])
  if type(counted) == 'table' and counted.err then
    local is_ours = string.find(counted.err, 'integer') or string.find(counted.err, 'overflow')
    return not is_ours and counted or false
  end
  note(ARGV[3], ARGV[2])
else
  put(ARGV[3], ARGV[4], ARGV[1], ARGV[2])
end
return redis.call('GET', values .. ARGV[3])
"""

REMOVE = f"""{_COMMON}
local removed = 0
for number = 1, #ARGV do
  if live(ARGV[number]) then removed = removed + 1 end
  drop(ARGV[number])
end
return removed
"""

THERE = f"""{_COMMON}
local found = {{}}
for number = 1, #ARGV do
  found[number] = redis.call('EXISTS', values .. ARGV[number])
end
return found
"""

CLEAR = f"""{_COMMON}
local removed = 0
for _, place in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  if inside(place, ARGV[1]) then removed = removed + drop(place) end
end
return removed
"""

SIZE = f"""{_COMMON}
local number, bytes = 0, 0
for _, place in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local is_in, key = inside(place, ARGV[1])
  local value = is_in and redis.call('STRLEN', values .. place) or 0
  if value > 0 then number, bytes = number + 1, bytes + key + value end
end
return {{number, bytes}}
"""

# From the newest to the oldest; what is over counts, as it does in the other stores.
TRIM = f"""{_COMMON}
local number, bytes = 0, 0
for _, place in ipairs(redis.call('ZREVRANGE', index, 0, -1)) do
  local _, key = inside(place, '')
  local value = redis.call('STRLEN', values .. place)
  number, bytes = number + 1, bytes + key + value
  if value == 0 or number > tonumber(ARGV[1]) or bytes > tonumber(ARGV[2]) then drop(place) end
end
"""
