"""What was declared when an experiment was posted. Kept as the text it was written as, whose sha256 is its digest, so
that anybody can check that nothing was changed since."""

from collections.abc import Iterator
from datetime import UTC, datetime

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.exclusions import Exclusion
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import canonical_json, sha256
from touchstone_contracts.values import Digest, Lenient, Name

EXCLUSION_RULES = (
    "A size that one of the two arms cannot reach at a target is left out there, for both.",
    "A target at which the two arms reach no common size is left out.",
)
"""What is left out after the start, whatever the results are."""

SPREAD_WORDS = {
    "own": "spread between seeds of the two arms alone, at each target",
    "borrowed": "spread between seeds of all arms and targets together",
}
FAILED_RUN_WORDS = {"count": "they count like any others", "leave_out": "they are left out"}

STOPPING_WORDS = {
    "fixed": "judged once, when every run of both arms is in",
    "anytime": "may be looked at, and stopped, after every seed",
    "planned": "judged at declared looks and never between, may be stopped at each",
}
SPENDING_WORDS = {"obrien_fleming": "the last look has almost all of alpha", "pocock": "looks share alpha about alike"}


class Parent(Lenient):
    """The experiment that this one was cloned from, as it was at that moment."""

    experiment: str
    measured: int | None
    """Its evaluations that were in and could be seen; None, as below: its plan could not be read."""
    judged: bool | None
    """Whether its verdict was there and could be read, or with `anytime` one on its first seeds."""


class RegisteredFacts(Lenient):
    """Everything that the digest is of."""

    spec: Digest
    """Identity of the spec (touchstone_contracts.identity)."""
    experiment: Digest
    """Identity of the experiment: the spec, the registered entries that it names, and the contracts' versions."""
    registered_at: datetime
    primary: Comparison | None
    """The declared comparison, or the first two arms that train; None: nothing is compared."""
    targets: tuple[Name, ...]
    sizes: tuple[int, ...]
    """The primary endpoint is the mean over these targets and sizes."""
    seeds: tuple[int, ...]
    exclusions: tuple[Exclusion, ...]
    exclusion_rules: tuple[str, ...]
    parent: Parent | None
    """None: it was not posted as a clone."""
    runs_planned: int
    """Of the two arms; of all that train, where nothing is compared."""
    runs_known: int
    """Those of them that earlier experiments had trained or measured when this one was posted."""

    def text(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical_json(self.model_dump(mode="json")).decode()


class Registration(RegisteredFacts):
    digest: Digest
    """sha256 of what `GET /v1/experiments/{experiment}/registration` answers, which is everything else here."""

    @classmethod
    def read(cls, text: str) -> "Registration":
        """Raises ValidationError where `text` is no registration."""
        facts = RegisteredFacts.model_validate_json(text)
        return cls(**dict(facts), digest=sha256(text.encode()))

    @property
    def added_later(self) -> tuple[str, ...]:
        """What was known when the experiment was registered, so that it may have been declared because of it."""
        return tuple(self._known_before())

    def _known_before(self) -> Iterator[str]:
        parent, known = self.parent, self.runs_known
        if parent is not None and parent.judged:
            yield (
                f"Added later: cloned from {parent.experiment} when the verdict of that experiment was ready, so it "
                "may have been declared because of it."
            )
        elif parent is not None and parent.measured != 0:
            seen = f"{parent.measured} of its results were in" if parent.measured else "its results may have been in"
            yield f"Added later: cloned from {parent.experiment} when {seen}."
        if known and known == self.runs_planned:
            yield (
                f"All {known} runs of the compared arms were done before this experiment was registered: it is an "
                "analysis of known results."
            )
        elif known:
            yield (
                f"{known} of the {self.runs_planned} runs of the compared arms were done before this experiment was "
                "registered, so their results may have been seen."
            )

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """(heading, text), for people."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "Registered", f"{self.registered_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        if (primary := self.primary) is not None:
            yield "Primary endpoint", self._endpoint(primary)
            yield "Interval", SPREAD_WORDS.get(primary.spread or "own", str(primary.spread))
            yield "Runs that fail", FAILED_RUN_WORDS.get(primary.failed_runs, primary.failed_runs)
            yield "Stopping rule", _stopping_words(primary)
        excluded = "; ".join(f"{entry.words} ({entry.reason})" for entry in self.exclusions)
        yield "Left out", excluded or "nothing was declared"
        yield "Left out by rule", " ".join(self.exclusion_rules)
        if self.parent is not None and not self.added_later:
            yield "Cloned from", f"{self.parent.experiment}, before any of its results were in"
        yield "Digest of all this", self.digest

    def _endpoint(self, primary: Comparison) -> str:
        measure = on_test_set(METRICS[primary.metric].words, primary.test_set)
        sizes = ", ".join(str(size) for size in sorted(self.sizes))
        return (
            f"{primary.a} minus {primary.b} in {measure}, mean over targets ({', '.join(self.targets)}) and sizes "
            f"({sizes}), {len(self.seeds)} seeds; smallest difference that matters {100 * primary.delta:g} points; "
            f"confidence {100 * primary.confidence:g} %"
        )


def _stopping_words(primary: Comparison) -> str:
    words = STOPPING_WORDS.get(primary.stopping, primary.stopping)
    if not primary.looks:
        return words
    seeds = ", ".join(str(look) for look in primary.looks)
    return f"{words} ({seeds} seeds; {SPENDING_WORDS.get(primary.spending, primary.spending)})"
