"""The sub-commands of `touchstone`, a file for each subject; `touchstone.cli` joins them."""
