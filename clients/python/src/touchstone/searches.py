"""Searching an upstream: what is sent, when it is over, and what was found as a notebook shows it."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchstone_contracts import views
from touchstone_contracts.problems import Problem
from touchstone_contracts.search import MOST_IMAGE_BYTES, SearchIn

from touchstone.answers import as_frame, as_text
from touchstone.errors import UnreadableImage
from touchstone.html import html_list, html_table
from touchstone.phases import FINISHED
from touchstone.problems import StillRunning, problem_error
from touchstone.search_tables import found_rows, print_search, search_notes, search_title

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    Searchable = str | Path | bytes | Image
"""An image: its path, its encoded bytes, or a picture of Pillow."""


class SearchResults(views.SearchView):
    """The images that a search of an upstream found, best first.

    >>> found = client.search("miniverse", "a flag with a red circle")
    >>> found.results[0].caption, found.results[0].score
    ('flag of Japan', 0.312)
    """

    def to_pandas(self) -> "pd.DataFrame":
        """One row per image: id, score, caption, source_key, url, link. `attrs` has the search's id and upstream.

        >>> client.search("miniverse", "an owl").to_pandas()[["score", "caption"]]
        """
        frame = as_frame(self.results, views.FoundImage)
        frame.attrs = {"upstream": self.upstream, "search": self.id, "search_in": self.search_in}
        return frame

    def __repr__(self) -> str:
        return as_text(print_search, self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        headings = ("", "score", "caption", "image", "source")
        return html_table(search_title(self), headings, found_rows(self)) + html_list(search_notes(self))


def search_document(
    text: str | None, image: "Searchable | None", like: str | None, limit: int, search_in: SearchIn
) -> dict[str, Any]:
    """The body of a search. Raises UnreadableImage."""
    asked = {"text": text, "image": None if image is None else _in_base64(image), "like": like}
    return {name: value for name, value in asked.items() if value is not None} | {
        "limit": limit,
        "search_in": search_in,
    }


def _in_base64(image: "Searchable") -> str:
    data = _encoded(image)
    if len(data) > MOST_IMAGE_BYTES:
        raise UnreadableImage(
            f"the image has {len(data) / 2**20:.1f} MiB and a search takes {MOST_IMAGE_BYTES // 2**20} MiB: scale it "
            "down, as the encoder does anyway"
        )
    return base64.b64encode(data).decode()


def _encoded(image: "Searchable") -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{image} cannot be read: {error.strerror or error}") from error
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def search_is_over(found: views.SearchView, seconds: float, timeout: float) -> bool:
    """Whether it has ended well. Raises ProblemError where it failed, StillRunning after `timeout` seconds."""
    if found.phase == "succeeded":
        return True
    if found.phase in FINISHED:
        failed = Problem(title="The search failed", status=409, code="search_failed", detail=f"it is {found.phase}")
        raise problem_error(found.problems[0] if found.problems else failed)
    if seconds > timeout:
        raise StillRunning(
            f"the search of upstream {found.upstream!r} is still {found.phase} after {timeout:.0f} s, as no worker "
            "was free or the upstream is being indexed. It goes on: search for the same again"
        )
    return False
