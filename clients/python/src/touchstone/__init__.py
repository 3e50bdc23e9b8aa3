"""Python client and command line for a Touchstone server."""
