"""A spec with the facts behind its names."""

from functools import cached_property
from typing import Annotated

from pydantic import Field
from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import ClassLabel, Dataset, Encoder, Generator, Target, Upstream, ids_by_key
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.sources import Host
from touchstone_contracts.values import Strict, WhenSet, is_none


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
    hosts_of_links: Annotated[tuple[Host, ...] | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Of an upstream of links: the hosts that its project allows. None: those of the installation."""

    @cached_property
    def class_keys(self) -> frozenset[str]:
        """Display names and ids of all targets' classes."""
        return frozenset().union(*(ids_by_key(target.classes) for target in self.targets))

    @cached_property
    def most_images(self) -> dict[tuple[str, str], int]:
        """By (target, arm), as far as it has been asked for; see arms/planner.py."""
        return {}

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
