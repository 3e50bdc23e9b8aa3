"""What the rules must know of a kind of arm, and where they find it.

One planner per kind, one file each; everything else in planning asks the planner and never the kind."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from touchstone_contracts.arms.generation import AskedSampler
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.arms.spec import ARMS, ArmSpec
from touchstone_contracts.catalogue import Target
from touchstone_contracts.curation import Curation
from touchstone_contracts.problems import FieldError
from touchstone_contracts.values import Name, StepId

from touchstone_planning.curation import most_kept, most_kept_together, plan_curation
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext
from touchstone_planning.resolved import ResolvedExperiment

ArmT = TypeVar("ArmT", bound=ArmSpec)

Offer = Literal["images", "captions", "unmixed"]
"""What an arm's curated pool can be to another: any images; real images with captions of their own; images that are no
mixture."""

OBJECTIONS: dict[Offer, str] = {
    "images": "yields no images",
    "captions": "is of kind {kind!r}, only a retrieval arm has real images with captions",
    "unmixed": "is a mixture itself; name its parts instead",
}


MOST_PIXELS = 256 * 1024 * 1024
"""Of a batch that a generator makes at once: 3.2 GB of decoded images."""


@dataclass(frozen=True)
class Source:
    """Another arm, out of whose curated pool this one is made."""

    pointer: str
    """JSON pointer below the arm to the field that names it."""
    name: Name
    asks: tuple[Offer, ...] = ("images",)


@dataclass(frozen=True)
class Needs:
    """What must be there for an arm."""

    upstream: bool = False
    """The experiment's upstream, indexed."""
    generator: Name | None = None
    """Named in the arm's field `generator`; it must have been trained on the experiment's upstream."""
    datasets: tuple[Name, ...] = ()
    """Named in the arm's field `datasets`."""
    train_split: str | None = None
    """JSON pointer below the arm to what asks every target for a training split."""
    text_tower: bool = True
    """Of the encoder that scores images against class texts."""


