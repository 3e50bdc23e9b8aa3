"""The commands of docs/guides/upstreams.md are ones the describe command takes."""

import re
import shlex
from pathlib import Path

from touchstone_retrieval.describe.__main__ import parser

GUIDE = Path(__file__).parents[2] / "docs/guides/upstreams.md"
COMMAND = re.compile(r"^python -m touchstone_retrieval\.describe (.+?)(?: > \S+)?$", re.MULTILINE)


def test_every_command_of_the_guide_parses() -> None:
    commands = COMMAND.findall(GUIDE.read_text())
    assert len(commands) == 12
    described = [parser().parse_args(shlex.split(command)) for command in commands]
    assert {options.form for options in described if "form" in options} == {
        "webdataset",
        "image_folder",
        "links",
        "class_folders",
    }
