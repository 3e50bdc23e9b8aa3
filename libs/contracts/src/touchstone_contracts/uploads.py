"""Archives that people upload: kept as they are, and read by workers as `upload://<id>`."""

from datetime import datetime

from pydantic import Field

from touchstone_contracts.values import Digest, Lenient
from touchstone_contracts.views import Page


class Upload(Lenient):
    id: str
    """The project's id, a dot, and what nobody guesses."""
    size: int = Field(ge=0)
    """Bytes."""
    digest: Digest
    """sha256 of the archive."""
    created_at: datetime

    @property
    def location(self) -> str:
        return f"upload://{self.id}"


class UploadPage(Page):
    items: tuple[Upload, ...]
