-- Every change of state of the alerts, idempotent by event and content. Follows alert_state.lua.
--
-- What an event raised belongs to the version of its record that was judged: the same content again
-- gets the same answer and changes nothing, whatever a model says of it by now; so does a version
-- that is older than the judged one. A newer one with other content is judged. What it matches as
-- the one before did stays as it is. What it matches no longer is withdrawn: the event leaves the
-- windows and the alerts, and an alert with too few events behind it is resolved.
--
-- A version is {content, topic, partition, offset, stamp, appended}, as Origin in schemas/origins.py.
-- What is known of an event is {version, matched, raised}: `matched` are fingerprints, `raised` is a
-- list of {fingerprint, id, again, json}, one for each that any version raised; Redis holds the
-- length of `json` in its place, since the outcome has it.

local CORRECTED = 'corrected'
local MADE_ANEW_MS = 60 * 60 * 1000
local FIRST_VERSION = 6

local fresh = {} -- JSON of the alerts that this call raises

-- As Origin.follows does.
local function follows(one, other)
  if one.topic == other.topic and one.partition == other.partition then
    return one.offset > other.offset or one.appended and one.stamp > other.stamp + MADE_ANEW_MS
  end
  for _, name in ipairs({'stamp', 'offset', 'topic', 'partition'}) do
    if one[name] ~= other[name] then
      return one[name] > other[name]
    end
  end
  return false
end

