"""Rows that this release cannot read: another release wrote them, or a person did. They stop what they belong to."""

from touchstone_contracts.problems import Failure


class UnreadableRow(Failure):
    """Neither the caller nor time can help: somebody has to repair the row, or run the release that wrote it."""

    code = "unreadable_row"
    title = "Unreadable row"

    def __init__(self, table: str, row: str, reason: object) -> None:
        # The rest of pydantic's text quotes the row, which may be long.
        lines = str(reason).splitlines() or [type(reason).__name__]
        super().__init__(
            f"row {row!r} of table {table!r} cannot be read by this release ({'; '.join(lines[:3])}): repair the row, "
            "or run the release that wrote it"
        )
        self.row = row
