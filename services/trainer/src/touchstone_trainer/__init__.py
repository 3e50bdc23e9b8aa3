"""Adaptation recipes, zero-shot evaluation and linear probes."""
