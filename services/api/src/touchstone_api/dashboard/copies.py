"""A spec in the forms in which people post it again: YAML, a request with curl, a script in Python."""

import json
from dataclasses import dataclass
from pprint import pformat

import yaml
from touchstone_contracts.experiment import ExperimentSpec

LINE_LENGTH = 100
END = "SPEC"
"""Ends the body in the shell. No line of indented JSON is this word alone."""


@dataclass(frozen=True)
class Copy:
    id: str
    label: str
    text: str


def copies_of(spec: ExperimentSpec, address: str) -> tuple[Copy, ...]:
    """`address`: of this API, without a slash at its end."""
    document = spec.model_dump(mode="json")
    return (
        Copy("as-yaml", "YAML", yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=LINE_LENGTH)),
        Copy("as-curl", "curl", _curl(document, address)),
        Copy("as-python", "Python", _python(document, address)),
    )


def _curl(document: object, address: str) -> str:
    return (
        f"curl -X POST {address}/v1/experiments \\\n"
        '  -H "Authorization: Bearer $TOUCHSTONE_API_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  --data-binary @- <<'{END}'\n{json.dumps(document, indent=2, ensure_ascii=False)}\n{END}\n"
    )


def _python(document: object, address: str) -> str:
    spec = pformat(document, width=LINE_LENGTH, sort_dicts=False)
    return (
        "import touchstone\n\n"
        f"spec = {spec}\n\n"
        f"client = touchstone.Client({address!r})\n"
        "experiment = client.run(spec).wait()\n"
        "print(experiment.verdict.headline)\n"
    )