class ArmPlanner(ABC, Generic[ArmT]):
    """What planning asks of a kind of arm, with the answers of most kinds."""

    spec: type[ArmT]
    offers: ClassVar[frozenset[Offer]] = frozenset({"images", "unmixed"})

    @abstractmethod
    def describe(self, arm: ArmT) -> str:
        """In words, without the arm's name."""

    def needs(self, arm: ArmT) -> Needs:
        return Needs()

    def sources(self, arm: ArmT) -> Iterator[Source]:
        yield from ()

    def impossible(self, arm: ArmT, resolved: ResolvedExperiment) -> Iterator[FieldError]:
        """What cannot be provided, beyond `needs` and `sources`. Pointers are into the whole spec, below
        `/arms/<position>` for the arm's own fields."""
        yield from ()

    def images_compared(self, arm: ArmT, resolved: ResolvedExperiment) -> Iterator[tuple[str, str]]:
        """JSON pointer into the spec to each field that asks for embeddings of the upstream's images, and what to
        choose where it has none."""
        yield from ()

    def patterns(self, arm: ArmT) -> Iterator[tuple[str, str]]:
        """JSON pointer below the arm to each regular expression that it holds, and the expression."""
        yield from ()

    @abstractmethod
    def most_candidates(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        """Upper bound of the images that curation chooses from."""

    @abstractmethod
    def most_images(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        """Upper bound of the curated images; what curation really leaves is known only after it ran."""

    def most_left(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        """As `most_images`, perhaps nearer to what is left: plans are made by that bound, which may not move."""
        return most_images(arm, target, resolved)

    def most_steps(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        """About how many steps its candidates take, to refuse a plan before it is made."""
        return 1

    def names_shards(self, arm: ArmT) -> bool:
        """Whether a step of it names every shard of the upstream."""
        return False

    @abstractmethod
    def plan_pool(self, arm: ArmT, context: TargetContext, pool_of: PoolOf) -> StepId:
        """Adds all steps that lead to its curated pool and gives the last."""

    def counts_upstream(self, arm: ArmT) -> bool:
        """Whether its pool holds the upstream's images of each class, so that it says how many there are."""
        return False

    def parts(self, arm: ArmT) -> tuple[Name, ...]:
        """The arms whose images its pool holds side by side, in the order of the pool's column `part`."""
        return ()

    def origin(self, arm: ArmT) -> Name | None:
        """The arm whose images decide which of its own a seed draws; None: its own do."""
        return None

    def mixing(self, arm: ArmT) -> Mixing | None:
        """How a training set is taken from a pool of several parts; None takes the pool as one."""
        return None


class CuratedPlanner(ArmPlanner[ArmT]):
    """Of a kind whose images are chosen from candidates of its own."""

    synthetic: ClassVar[bool] = False
    """Whether its images are compared with the upstream where the rules ask for that; a real one may be of it."""

    @abstractmethod
    def plan_candidates(self, arm: ArmT, context: TargetContext, role: str, pool_of: PoolOf) -> list[PlannedImages]:
        """Adds the steps that yield candidates; their order is part of the curation's identity."""

    def plan_pool(self, arm: ArmT, context: TargetContext, pool_of: PoolOf) -> StepId:
        role = f"{context.target.name}/{arm.name}"
        candidates = self.plan_candidates(arm, context, role, pool_of)
        rules = self.curation_rules(context.resolved.spec.curation)
        return plan_curation(candidates, rules, context, role, synthetic=self.synthetic)

    def images_compared(self, arm: ArmT, resolved: ResolvedExperiment) -> Iterator[tuple[str, str]]:
        rules = self.curation_rules(resolved.spec.curation)
        if self.synthetic and rules.needs_upstream:
            for field in ("novelty_cosine", "memorisation_cosine"):
                if getattr(rules, field) is not None:
                    yield f"/curation/{field}", f"leave {field} out, which compares synthetic images with them"

    def curation_rules(self, rules: Curation) -> Curation:
        """Those of the experiment's rules that apply."""
        return rules


class ByClassPlanner(CuratedPlanner[ArmT]):
    """Of a kind whose candidates are limited class by class."""

    @abstractmethod
    def most_per_class(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        """Upper bound of the candidates of a class."""

    def most_candidates(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        return len(target.classes) * self.most_per_class(arm, target, resolved)

    def most_images(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        kept = most_kept(self.most_per_class(arm, target, resolved), resolved.spec.curation)
        return len(target.classes) * kept

    def most_left(self, arm: ArmT, target: Target, resolved: ResolvedExperiment) -> int:
        candidates = self.most_candidates(arm, target, resolved)
        together = most_kept_together(candidates, len(target.classes), resolved.spec.curation)
        return min(together, most_images(arm, target, resolved))


def pointer_to(arm: ArmSpec, resolved: ResolvedExperiment) -> str:
    """JSON pointer to the arm."""
    return f"/arms/{resolved.spec.arms.index(arm)}"


def more_than_memory_holds(sampler: AskedSampler, image_size: int, pointer: str) -> Iterator[FieldError]:
    """An error where one batch has more pixels than a generator has memory for; `pointer`: JSON pointer to the arm."""
    most = MOST_PIXELS // image_size**2
    if sampler.batch_size > most:
        detail = f"a batch has at most {most} images of {image_size} pixels a side ({MOST_PIXELS:,} pixels together)"
        yield FieldError(pointer=f"{pointer}/sampler/batch_size", detail=detail)


def larger_than_sampled(stored_size: int | None, image_size: int, pointer: str) -> Iterator[FieldError]:
    """An error where images would be stored larger than they are sampled; `pointer`: JSON pointer to the arm."""
    if stored_size is not None and stored_size > image_size:
        detail = f"images are sampled at {image_size} pixels: store at most so many, or sample larger ones"
        yield FieldError(pointer=f"{pointer}/stored_size", detail=detail)


PLANNERS: dict[type[ArmSpec], ArmPlanner[Any]] = {}


def register_planner(planner: ArmPlanner[Any]) -> None:
    """Raises ValueError when that kind of arm has a planner."""
    if PLANNERS.setdefault(planner.spec, planner) is not planner:
        raise ValueError(f"arms of type {planner.spec.__name__} have a planner")


def forget_planner(planner: ArmPlanner[Any]) -> None:
    """For tests, which leave the world as they found it."""
    PLANNERS.pop(planner.spec, None)


def planner_of(arm: ArmSpec) -> ArmPlanner[Any]:
    """Raises KeyError for a kind that a spec may name and nobody plans."""
    return PLANNERS[type(arm)]


def most_images(arm: ArmSpec, target: Target, resolved: ResolvedExperiment) -> int:
    """Upper bound of an arm's curated images, asked of its planner once: arms are made from arms, which are made from
    others. What curation really leaves is known only after it ran."""
    cell = (target.name, arm.name)
    if cell not in resolved.most_images:
        resolved.most_images[cell] = planner_of(arm).most_images(arm, target, resolved)
    return resolved.most_images[cell]


def unplanned() -> list[str]:
    """Kinds that a spec may name and nobody plans: there must be none."""
    return [model.__name__ for model in ARMS if model not in PLANNERS]
