-- Health of trevor's kinds for Argo CD. In the ConfigMap argocd-cm, one entry for each of
-- AirlockRequest, AirlockPolicy and ReleaseRecord:
--   resource.customizations.health.airlock.karectl.io_AirlockRequest: |
--     <this file>
-- A request that waits for people is Healthy: the operator has nothing left to do.
local hs = {status = "Progressing", message = "trevor has not looked at it yet"}
if obj.status == nil then
  return hs
end
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= nil
    and obj.status.observedGeneration < obj.metadata.generation then
  hs.message = "trevor has not looked at the last change yet"
  return hs
end
if obj.kind == "ReleaseRecord" then
  hs.status = "Healthy"
  hs.message = obj.status.phase or ""
  return hs
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return {status = "Degraded", message = condition.message}
  end
  if obj.kind == "AirlockPolicy" and condition.status == "False" then
    return {status = "Degraded", message = condition.message}
  end
  if condition.type == "Ready" then
    hs.message = condition.message
    if condition.status == "True" then
      hs.status = "Healthy"
    end
  end
end
if obj.kind == "AirlockPolicy" then
  hs.status = "Healthy"
end
return hs
