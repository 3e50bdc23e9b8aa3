"""Types of parameters that several routes share. Every number has a limit that the database can hold."""

from typing import Annotated

from fastapi import Header, Query
from pydantic import Field

LARGEST_ROW = 2**31 - 1
"""Rows and ids are 32-bit integers in Postgres."""
RowNumber = Annotated[int, Field(ge=0, le=LARGEST_ROW)]
After = Annotated[RowNumber, Query(description="Only what came after this id")]
LastEventId = Annotated[RowNumber | None, Header(description="What a browser's EventSource sends when it reconnects")]
IfMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        description="The ETag that GET answered for the same thing: 412 `precondition_failed` if it has changed since",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern="^[!-~]{1,200}$",
        description="Any name of your own for this request. Repeated with the same body it answers as before, with "
        "another body 422 `idempotency_key_reused`",
    ),
]
