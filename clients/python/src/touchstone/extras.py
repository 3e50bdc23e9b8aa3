"""What only some installations have: `pip install 'touchstone-lab[NAME]'`."""

from collections.abc import Iterator
from contextlib import contextmanager

from touchstone.errors import TouchstoneError


class MissingExtra(TouchstoneError, ImportError):
    """A package is needed that the installation does not have."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the imports of what an extra installs. Raises MissingExtra, which says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is missing: pip install 'touchstone-lab[{name}]'") from error
