"""Training sets as folders that other tools read."""
