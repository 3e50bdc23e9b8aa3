"""The folders of a target's classes: each is named once, and found in either form of Unicode."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from touchstone_contracts.problems import Invalid


def require_named_once(folders: Sequence[str]) -> None:
    """Raises Invalid: images of one folder cannot be of two classes."""
    for class_id, folder in enumerate(folders):
        if (first := folders.index(folder)) != class_id:
            raise Invalid(
                f"folder {folder!r} is named twice, as class {first} and as class {class_id}", code="class_twice"
            )


def on_disk(root: Path, folder: str) -> str:
    """What a folder is called there: some systems write é as two code points."""
    if not root.is_dir() or (root / folder).is_dir():
        return folder
    wanted = unicodedata.normalize("NFC", folder)
    same = (path.name for path in root.iterdir() if unicodedata.normalize("NFC", path.name) == wanted)
    return next(same, folder)
