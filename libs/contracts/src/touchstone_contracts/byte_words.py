"""Bytes in words, the same on every page and at the terminal."""

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def byte_words(size: int) -> str:
    """In powers of 1000: 12300000 -> "12.3 MB"."""
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {UNITS[unit]}" if unit else f"{size} bytes"
