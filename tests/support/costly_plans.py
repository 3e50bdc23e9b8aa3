"""Experiments that cost as much planning as their bodies can ask for: each spends one factor as far as it goes."""

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from support.specs import source
from touchstone_contracts.catalogue import ClassLabel, Dataset, Encoder, Generator, Splits, Target, Templates, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import sha256
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment


class LargeWorld:
    """Whatever is asked for is there: targets of `classes` classes, an upstream of 10,000 shards."""

    def __init__(self, classes: int = 1000, shards: int = 10_000) -> None:
        self.classes = tuple(
            ClassLabel(id=number, display_name=f"thing {number}", aliases=(f"item {number}",))
            for number in range(classes)
        )
        self.shards = shards
        self.texts = tuple(f"a photo of {{name}}, number {number}" for number in range(80))

    def upstream(self, name: str) -> Upstream:
        shards = tuple(source(f"shard-{number}", 1_000_000) for number in range(self.shards))
        return Upstream(name=name, shards=shards, index_encoder="clip")

    def encoder(self, name: str) -> Encoder:
        return Encoder(name=name, model=f"library:{name}", digest=sha256(name.encode()), trained_on="world")

    def generator(self, name: str) -> Generator:
        return Generator(name=name, model="library:sd", digest=sha256(b"sd"), trained_on="world")

    def target(self, name: str) -> Target:
        texts = self.texts
        templates = Templates(retrieval=texts, filter=texts, zero_shot=texts, synthesis=texts)
        names = ("validation", "test", "train")
        splits = Splits(**{split: source(f"{name}-{split}", 50_000_000) for split in names})
        classes = (self.classes[0].model_copy(update={"display_name": name}), *self.classes[1:])
        return Target(name=name, classes=classes, templates=templates, splits=splits)

    def dataset(self, name: str) -> Dataset | None:
        return None


def experiment(world: LargeWorld, **changes: Any) -> ResolvedExperiment:
    """Two arms, every image kept."""
    document: dict[str, Any] = {
        "name": "costly",
        "upstream": "world",
        "encoder": "clip",
        "targets": ["one"],
        "arms": [{"kind": "retrieval", "name": "real"}, GENERATED],
        "sizes": [10],
        "seeds": [0],
        "curation": {"filter": {"kind": "keep_all"}, "per_class_cap": None},
        "recipe": {"kind": "cross_entropy"},
    }
    given = {name: list(value) if isinstance(value, range) else value for name, value in changes.items()}
    return resolve(ExperimentSpec.model_validate(document | given), world)


GENERATED: dict[str, Any] = {"kind": "generation", "name": "made", "generator": "diffusion", "images": 100_000}
SMALL = GENERATED | {"images": 1000}
MANY_NAMES = [f"t{number}" for number in range(50)]


def _rates(count: int) -> dict[str, Any]:
    return {"kind": "cross_entropy", "learning_rates": [0.0001 * (1 + number) for number in range(count)]}


def _chain(length: int) -> list[dict[str, Any]]:
    """Perturbations of perturbations."""
    names = ["real", *(f"p{number}" for number in range(length))]
    moved = [
        {"kind": "perturbation", "name": name, "parent": parent, "gamma": 0.5, "generator": "diffusion"}
        for parent, name in pairwise(names)
    ]
    few = {"kind": "retrieval", "name": "real", "strategy": {"kind": "random", "images_per_class": 1}}
    return [few, *moved]


@cache
def accepted() -> Mapping[str, ResolvedExperiment]:
    """Within the limits, by not much."""
    plain, small = LargeWorld(), LargeWorld(classes=400, shards=1)
    arms = [SMALL | {"name": f"a{number}", "sampling_seed": number} for number in range(50)]
    compared = {"a": "real", "b": "made", "stopping": "anytime"}
    every_encoder = {"judge_encoder": "judge", "curation": {"score_encoder": "scores", "copy_encoder": "copies"}}
    return {
        "generated images": experiment(plain, arms=[GENERATED | {"images": 1_550_000}]),
        "images for three encoders": experiment(plain, arms=[GENERATED | {"images": 760_000}], **every_encoder),
        "runs": experiment(plain, seeds=range(3), sizes=range(10, 60), recipe=_rates(3), targets=MANY_NAMES[:8]),
        "seeds": experiment(plain, seeds=range(100), sizes=range(10, 19)),
        "looks": experiment(plain, seeds=range(42), sizes=range(10, 16), comparison=compared),
        "arms and targets": experiment(small, arms=arms, targets=MANY_NAMES[:18]),
        "arms of the most classes": experiment(LargeWorld(10_000, 1), arms=arms, targets=MANY_NAMES[:2]),
        "a chain of arms": experiment(LargeWorld(20, 1), arms=_chain(49), targets=MANY_NAMES[:24]),
        "one tuning for each class": experiment(
            LargeWorld(8_000, 1),
            arms=[GENERATED | {"tune": {"images": {"kind": "target_train"}, "per": "class"}}],
        ),
    }


@cache
def refused() -> Mapping[str, ResolvedExperiment]:
    """As far beyond the limits as a body can ask for."""
    small = LargeWorld(classes=400, shards=10_000)
    arms = [GENERATED | {"name": f"a{number}", "images": 100_000_000} for number in range(50)]
    most = {"seeds": range(100), "sizes": range(10, 60), "recipe": _rates(100), "targets": MANY_NAMES}
    return {
        "everything at once": experiment(small, arms=arms, **most),
        "perturbed images": experiment(small, arms=[arms[0] | {"name": "real"}, *_chain(49)[1:]], **most),
        "looks": experiment(
            small, arms=[arms[0], arms[1]], comparison={"a": "a0", "b": "a1", "stopping": "anytime"}, **most
        ),
    }
