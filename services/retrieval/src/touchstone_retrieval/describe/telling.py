"""How describing tells what it left out or could not find."""

import sys
from collections.abc import Callable

from touchstone_retrieval.ingest.reasons import Reasons

NAMES_SHOWN = 3
Tell = Callable[[str], None]
"""Takes what was left out, in words."""


def tell_at_terminal(line: str) -> None:
    """Beside the catalogue, which goes to standard output."""
    print(line, file=sys.stderr)


def tell_unused(location: str, unused: Reasons, tell: Tell) -> None:
    for reason, count in sorted(unused.counts.items()):
        more = ", ..." if count > NAMES_SHOWN else ""
        tell(f"{location}: {count} {reason} ({', '.join(unused.names[reason][:NAMES_SHOWN])}{more})")
