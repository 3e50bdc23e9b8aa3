"""Options and arguments that are refused at the terminal are told in plain words, with the nearest that is allowed."""

import re
from typing import Any

import typer
from touchstone_contracts.suggestions import did_you_mean
from typer.core import TyperGroup

from touchstone.plain_words import about_field

_NOT_ONE_OF = re.compile(r"'(?P<text>.*)' is not (?:one of )?(?P<allowed>.+?)\.?", re.S)


class PlainGroup(TyperGroup):
    """A group of commands whose own refusals of what was typed read like the rest of the program's."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = plain_refusal(error.message)
            raise


def plain_refusal(message: str) -> str:
    said = about_field(message, "")
    found = _NOT_ONE_OF.fullmatch(said)
    if found is None or "did you mean" in said:
        return said
    meant = did_you_mean(found["text"], re.findall(r"[\w-]+", found["allowed"]), most=1)
    return "; ".join(filter(None, (said.removesuffix("."), meant)))
