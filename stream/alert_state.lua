#!lua flags=no-cluster
-- What Redis holds of alerts. This part has no mode of its own: alert_store.lua follows it, and
-- both are one script, every call of which is one atomic step.
-- `no-cluster` says that keys are made here from ROOT; the header also makes Redis refuse the
-- whole script, and not its first write, when memory is full or the disk fails.
--
-- Keys below ROOT, each bounded:
--   alerts               stream, one entry a change of status, capped
--   alerts:active        hash fingerprint -> JSON of the firing alert, for readers
--   alerts:state         hash fingerprint -> the same in parts (cmsgpack), for this script: a JSON
--                        that went through cjson would lose digits and turn [] into {}
--   alerts:due           sorted set of fingerprints by the time at which they are resolved
--   alerts:resolving     hash alert id -> JSON of a resolved alert whose document still says firing
--   outcome:STREAM:ID    JSON list of the alerts that an event raised, as raised; expires
--   version:STREAM:ID    which version of the event's record that is of, and what it matched
--                        (cmsgpack); expires with it
--   window:FINGERPRINT   sorted set of event ids by event time; trimmed, expires
--   cooldown:FINGERPRINT sorted set of alert ids by event time; trimmed, expires
-- All times are whole milliseconds, which a Lua number and a score hold exactly.

local MODE, ROOT = ARGV[1], ARGV[2]
local ALERTS, ACTIVE, STATE = ROOT .. 'alerts', ROOT .. 'alerts:active', ROOT .. 'alerts:state'
local DUE, RESOLVING = ROOT .. 'alerts:due', ROOT .. 'alerts:resolving'

local STREAM_ENTRIES = 10000
local COUNT_MARK = '\1' -- no JSON has it unescaped, so no headline can hold one
local NEWEST_EVENTS = 20
local WINDOW_MEMBERS = 10000 -- bounds a window that one hot key fills for days
local LATE_MS = 24 * 60 * 60 * 1000
local SHORTEST_ACTIVE_MS = 10 * 60 * 1000
local RESOLVED_A_CALL = 500
local OFFERED_A_CALL = 500
local KEYS_A_CALL = 1000 -- unpack() has a limit of some thousands

local function window_key(match)
  return ROOT .. 'window:' .. match.fingerprint
end

local function cool_down_key(match)
  return ROOT .. 'cooldown:' .. match.fingerprint
end

-- Lua's own number to string conversion keeps 14 digits and may use an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

local function above(ms)
  return '(' .. whole(ms)
end

