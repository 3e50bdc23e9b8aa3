"""Nobody asks an arm for its kind: what differs between kinds stands with the kind."""

import ast
from collections.abc import Iterator
from pathlib import Path

from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.given import Given
from touchstone_contracts.arms.labelled import Labelled
from touchstone_contracts.arms.mixture import Mixture
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.arms.spec import ARMS
from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_planning.arms.planner import PLANNERS, unplanned

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("libs", "services", "clients", "stack", "miniverse")
    for path in (ROOT / folder).rglob("src/**/*.py")
    if "touchstone_contracts" not in path.parts
)
KINDS = {"none", "retrieval", "generation", "perturbation", "target_train", "given", "mixture", "labelled"}


def comparisons_of_kind(tree: ast.AST) -> Iterator[ast.Compare]:
    """`x.kind == ...`, `x["kind"] in ...` where a kind of arm is on the other side, or x is called an arm."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(_is_kind(side) for side in (node.left, *node.comparators)):
            words = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            if words & KINDS or any("arm" in name for name in names):
                yield node


def _is_kind(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "kind"
    return isinstance(node, ast.Attribute) and node.attr == "kind"


def test_nothing_compares_the_kind_of_an_arm_outside_contracts() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in comparisons_of_kind(ast.parse(path.read_text()))
    ]
    assert found == []
    assert len(SOURCES) >= 200


def test_such_a_comparison_would_be_found() -> None:
    texts = ("arm.kind == 'generation'", "x.kind in ('retrieval', 'none')", "arm['kind'] != other", "arm.kind == b")
    for text in texts:
        assert len(list(comparisons_of_kind(ast.parse(text)))) == 1, text
    assert not list(comparisons_of_kind(ast.parse("encoder.kind == 'timm'")))


def test_only_planning_asks_for_the_type_of_an_arm() -> None:
    types = {"Retrieval", "Generation", "Perturbation", "TargetTrain", "Given", "Mixture", "NoTraining", "Labelled"}
    planners = ROOT / "libs/planning/src/touchstone_planning/arms"
    asked = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if planners not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "isinstance"
        and types & {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    ]
    assert asked == []


def test_every_kind_is_planned() -> None:
    kinds = {NoTraining, Retrieval, Generation, Perturbation, TargetTrain, Given, Mixture, Labelled}
    assert set(ARMS) == kinds == set(PLANNERS)
    assert unplanned() == []
