"""The whole system on one machine as local processes, without containers."""
