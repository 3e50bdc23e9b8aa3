"""What is measured of a curated pool: one file per measure, and the one line in measures.py that makes it known."""
