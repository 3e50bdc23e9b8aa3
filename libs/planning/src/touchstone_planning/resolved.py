"""A spec with the facts behind its names."""

from typing import Annotated

from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import ClassLabel, Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.values import Strict, WhenSet


class ResolvedExperiment(Strict):
    """A spec with the registered facts behind its names. Its identity is the experiment's identity."""

    spec: ExperimentSpec
    upstream: Upstream
    index_encoder: Encoder
    encoder: Encoder
    targets: tuple[Target, ...]
    generators: tuple[Generator, ...]
    score_encoder: Annotated[Encoder | None, WhenSet] = None
    copy_encoder: Annotated[Encoder | None, WhenSet] = None
    datasets: Annotated[tuple[Dataset, ...], WhenSet] = ()
    """Those that an arm names."""

    judge_encoder: Annotated[Encoder | None, WhenSet] = None

    @property
    def encoder_for_scores(self) -> Encoder:
        return self.score_encoder or self.encoder

    @property
    def encoder_for_copies(self) -> Encoder:
        return self.copy_encoder or self.encoder

    def generator(self, name: str) -> Generator:
        return next(generator for generator in self.generators if generator.name == name)

    def dataset(self, name: str) -> Dataset:
        return next(dataset for dataset in self.datasets if dataset.name == name)

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.spec.arms if arm.name == name)

    def classes_of(self, target: str) -> tuple[ClassLabel, ...]:
        return next(entry.classes for entry in self.targets if entry.name == target)
