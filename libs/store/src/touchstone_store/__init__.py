"""The SQL store: intent lives here (experiments, steps, leases, events), results live in the object store."""
