"""Every problem code that the source code can answer, found by reading it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
A_CODE = re.compile("[a-z]+(_[a-z]+)*")
CODE_NAMES = {"code", "_CODES", "NOT_A_PROBLEM"}
OPEN_UNIONS = {"Kinds", "Registry", "Implementations"}
"""What they cannot find is refused with `unknown_<what they hold>` (touchstone_contracts.registry)."""


def codes_in_source() -> dict[str, list[str]]:
    """Code -> where it stands."""
    found: dict[str, list[str]] = {}
    for path in sorted(ROOT.glob("libs/*/src/**/*.py")) + sorted(ROOT.glob("[cs]*/*/src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for code in _codes(node):
                found.setdefault(code, []).append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    return found


def _codes(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from _in_call(node)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(getattr(target, "id", None) in CODE_NAMES for target in targets):
            yield from _texts(node.value)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "code":
                yield from _texts(value)


def _in_call(call: ast.Call) -> Iterator[str]:
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    name = getattr(function, "id", getattr(function, "attr", ""))
    if name == "Refusal":
        yield from _texts(call.args[1])
    if name in OPEN_UNIONS and call.args and isinstance(call.args[0], ast.Constant):
        yield f"unknown_{str(call.args[0].value).replace(' ', '_')}"
    for keyword in call.keywords:
        if keyword.arg == "code":
            yield from _texts(keyword.value)


def _texts(value: ast.expr) -> Iterator[str]:
    """Of a text, of a choice between texts, and of the values of a dictionary."""
    if isinstance(value, ast.Constant):
        if isinstance(value.value, str) and A_CODE.fullmatch(value.value):
            yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)
    elif isinstance(value, ast.BoolOp | ast.Dict):
        for each in value.values:
            yield from _texts(each)
    elif isinstance(value, ast.Call) and getattr(value.func, "attr", "") == "get":
        for each in value.args[1:]:
            yield from _texts(each)
