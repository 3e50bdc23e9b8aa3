"""What a generator's family decides before anything runs: defaults, and what is refused when posted."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from touchstone_contracts.arms.generation import AskedSampler, Generation, Sampler
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.catalogue import Catalogue, Generator
from touchstone_contracts.families import FAMILIES, GeneratorFamily
from touchstone_contracts.identity import identity
from touchstone_contracts.steps import ModelRef
from touchstone_planning.families import sampler_for, told_classes, unfit_generation, unfit_perturbation

ROOT = Path(__file__).parents[2]
FACTS = {"name": "g", "model": "library:models/g", "digest": "0" * 64}


def generator(family: GeneratorFamily | None = None, **facts: Any) -> Generator:
    return Generator.model_validate(FACTS | ({"family": family} if family else {}) | facts)


def generation(**settings: Any) -> Generation:
    return Generation.model_validate({"name": "a", "generator": "g", "images": 10} | settings)


def perturbation(**settings: Any) -> Perturbation:
    return Perturbation.model_validate({"name": "p", "parent": "a", "generator": "g", "gamma": 0.5} | settings)


def refused(arm: Generation | Perturbation, of: Generator) -> list[tuple[str, str]]:
    unfit = (
        unfit_generation(arm, of, "/arms/1") if isinstance(arm, Generation) else unfit_perturbation(arm, of, "/arms/1")
    )
    return [(error.pointer, error.detail) for error in unfit]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_own_scheduler_brings_the_steps_guidance_and_size_of_the_family(family: GeneratorFamily) -> None:
    asked, known, found = AskedSampler(scheduler="own"), FAMILIES[family], generator(family)

    assert (asked.steps, asked.guidance_scale) == (None, None)
    assert sampler_for(asked, found) == Sampler(scheduler="own", steps=known.steps, guidance_scale=known.guidance_scale)
    assert found.image_size == known.image_size
    assert refused(generation(sampler={"scheduler": "own"}), found) == []


def test_numbers_that_a_spec_says_are_kept() -> None:
    asked = AskedSampler(scheduler="own", steps=7)
    assert sampler_for(asked, generator("flux")) == Sampler(scheduler="own", steps=7, guidance_scale=3.5)
    assert generator("flux", image_size=512).image_size == 512
    assert AskedSampler.model_validate(asked.model_dump()) == asked
    assert "guidance_scale" not in asked.model_dump()
    with pytest.raises(ValidationError, match="numbers beside every scheduler but `own`"):
        AskedSampler(steps=None)


def test_without_a_family_and_without_own_nothing_has_changed() -> None:
    assert generator().image_size == 512
    assert "family" not in generator().model_dump()
    assert "family" not in ModelRef.of(generator()).model_dump()
    assert identity(AskedSampler()) == identity(Sampler())
    assert Sampler() == Sampler(scheduler="ddim", steps=50, guidance_scale=2.0, negative_prompt="", batch_size=16)


def test_what_is_left_to_a_family_that_is_not_known_is_refused() -> None:
    ((pointer, detail),) = refused(generation(sampler={"scheduler": "own"}), generator())
    assert pointer == "/arms/1/sampler"
    assert detail == "steps and guidance_scale: say a number, or register the generator with its family"


def test_an_unknown_family_is_refused_at_registration() -> None:
    with pytest.raises(ValidationError) as found:
        generator("kandinsky")  # type: ignore[arg-type]
    assert [error["loc"] for error in found.value.errors()] == [("family",)]


@pytest.mark.parametrize("family", sorted(name for name, known in FAMILIES.items() if not known.perturbs))
def test_a_perturbation_is_refused_before_it_runs_where_the_family_has_none(family: GeneratorFamily) -> None:
    own = {"scheduler": "own"}
    ((pointer, detail),) = refused(perturbation(sampler=own), generator(family))
    assert pointer == "/arms/1/generator"
    assert f"is of the family {family}, which has no image to image; these have: stable_diffusion," in detail
    assert refused(perturbation(sampler=own, gamma=0), generator(family)) == []  # nothing is asked of the generator


def test_a_gamma_that_reaches_no_step_of_the_familys_own_number_is_refused() -> None:
    arm = perturbation(sampler={"scheduler": "own"}, gamma=0.2)
    ((pointer, detail),) = refused(arm, generator("latent_consistency"))
    assert (pointer, detail) == ("/arms/1/gamma", "gamma 0.2 of 4 steps is no step; use more steps or 0")
    assert refused(arm, generator("flux")) == []


@pytest.mark.parametrize("family", ["stable_diffusion_3", "flux", "sana", "latent_consistency"])
def test_the_usual_sampler_is_refused_where_the_family_has_another_noise(family: GeneratorFamily) -> None:
    ((pointer, detail),) = refused(generation(), generator(family))
    assert pointer == "/arms/1/sampler/scheduler"
    assert detail.endswith("cannot sample with ddim; it can with: own")


@pytest.mark.parametrize("family", ["flux", "latent_consistency", "dit"])
def test_a_negative_prompt_is_refused_where_the_family_has_none(family: GeneratorFamily) -> None:
    sampler = {"scheduler": "own", "negative_prompt": "blurred"}
    ((pointer, _),) = refused(generation(sampler=sampler), generator(family))
    assert pointer == "/arms/1/sampler/negative_prompt"


def test_tuning_and_captions_are_refused_where_the_family_has_no_use_for_them() -> None:
    tuned = generation(sampler={"scheduler": "own"}, tune={"images": {"kind": "target_train"}})
    assert [pointer for pointer, _ in refused(tuned, generator("stable_diffusion_xl"))] == ["/arms/1/tune"]
    assert refused(tuned, generator("stable_diffusion")) == []
    captions = generation(sampler={"scheduler": "own"}, prompts={"kind": "language_model"})
    assert [pointer for pointer, _ in refused(captions, generator("dit"))] == ["/arms/1/prompts"]


def test_only_a_class_conditional_generator_is_told_classes() -> None:
    assert [family for family in FAMILIES if told_classes(generator(family))] == ["dit"]
    assert not told_classes(generator())


def test_a_wrong_combination_says_everything_that_is_wrong() -> None:
    arm = perturbation(sampler={"negative_prompt": "blurred"})
    assert [pointer for pointer, _ in refused(arm, generator("dit"))] == [
        "/arms/1/sampler/negative_prompt",
        "/arms/1/generator",
    ]


def test_the_public_pairs_can_be_registered() -> None:
    document = yaml.safe_load((ROOT / "studies" / "public-pairs" / "catalogue.yaml").read_text())
    pairs = Catalogue.model_validate(document).generators
    assert {pair.name: (pair.family, pair.image_size) for pair in pairs} == {
        "dit-xl-2-256": ("dit", 256),
        "commoncanvas-s-nc": ("stable_diffusion", 512),
    }
    guide = (ROOT / "docs" / "guides" / "public-pairs.md").read_text()
    assert [pair.name for pair in pairs if pair.model.partition("@")[2] not in guide] == []
