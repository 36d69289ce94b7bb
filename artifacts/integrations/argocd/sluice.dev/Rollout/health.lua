-- The health of a Rollout. The server says in status.phase how it stands, and in status.message why; while it has
-- not seen the last change of the spec that speaks of an older one.
local health = {
  Healthy = "Healthy",
  Progressing = "Progressing",
  Paused = "Suspended",
  Degraded = "Degraded"
}

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "being deleted" }
end
local status = obj.status
if status == nil or (tonumber(status.observedGeneration) or 0) < obj.metadata.generation then
  return { status = "Progressing", message = "waiting for rollout spec update to be observed" }
end
return { status = health[status.phase] or "Unknown", message = status.message or "" }
