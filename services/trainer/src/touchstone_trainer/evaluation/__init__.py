"""Zero-shot accuracy, linear probe, and which run is tested."""
