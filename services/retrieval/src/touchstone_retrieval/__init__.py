"""Upstream ingest, vector index, retrieval strategies and curation."""
