"""What kind of picture encoded bytes are: by their first bytes, never by a name."""

_BY_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
_AVIF = (b"ftypavif", b"ftypavis")
"""Of still images and of several frames, behind the size of the first box."""
UNKNOWN = "application/octet-stream"
SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
    UNKNOWN: ".bin",
}
"""Of file names, by media type."""


def media_type(image: bytes) -> str:
    """UNKNOWN of what is none of these formats."""
    if image[4:12] in _AVIF:
        return "image/avif"
    return next((media for magic, media in _BY_MAGIC.items() if image.startswith(magic)), UNKNOWN)
