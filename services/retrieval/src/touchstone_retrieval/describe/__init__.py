"""Describing data so that it can be registered: locations, digests and counts."""
