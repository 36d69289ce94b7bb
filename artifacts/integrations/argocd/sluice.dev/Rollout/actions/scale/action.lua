local replicas = tonumber(actionParams["replicas"])
if not replicas then
  error("replicas must be a number, not " .. tostring(actionParams["replicas"]), 0)
end
obj.spec.replicas = replicas
return obj
