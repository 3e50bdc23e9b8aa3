"""Experiment rules: pure functions and values, no storage, no queue."""
