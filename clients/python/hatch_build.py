"""Puts the libraries of this repository that the client imports into its wheel, so that it needs no other package of
ours."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = {"touchstone_contracts": "contracts", "touchstone_verdict": "verdict"}
"""By module: its folder below libs/."""


class IncludeLibraries(BuildHookInterface):
    """In a source distribution the libraries lie beside the client; an editable installation links to their folders
    (`dev-mode-dirs`)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        for module, library in LIBRARIES.items():
            beside = Path(self.root, "src", module)
            source = beside if beside.is_dir() else Path(self.root, "../../libs", library, "src", module)
            location = f"src/{module}" if self.target_name == "sdist" else module
            build_data["force_include"][str(source.resolve())] = location
