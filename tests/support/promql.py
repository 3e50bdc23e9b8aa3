"""What PromQL expressions ask for, and whether scraped metrics have it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

BUILT_IN = {"up": frozenset[str]()}
"""Metrics that Prometheus itself makes, and their labels."""
TARGET_LABELS = frozenset({"job", "instance"})
"""Labels that Prometheus adds to what it scrapes."""
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@dataclass(frozen=True)
class Selector:
    """`name{label="value", ...}`; `equals` holds the labels that are compared with one value."""

    name: str
    labels: frozenset[str]
    equals: Mapping[str, str]


@dataclass(frozen=True)
class Asked:
    selectors: tuple[Selector, ...]
    grouping: frozenset[str]
    """Labels of every `by`."""


def asked_by(expression: str) -> Asked:
    """Grafana's interval variables are put in first. Raises ValueError for what is no PromQL."""
    try:
        tree = promql.parse(re.sub(r"\$__\w+", "5m", expression))
    except Exception as error:  # the parser raises several of its own, all about the text
        raise ValueError(f"{expression!r} is no PromQL: {error}") from error
    selectors: list[Selector] = []
    grouping: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            selectors.append(_selector(node))
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            assert node.modifier.type == promql.AggModifierType.By, "`without` keeps labels that nobody named"
            grouping.update(node.modifier.labels)

    promql.walk(tree, visit)
    return Asked(tuple(selectors), frozenset(grouping))


def _selector(node: promql.VectorSelector) -> Selector:
    matchers = list(node.matchers.matchers)
    return Selector(
        name=node.name or "",
        labels=frozenset(matcher.name for matcher in matchers),
        equals={matcher.name: matcher.value for matcher in matchers if matcher.op == promql.MatchOp.Equal},
    )


@dataclass
class Family:
    kind: str
    labels: set[str] = field(default_factory=set)
    """Without `le`."""


@dataclass
class Exposed:
    """What processes answered to scrapes, all together. Names are those of samples, as queries use them."""

    families: dict[str, Family] = field(default_factory=dict)
    values: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """Sample name -> label -> values."""

    @classmethod
    def of(cls, scrapes: Iterable[str]) -> "Exposed":
        exposed = cls()
        for text in scrapes:
            exposed._add(text)
        return exposed

    def _add(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue
            name = family.name + ("_total" if family.type == "counter" else "")
            known = self.families.setdefault(name, Family(family.type))
            for sample in family.samples:
                known.labels |= set(sample.labels) - {"le"}
                labels = self.values.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)

    def missing(self, expression: str) -> list[str]:
        """What the expression asks for in vain, in sentences. Empty: all of it was exposed."""
        asked = asked_by(expression)
        found = [complaint for selector in asked.selectors for complaint in self._missing_of(selector)]
        known = TARGET_LABELS.union(*(self._labels_of(selector.name) for selector in asked.selectors))
        found += [f"no metric of it has the label {label}" for label in sorted(asked.grouping - known)]
        if not asked.selectors:
            found.append("it asks for no metric")
        return found

    def _labels_of(self, name: str) -> frozenset[str]:
        return frozenset(self.values.get(name, {})) | BUILT_IN.get(name, frozenset())

    def _missing_of(self, selector: Selector) -> Iterator[str]:
        if selector.name not in self.values and selector.name not in BUILT_IN:
            yield f"{selector.name or 'a metric without a name'} was exposed by no process"
            return
        for label in sorted(selector.labels - self._labels_of(selector.name) - TARGET_LABELS):
            yield f"{selector.name} has no label {label}"
        for label, value in selector.equals.items():
            exposed = self.values.get(selector.name, {}).get(label, set())
            if exposed and value not in exposed:
                yield f"{selector.name} has no {label} {value!r}, only {sorted(exposed)}"
