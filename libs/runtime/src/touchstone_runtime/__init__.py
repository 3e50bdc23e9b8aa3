"""Plumbing every Touchstone process needs: queue, object store, settings, logs, metrics."""
