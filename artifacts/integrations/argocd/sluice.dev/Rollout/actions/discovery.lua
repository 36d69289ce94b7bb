-- What can be done by a change of the spec. Promote, abort, retry and undo cannot: they are subresources, which
-- actions do not reach.
local paused = obj.spec.paused == true

return {
  pause = { disabled = paused, iconClass = "fa fa-fw fa-pause-circle" },
  resume = { disabled = not paused, iconClass = "fa fa-fw fa-play-circle" },
  restart = { iconClass = "fa fa-fw fa-redo" },
  scale = { iconClass = "fa fa-fw fa-plus-circle", params = { { name = "replicas" } } }
}
