"""What Touchstone's services say to each other: specs, steps, messages, keys and problems."""
