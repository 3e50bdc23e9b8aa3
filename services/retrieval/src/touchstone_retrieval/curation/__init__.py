"""Curation: scores, filters, near-duplicates, decontamination and caps; the same for every arm (paper section 3)."""
