"""Writing down what people have, so that it can be registered: places, digests and counts."""
