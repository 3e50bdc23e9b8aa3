"""Results: computed from the manifests of finished steps, so they can be rebuilt from the object store alone."""
