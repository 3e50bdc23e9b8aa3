"""Retrieval strategies: from a class to rows of the upstream."""
