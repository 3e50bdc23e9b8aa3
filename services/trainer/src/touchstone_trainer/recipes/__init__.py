"""Adaptation recipes, one flat file each."""
