"""Resolved experiments for tests of the rules: small, with made-up digests."""

from collections.abc import Sequence

from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import (
    ClassLabel,
    Dataset,
    Encoder,
    Generator,
    ParquetFile,
    Splits,
    Target,
    Templates,
    Upstream,
)
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import sha256
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment

TEMPLATE = ("an icon of {name}",)


def source(name: str, images: int = 10) -> ParquetFile:
    return ParquetFile(location=f"library:{name}.parquet", digest=sha256(name.encode()), images=images)


def target(name: str, classes: int = 3, further_tests: Sequence[str] = ()) -> Target:
    return Target(
        name=name,
        classes=tuple(ClassLabel(id=number, display_name=f"thing {number}") for number in range(classes)),
        templates=Templates(retrieval=TEMPLATE, filter=TEMPLATE, zero_shot=TEMPLATE, synthesis=TEMPLATE),
        splits=Splits(
            validation=source(f"{name}-validation"),
            test=source(f"{name}-test"),
            further_tests={test_set: source(f"{name}-{test_set}") for test_set in further_tests},
        ),
    )


class DictLookup:
    """A catalogue in memory: two targets with a data set each, one upstream of two shards, an encoder, two generators.

    `further_tests`: test sets of `fine` beside its main one."""

    def __init__(self, further_tests: Sequence[str] = ()) -> None:
        digest = sha256(b"model")
        self.targets = {"fine": target("fine", further_tests=further_tests), "broad": target("broad")}
        self.upstreams = {
            "world": Upstream(name="world", shards=(source("s0", 60), source("s1", 40)), index_encoder="clip")
        }
        self.encoders = {"clip": Encoder(name="clip", model="library:clip", digest=digest, trained_on="world")}
        self.datasets = {
            f"{name}-by-hand": Dataset(name=f"{name}-by-hand", target=name, images=source(f"{name}-by-hand", 9))
            for name in self.targets
        }
        self.generators = {
            "diffusion": Generator(name="diffusion", model="library:sd", digest=digest, trained_on="world"),
            "stranger": Generator(name="stranger", model="library:sd2", digest=digest, trained_on="elsewhere"),
        }

    def upstream(self, name: str) -> Upstream | None:
        return self.upstreams.get(name)

    def encoder(self, name: str) -> Encoder | None:
        return self.encoders.get(name)

    def generator(self, name: str) -> Generator | None:
        return self.generators.get(name)

    def target(self, name: str) -> Target | None:
        return self.targets.get(name)

    def dataset(self, name: str) -> Dataset | None:
        return self.datasets.get(name)


def spec(**changes: object) -> ExperimentSpec:
    """Two targets, arms none / retrieved / synthetic, sizes 6 and 12, two seeds, one learning rate."""
    fields: dict[str, object] = {
        "name": "quick",
        "upstream": "world",
        "encoder": "clip",
        "targets": ("fine", "broad"),
        "arms": (
            NoTraining(),
            Retrieval(name="retrieved"),
            Generation(name="synthetic", generator="diffusion", images=300),
        ),
        "sizes": (6, 12),
        "seeds": (0, 1),
        "recipe": CrossEntropy(),
    }
    return ExperimentSpec.model_validate(fields | changes)


def resolved(further_tests: Sequence[str] = (), **changes: object) -> ResolvedExperiment:
    return resolve(spec(**changes), DictLookup(further_tests))