-- An alert is a table {id, fingerprint, stream, event_id, event_ms, keep_ms, needed, head, count,
-- members}: `head` is the JSON of what never changes, left open; `members` are the newest events
-- behind it, {id, ms} each, newest first; `needed` is how many make an alert.
local function alert_json(alert, status, because)
  local ids = {}
  for i = #alert.members, 1, -1 do
    ids[#ids + 1] = cjson.encode(alert.members[i][1])
  end
  local cause = because and ',"resolved_because":"' .. because .. '"' or ''
  return alert.head .. ',"status":"' .. status .. '"' .. cause
    .. ',"count":' .. whole(alert.count) .. ',"event_ids":[' .. table.concat(ids, ',') .. ']}'
end

local function publish(json)
  redis.call('XADD', ALERTS, 'MAXLEN', '~', STREAM_ENTRIES, '*', 'alert', json)
end

local function active_alert(fingerprint)
  local packed = redis.call('HGET', STATE, fingerprint)
  return packed and cmsgpack.unpack(packed)
end

local function keep_active(alert)
  local due_ms = alert.members[1][2] + alert.keep_ms
  redis.call('HSET', ACTIVE, alert.fingerprint, alert_json(alert, 'firing'))
  redis.call('HSET', STATE, alert.fingerprint, cmsgpack.pack(alert))
  redis.call('ZADD', DUE, whole(due_ms), alert.fingerprint)
end

local function drop_active(fingerprint)
  redis.call('HDEL', ACTIVE, fingerprint)
  redis.call('HDEL', STATE, fingerprint)
  redis.call('ZREM', DUE, fingerprint)
end

local function resolve(alert, because)
  local json = alert_json(alert, 'resolved', because)
  publish(json)
  redis.call('HSET', RESOLVING, alert.id, json)
end

-- Add to a sorted set by event time, drop what is too old to matter, let the rest expire.
local function remember(key, ms, member, span_ms)
  redis.call('ZADD', key, whole(ms), member)
  local newest_ms = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', above(newest_ms - span_ms - LATE_MS))
  redis.call('ZREMRANGEBYRANK', key, 0, -WINDOW_MEMBERS - 1)
  redis.call('PEXPIRE', key, whole(span_ms + LATE_MS))
end

-- The window (end - span, end]: how many it holds, and the newest of them.
local function window_at(key, end_ms, span_ms)
  local count = redis.call('ZCOUNT', key, above(end_ms - span_ms), whole(end_ms))
  local found = redis.call('ZRANGE', key, whole(end_ms), above(end_ms - span_ms),
    'BYSCORE', 'REV', 'LIMIT', 0, NEWEST_EVENTS, 'WITHSCORES')
  local members = {}
  for i = 1, #found, 2 do
    members[#members + 1] = {found[i], tonumber(found[i + 1])}
  end
  return count, members
end

-- Where a window that holds the event and is full ends, or nil. Mostly that is the event's own
-- window. An event that comes late may complete one that ends at a later event: partitions are
-- read side by side, so that a burst rarely arrives in its order.
local function full_window_end(key, ms, span_ms, needed)
  if redis.call('ZCOUNT', key, above(ms - span_ms), whole(ms)) >= needed then
    return ms
  end
  local later = redis.call('ZRANGE', key, above(ms), above(ms + span_ms),
    'BYSCORE', 'LIMIT', 0, needed - 1, 'WITHSCORES')
  if #later == 0 then
    return nil
  end
  local times = {}
  local own = redis.call('ZRANGE', key, above(ms - span_ms), whole(ms), 'BYSCORE', 'WITHSCORES')
  for _, found in ipairs({own, later}) do
    for i = 2, #found, 2 do
      times[#times + 1] = tonumber(found[i])
    end
  end
  for i = needed, #times do
    if times[i] - times[i - needed + 1] < span_ms then
      return times[i]
    end
  end
  return nil
end

-- How many events are behind a match and the newest of them; nil while they are too few.
local function evidence(match, event)
  if match.count <= 1 then
    return 1, {{event.id, event.ms}}
  end
  local key = window_key(match)
  if not redis.call('ZSCORE', key, event.id) then
    return nil -- so late that it was dropped again
  end
  local end_ms = full_window_end(key, event.ms, match.window_ms, match.count)
  if end_ms then
    return window_at(key, end_ms, match.window_ms)
  end
  return nil
end

-- Alerts are remembered here apart from the active ones, since those are resolved by the clock:
-- a backlog of yesterday must not raise one alert an event.
local function cooling_down(match, ms)
  local span_ms = match.cool_down_ms
  if span_ms == 0 then
    return false
  end
  return redis.call('ZCOUNT', cool_down_key(match), above(ms - span_ms), above(ms + span_ms)) > 0
end

local function add_member(members, event)
  local place = 1
  while members[place] and members[place][2] > event.ms do
    place = place + 1
  end
  table.insert(members, place, {event.id, event.ms})
  members[NEWEST_EVENTS + 1] = nil
end

local function take_in(alert, event)
  alert.count = alert.count + 1
  add_member(alert.members, event)
  keep_active(alert)
end

-- A match that a cool-down swallows joins the events behind the active alert, if there is one.
local function join(alert, match, event)
  if alert and math.abs(event.ms - alert.event_ms) < match.cool_down_ms then
    take_in(alert, event)
  end
end

-- One alert a fingerprint is active: the one with the newest event. The other is resolved, so that
-- no document says firing for good.
local function activate(alert)
  local other = active_alert(alert.fingerprint)
  if other and other.members[1][2] > alert.members[1][2] then
    resolve(alert)
    return
  end
  if other then
    resolve(other)
  end
  keep_active(alert)
end

local function without(members, forgotten)
  local kept = {}
  for _, member in ipairs(members) do
    if not forgotten[member[1]] then
      kept[#kept + 1] = member
    end
  end
  return kept
end

local function resolve_due(now_ms)
  local due = redis.call('ZRANGE', DUE, '-inf', above(now_ms),
    'BYSCORE', 'LIMIT', 0, RESOLVED_A_CALL)
  for _, fingerprint in ipairs(due) do
    local alert = active_alert(fingerprint)
    if alert then -- else somebody deleted it by hand, which must not stop the alerts
      resolve(alert)
    end
    drop_active(fingerprint)
  end
end

-- Resolved alerts whose documents may still say firing; by chance, where there are very many.
local function unsettled()
  local found = redis.call('HRANDFIELD', RESOLVING, OFFERED_A_CALL, 'WITHVALUES')
  local offered = {}
  for i = 2, #found, 2 do
    offered[#offered + 1] = found[i]
  end
  return offered
end
