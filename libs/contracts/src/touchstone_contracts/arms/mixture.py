"""Images of several arms in one training set (paper section 4.5)."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.values import Fraction, Name, Size, Strict, WhenSet, is_empty


class Share(Strict):
    """A part of the experiment's size: 0.3 is 30 % of it."""

    kind: Literal["share"] = "share"
    share: Fraction


class Count(Strict):
    """So many images at every size."""

    kind: Literal["count"] = "count"
    images: Size


Amount = Annotated[Share | Count, Field(discriminator="kind")]


LossWeight = Annotated[float, Field(gt=0, le=1000)]


class Mixing(Strict):
    """How many images each part gives at a size.

    `fixed_total`: together exactly the size; counts come first, shares divide the rest and sum to 1.
    `additive`: each part its count or its share of the size, so that the training set is larger or smaller than the
    size when the shares do not sum to 1."""

    mode: Literal["fixed_total", "additive"]
    amounts: tuple[Amount, ...] = Field(min_length=2, max_length=10)
    loss_weights: Annotated[tuple[LossWeight, ...], WhenSet] = Field(default=(), max_length=10, exclude_if=is_empty)
    """Of each part, where they differ."""

    @model_validator(mode="after")
    def _shares_divide_a_fixed_total(self) -> Self:
        total = sum(amount.share for amount in self.amounts if isinstance(amount, Share))
        if self.mode == "fixed_total" and abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of a fixed total must sum to 1, they sum to {total:g}")
        return self

    def quotas(self, size: int) -> tuple[int, ...]:
        """Images of each part at `size`. No quota shrinks as the size grows, so training sets stay nested."""
        shares = [amount.share for amount in self.amounts if isinstance(amount, Share)]
        if self.mode == "additive":
            of_size = [int(share * size + 0.5) for share in shares]
        else:
            counted = sum(amount.images for amount in self.amounts if isinstance(amount, Count))
            of_size = apportioned(max(0, size - counted), shares)
        of_share = iter(of_size)
        return tuple(amount.images if isinstance(amount, Count) else next(of_share) for amount in self.amounts)

    @property
    def smallest_size(self) -> int:
        """Below it the counts of a fixed total leave no image for the shares."""
        counted = sum(amount.images for amount in self.amounts if isinstance(amount, Count))
        return counted + 1 if self.mode == "fixed_total" else 1

    def largest_size(self, available: Sequence[int], limit: int) -> int:
        """The largest size up to `limit` at which no part is asked for more images than are `available` of it."""

        def is_short(size: int) -> bool:
            return any(asked > have for asked, have in zip(self.quotas(size), available, strict=True))

        return bisect_right(range(1, limit + 1), False, key=is_short)


def apportioned(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to `shares`, by Sainte-Lague's rule: none shrinks as the total
    grows, which plain rounding of each share does not promise."""
    # The rule's numbers never fall further below share x total than there are parts.
    parts = [max(0, int(share * total) - len(shares)) for share in shares]
    while sum(parts) < total:
        parts[min(range(len(shares)), key=lambda i: (parts[i] + 0.5) / shares[i])] += 1
    return parts


class Part(Strict):
    arm: Name
    """Another arm of the experiment, curated by itself before it is mixed."""
    amount: Amount
    loss_weight: Annotated[LossWeight, WhenSet] = 1.0
    """How much an image of this part counts in the training loss, relative to those of the other parts; over a training
    set the weights are scaled to a mean of 1, so that a learning rate means the same."""


class Mixture(ArmSpec):
    """Parts are drawn from the curated pools of other arms, the best or the shuffled order as for the arm alone.

    A part that cannot give its amount exhausts the mixture at that size; nothing else is taken instead."""

    kind: Literal["mixture"] = "mixture"
    name: Name
    mode: Literal["fixed_total", "additive"] = "fixed_total"
    parts: tuple[Part, ...] = Field(min_length=2, max_length=10)

    @model_validator(mode="after")
    def _parts_are_distinct_and_add_up(self) -> Self:
        names = [part.arm for part in self.parts]
        if len(set(names)) != len(names) or self.name in names:
            raise ValueError("the parts of a mixture must be different arms, and not itself")
        assert self.mixing  # its own check
        return self

    @property
    def mixing(self) -> Mixing:
        weights = tuple(part.loss_weight for part in self.parts)
        return Mixing(
            mode=self.mode,
            amounts=tuple(part.amount for part in self.parts),
            loss_weights=weights if len(set(weights)) > 1 else (),
        )