local function version_key(outcome_key)
  return ROOT .. 'version:' .. string.sub(outcome_key, #(ROOT .. 'outcome:') + 1)
end

local function list(jsons)
  return '[' .. table.concat(jsons, ',') .. ']'
end

-- What is known of an event; nil where it was judged by a worker that wrote no versions.
local function recall(key, outcome)
  local packed = redis.call('GET', version_key(key))
  local known = packed and cmsgpack.unpack(packed)
  local at = 2
  for _, alert in ipairs(known and known.raised or {}) do
    alert.json = string.sub(outcome, at, at + alert.json - 1)
    at = at + #alert.json + 1
  end
  return known
end

-- Answers the outcome.
local function remember_event(key, known, seconds)
  local jsons = {}
  for i, alert in ipairs(known.raised) do
    jsons[i] = alert.json
    alert.json = #alert.json
  end
  redis.call('SET', key, list(jsons), 'EX', seconds)
  redis.call('SET', version_key(key), cmsgpack.pack(known), 'EX', seconds)
  return list(jsons)
end

local function raised_under(fingerprint, known)
  for place, alert in ipairs(known.raised) do
    if alert.fingerprint == fingerprint then
      return alert, place
    end
  end
  return nil, #known.raised + 1
end

-- An alert of this event that a correction resolved is raised again: the same alert once more.
local function raise(match, event, count, members, known)
  local before, place = raised_under(match.fingerprint, known)
  local again = before and before.again + 1 or 0
  local reason = string.gsub(match.reason, COUNT_MARK, whole(count))
  local head = match.head .. ',"reason":' .. reason
  local alert = {
    id = match.id, fingerprint = match.fingerprint,
    head = again == 0 and head or head .. ',"raised_again":' .. whole(again),
    stream = event.stream, event_id = event.id, event_ms = event.ms, count = count,
    members = members, needed = match.count,
    keep_ms = math.max(match.cool_down_ms, match.window_ms, SHORTEST_ACTIVE_MS),
  }
  local json = alert_json(alert, 'firing')
  publish(json)
  if match.cool_down_ms > 0 then
    remember(cool_down_key(match), event.ms, match.id, match.cool_down_ms)
  end
  activate(alert)
  fresh[#fresh + 1] = json
  known.raised[place] = {
    fingerprint = match.fingerprint, id = match.id, again = again, json = json,
  }
end

-- `reason` of a match is a JSON string with marks where the count goes, its `head` the JSON of the
-- rest of the alert that never changes.
local function answer(match, event, known)
  if match.count > 1 then
    remember(window_key(match), event.ms, event.id, match.window_ms)
  end
  local active = active_alert(match.fingerprint)
  if active and active.id == match.id then -- others have kept it firing
    take_in(active, event)
    return
  end
  if cooling_down(match, event.ms) then
    join(active, match, event)
    return
  end
  local count, members = evidence(match, event)
  if count then
    raise(match, event, count, members, known)
  end
end

-- The active alert under a fingerprint without the event; resolved where too few are left.
local function take_from_alert(fingerprint, stream, id)
  local alert = active_alert(fingerprint)
  if not alert or alert.stream ~= stream then
    return
  end
  local kept = without(alert.members, {[id] = true})
  if #kept == #alert.members then
    return
  end
  if #kept > 0 and alert.count > (alert.needed or 1) then
    alert.count, alert.members = alert.count - 1, kept
    keep_active(alert)
    return
  end
  resolve(alert, CORRECTED)
  drop_active(fingerprint)
  redis.call('ZREM', cool_down_key(alert), alert.id)
end

-- The event matches no longer. An alert of its own that is still active has others behind it.
local function withdraw(fingerprint, stream, id, known)
  redis.call('ZREM', window_key({fingerprint = fingerprint}), id)
  take_from_alert(fingerprint, stream, id)
  local raised = raised_under(fingerprint, known)
  local active = active_alert(fingerprint)
  if raised and not (active and active.id == raised.id) then
    redis.call('ZREM', cool_down_key(raised), raised.id)
  end
end

local function among(fingerprints)
  local set = {}
  for _, fingerprint in ipairs(fingerprints) do
    set[fingerprint] = true
  end
  return set
end

-- Judge a version of the event by what it matches. Old news keeps what it matched, no more.
local function judge_version(key, known, event)
  local stream, id = string.match(string.sub(key, #(ROOT .. 'outcome:') + 1), '^([^:]*):(.*)$')
  local before, now, matched = among(known.matched), {}, {}
  for _, match in ipairs(event and event.matches or {}) do
    if before[match.fingerprint] or not event.old then
      now[match.fingerprint] = match
      matched[#matched + 1] = match.fingerprint
    end
  end
  for _, fingerprint in ipairs(known.matched) do
    if not now[fingerprint] then
      withdraw(fingerprint, stream, id, known)
    end
  end
  for _, fingerprint in ipairs(matched) do
    if not before[fingerprint] then
      answer(now[fingerprint], event, known)
    end
  end
  known.matched = matched
end

-- The outcome of an event: `version` is the JSON of what came, `event` the same with its matches,
-- or nil without a match; `outcome` is what is stored, or nil.
local function outcome_of(key, version, event, outcome, seconds)
  local known = {matched = {}, raised = {}}
  if not outcome and (not event or event.old) then
    return false
  end
  version = cjson.decode(version)
  if outcome then
    known = recall(key, outcome)
    if not known or not follows(version, known.version) then
      return outcome
    end
  end
  if not known.version or version.content ~= known.version.content then
    judge_version(key, known, event)
  end
  known.version = version
  return remember_event(key, known, seconds)
end

local function stored_outcomes()
  local known = {}
  for first = 1, #KEYS, KEYS_A_CALL do
    local last = math.min(first + KEYS_A_CALL - 1, #KEYS)
    local found = redis.call('MGET', unpack(KEYS, first, last))
    for i, outcome in ipairs(found) do
      known[KEYS[first + i - 1]] = outcome or nil
    end
  end
  return known
end

-- KEYS are the events' outcome keys in order, from FIRST_VERSION on ARGV has the JSON of their
-- versions; `events` are those with a match, by position. Answers what was raised now, each event's
-- outcome, and what is being resolved.
local function judge(now_ms, remember_seconds, events)
  local known = stored_outcomes()
  local outcomes = {}
  local next_event = 1
  for position, key in ipairs(KEYS) do
    local event = events[next_event]
    if event and event.position == position then
      next_event = next_event + 1
    else
      event = nil
    end
    local version = ARGV[FIRST_VERSION + position - 1]
    local outcome = outcome_of(key, version, event, known[key], remember_seconds)
    known[key] = outcome or nil
    outcomes[position] = outcome
  end
  resolve_due(now_ms)
  return {fresh, outcomes, unsettled()}
end

-- The documents of these alerts, {id, again, status} each, say so: no need to offer it again. What
-- has changed since is offered.
local function settle(alerts)
  for _, written in ipairs(alerts) do
    local json = redis.call('HGET', RESOLVING, written.id)
    if json and (cjson.decode(json).raised_again or 0) == written.again then
      redis.call('HDEL', RESOLVING, written.id)
    end
  end
end

local function forget_in(alert, forgotten)
  local kept = without(alert.members, forgotten)
  if forgotten[alert.event_id] or #kept == 0 then
    drop_active(alert.fingerprint)
    return alert.id
  end
  if #kept < #alert.members then
    alert.count = alert.count - (#alert.members - #kept)
    alert.members = kept
    keep_active(alert)
  end
  return nil
end

-- Remove what active and resolving alerts hold of some events of a stream; answers the ids of the
-- alerts that went.
local function forget(stream, ids)
  local forgotten, gone = {}, {}
  for _, id in ipairs(ids) do
    forgotten[id] = true
  end
  for _, packed in ipairs(redis.call('HVALS', STATE)) do
    local alert = cmsgpack.unpack(packed)
    if alert.stream == stream then
      gone[#gone + 1] = forget_in(alert, forgotten)
    end
  end
  for _, json in ipairs(redis.call('HVALS', RESOLVING)) do
    local alert = cjson.decode(json)
    if alert.stream == stream and forgotten[alert.event_id] then
      redis.call('HDEL', RESOLVING, alert.id)
      gone[#gone + 1] = alert.id
    end
  end
  return gone
end

if MODE == 'judge' then
  return judge(tonumber(ARGV[3]), ARGV[4], cjson.decode(ARGV[5]))
end
if MODE == 'settle' then
  return settle(cjson.decode(ARGV[3]))
end
return forget(ARGV[3], cjson.decode(ARGV[4]))
