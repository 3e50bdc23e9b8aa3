"""The vector index: one protocol, a Qdrant server and the embedded engine behind it."""
