"""The small real image-text world: data builder and training recipes."""
