"""Notebooks executed cell by cell in this process, as a kernel would: the value of a cell is its last expression."""

import ast
import asyncio
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Notebook:
    """The code of a notebook and the names that its cells have defined so far."""

    cells: list[str]
    names: dict[str, Any] = field(default_factory=dict)
    done: int = 0

    def run(self, until: str = "") -> Iterator[Any]:
        """Executes cells up to the first that contains `until`, that one left out; the value of each."""
        while self.done < len(self.cells) and not (until and until in self.cells[self.done]):
            yield self._value(self.cells[self.done])
            self.done += 1

    def _value(self, source: str) -> Any:
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        self._execute(tree, "exec")
        return self._execute(ast.Expression(last.value), "eval") if isinstance(last, ast.Expr) else None

    def _execute(self, tree: ast.AST, mode: str) -> Any:
        # A kernel allows `await` outside of functions.
        code = compile(tree, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # type: ignore[call-overload]
        value = eval(code, self.names)
        return asyncio.run(_awaited(value)) if inspect.iscoroutine(value) else value


async def _awaited(value: Any) -> Any:
    return await value


def read_notebook(path: Path, parameters: Mapping[str, Any]) -> Notebook:
    """With other values for what the cell tagged `parameters` assigns."""
    document = json.loads(path.read_text())
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    [tagged] = [number for number, cell in enumerate(code) if "parameters" in cell["metadata"].get("tags", ())]
    cells = ["".join(cell["source"]) for cell in code]
    cells[tagged] += "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    return Notebook(cells)
