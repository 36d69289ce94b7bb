-- Without the field, as most manifests have it, so that no difference from them is left.
obj.spec.paused = nil
return obj
