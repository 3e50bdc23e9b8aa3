"""Every family of generators through the code of the worker, from tiny pipelines on disk."""

import inspect
import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from support.tiny_families import LABELS, TINY, family_generator
from touchstone_contracts.arms.generation import AskedSampler, Sampler
from touchstone_contracts.families import FAMILIES, GeneratorFamily, pipelines
from touchstone_contracts.problems import Cancelled, Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_generator.execution import Execution
from touchstone_generator.pipelines import GeneratorCache, LoadedGenerator, load_generator, require_scheduler
from touchstone_generator.sampling.conditions import ClassLabels, count_truncated
from touchstone_generator.sampling.img2img import ImageToImage, Sketch
from touchstone_generator.sampling.pixels import NonFinite
from touchstone_generator.sampling.randomness import no_shared_randomness
from touchstone_generator.sampling.schedulers import build_scheduler
from touchstone_generator.sampling.txt2img import Draft, TextToImage
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
STEPS = 3
EVERY = sorted(FAMILIES)
PERTURBING = sorted(name for name, family in FAMILIES.items() if family.perturbs)
STILL = sorted(name for name, family in FAMILIES.items() if not family.perturbs)
NAMES = ("goldfish", "tench", "thing 5")
READ = {
    # Letters that a prompt may have, a token each; T5 ends with a mark, CLIP and Gemma begin with one, CLIP does both.
    "stable_diffusion": 22,
    "stable_diffusion_xl": 22,
    "latent_consistency": 22,
    "stable_diffusion_3": 255,
    "flux": 511,
    "flux_schnell": 255,
    "pixart_alpha": 119,
    "pixart_sigma": 299,
    "sana": 298,
}


class Workbench:
    """Writes and loads each family once."""

    def __init__(self, library: Path) -> None:
        self.library, self.cache = library, GeneratorCache(Library(library), CPU)
        self.refs: dict[GeneratorFamily, ModelRef] = {}

    def loaded(self, family: GeneratorFamily, scheduler: str = "own") -> LoadedGenerator:
        if family not in self.refs:
            self.refs[family] = ModelRef.of(family_generator(self.library, family))
        found = self.cache.get(self.refs[family])
        found.pipeline.scheduler = build_scheduler(scheduler, found.scheduler_config, found.own_scheduler)
        return found

    def images(
        self, family: GeneratorFamily, drafts: list[Draft], slot: int = 0, sampler: Sampler | None = None
    ) -> np.ndarray:
        sampler = sampler or sampler_of(family)
        pipeline = self.loaded(family, sampler.scheduler).pipeline
        return TextToImage(pipeline, sampler, TINY[family].image_size).draw(drafts, slot, ignore)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("library"))


def sampler_of(family: GeneratorFamily, **settings: object) -> Sampler:
    return AskedSampler.model_validate({"scheduler": "own", "steps": STEPS, "batch_size": 3} | settings).of_family(
        family
    )


def ignore(step: int, steps: int) -> None:
    pass


def drafts(*seeds: int) -> list[Draft]:
    return [Draft(NAMES[number % 3], seed) for number, seed in enumerate(seeds)]


def test_every_family_has_a_tiny_pipeline() -> None:
    assert sorted(TINY) == EVERY
    assert len(EVERY) == 12


@pytest.mark.parametrize("family", EVERY)
def test_a_family_makes_images_that_follow_from_their_prompt_and_seed_alone(
    bench: Workbench, family: GeneratorFamily
) -> None:
    size = TINY[family].image_size
    together = bench.images(family, drafts(1, 2, 3))
    alone = bench.images(family, drafts(9, 2)[1:], slot=1)
    others = bench.images(family, [Draft(NAMES[0], 4), Draft(NAMES[0], 2), Draft(NAMES[2], 3)])

    assert together.shape == (3, size, size, 3)
    assert together.std(axis=(1, 2, 3)).min() > 5  # pictures, not one grey
    assert np.array_equal(alone[0], together[1])  # whatever fills the other slots
    assert np.array_equal(others[2], together[2])
    assert not np.array_equal(others[0], together[0])  # another seed
    assert not np.array_equal(others[1], together[1])  # another prompt


@pytest.mark.parametrize("family", PERTURBING)
def test_a_family_with_image_to_image_perturbs_the_more_the_larger_gamma_is(
    bench: Workbench, family: GeneratorFamily
) -> None:
    size = TINY[family].image_size
    parents = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    sketches = [Sketch(pixels, name, seed) for seed, (pixels, name) in enumerate(zip(parents, NAMES, strict=True))]

    def perturbed(chosen: list[Sketch], slot: int, gamma: float) -> np.ndarray:
        pipeline = bench.loaded(family).pipeline
        return ImageToImage(pipeline, sampler_of(family), size, gamma).draw(chosen, slot, ignore)

    whole, alone = perturbed(sketches, 0, 0.34), perturbed(sketches[2:], 2, 0.34)

    assert whole.shape == parents.shape
    assert np.array_equal(alone[0], whole[2])
    assert not np.array_equal(perturbed(sketches, 0, 1.0), whole)


@pytest.mark.parametrize("family", STILL)
def test_a_family_without_image_to_image_says_so(bench: Workbench, family: GeneratorFamily) -> None:
    with pytest.raises(Invalid, match="has no image to image; perturb with a Flux") as refused:
        ImageToImage(bench.loaded(family).pipeline, sampler_of(family), 32, 0.5)
    assert refused.value.code == "perturbation_unsupported"


@pytest.mark.parametrize("family", sorted(READ))
def test_prompts_too_long_are_counted_by_the_length_of_the_familys_own_encoder(
    bench: Workbench, family: GeneratorFamily
) -> None:
    pipeline, fits = bench.loaded(family).pipeline, "a" * READ[family]

    assert count_truncated(pipeline, [fits]) == 0
    assert count_truncated(pipeline, [fits, fits + "a", fits + "a"]) == 2


@pytest.mark.parametrize("family", ["pixart_alpha", "sana", "flux_schnell"])
def test_a_family_reads_no_letter_beyond_that_length_and_the_last_one_within_it(
    bench: Workbench, family: GeneratorFamily
) -> None:
    fits = "a" * READ[family]
    first, beyond, within = (bench.images(family, [Draft(prompt, 1)]) for prompt in (fits, fits + "b", fits[:-1] + "b"))
    assert np.array_equal(first, beyond)
    assert not np.array_equal(first, within)


@pytest.mark.parametrize("family", sorted(name for name, found in FAMILIES.items() if found.negative_prompts))
def test_a_negative_prompt_changes_the_picture_where_the_family_has_one(
    bench: Workbench, family: GeneratorFamily
) -> None:
    guided = {"guidance_scale": 4.0}
    plain = bench.images(family, drafts(1), sampler=sampler_of(family, **guided))
    negated = bench.images(family, drafts(1), sampler=sampler_of(family, negative_prompt="tench", **guided))
    assert not np.array_equal(plain, negated)


@pytest.mark.parametrize("family", ["latent_consistency", "flux", "flux_schnell"])
def test_a_negative_prompt_is_refused_where_the_family_has_none(bench: Workbench, family: GeneratorFamily) -> None:
    with pytest.raises(Invalid, match="has no negative prompts") as refused:
        bench.images(family, drafts(1), sampler=sampler_of(family, negative_prompt="tench"))
    assert refused.value.code == "negative_prompt_unsupported"


@pytest.mark.parametrize("family", EVERY)
def test_steps_are_told_one_after_the_other_and_can_stop_the_work(bench: Workbench, family: GeneratorFamily) -> None:
    told: list[tuple[int, int]] = []
    sampler, size = sampler_of(family), TINY[family].image_size

    def stop(step: int, steps: int) -> None:
        told.append((step, steps))
        if step == 2:
            raise Cancelled("unwanted")

    with pytest.raises(Cancelled):
        TextToImage(bench.loaded(family).pipeline, sampler, size).draw(drafts(1), 0, stop)
    assert told == [(1, STEPS), (2, STEPS)]
    assert bench.images(family, drafts(1)).shape == (1, size, size, 3)  # the pipeline is still usable


@pytest.mark.parametrize("family", ["dit", "pixart_alpha", "flux"])
def test_values_that_are_not_finite_are_an_error_in_any_family(tmp_path: Path, family: GeneratorFamily) -> None:
    own = Workbench(tmp_path)
    network = own.loaded(family).pipeline.transformer
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    with pytest.raises(NonFinite):
        own.images(family, drafts(1))


@pytest.mark.parametrize(
    ("family", "size"), [("stable_diffusion_3", 34), ("flux", 34), ("pixart_sigma", 34), ("dit", 64), ("sana", 0)]
)
def test_a_size_that_the_family_cannot_make_is_refused(bench: Workbench, family: GeneratorFamily, size: int) -> None:
    with pytest.raises(Invalid) as refused:
        TextToImage(bench.loaded(family).pipeline, sampler_of(family), size)
    assert refused.value.code == "image_size"


@pytest.mark.parametrize("family", sorted(set(EVERY) - {"dit"}))
def test_a_family_makes_other_sizes_than_its_own(bench: Workbench, family: GeneratorFamily) -> None:
    pipeline = bench.loaded(family).pipeline
    sampler = sampler_of(family, steps=2, batch_size=1)
    assert TextToImage(pipeline, sampler, 64).draw(drafts(1), 0, ignore).shape == (1, 64, 64, 3)


def test_a_single_step_is_refused_where_the_pipeline_cannot_take_one(bench: Workbench) -> None:
    with pytest.raises(Invalid, match="at least 2 steps"):
        bench.images("pixart_alpha", drafts(1), sampler=sampler_of("pixart_alpha", steps=1))
    assert bench.images("pixart_sigma", drafts(1), sampler=sampler_of("pixart_sigma", steps=1)).shape[0] == 1


def test_a_class_is_found_by_name_by_whole_label_and_by_number(bench: Workbench) -> None:
    labels = ClassLabels(bench.loaded("dit").pipeline)
    asked = ["tench", "Tinca  TINCA", "tench, Tinca tinca", "1", "goldfish", "517"]
    assert labels.of(asked) == {"class_labels": [0, 0, 0, 1, 1, 517]}


def test_names_that_the_table_of_labels_does_not_have_are_refused_all_at_once(bench: Workbench) -> None:
    with pytest.raises(Invalid, match=r'"a photo of a tench" or "unicorn"; register .* synthesis_name') as refused:
        bench.images("dit", [Draft(name, 1) for name in ("unicorn", "goldfish", "a photo of a tench")])
    assert refused.value.code == "unknown_label"


def test_a_name_that_several_labels_share_is_refused(bench: Workbench) -> None:
    assert [number for number, label in LABELS.items() if label == "crane"] == [134, 517]
    with pytest.raises(Invalid, match='several classes named "crane"') as refused:
        bench.images("dit", [Draft("crane", 1)])
    assert refused.value.code == "ambiguous_label"


def test_a_table_without_labels_knows_numbers_of_no_class(tmp_path: Path) -> None:
    family_generator(tmp_path, "dit")
    folder = tmp_path / "models" / "dit"
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({k: v for k, v in index.items() if k != "id2label"}))
    ref = ModelRef(model="library:models/dit", digest=folder_digest(folder))
    with pytest.raises(Invalid, match="no class named"):
        ClassLabels(load_generator(ref, Library(tmp_path), CPU).pipeline).of(["goldfish"])


def test_a_generator_registered_as_another_family_is_refused(bench: Workbench) -> None:
    bench.loaded("flux")
    ref = bench.refs["flux"].model_copy(update={"family": "sana"})
    with pytest.raises(Invalid, match="registered as sana, a SanaPipeline, and is a FluxPipeline") as refused:
        load_generator(ref, Library(bench.library), CPU)
    assert refused.value.code == "family_mismatch"


@pytest.mark.parametrize("family", EVERY)
def test_weights_that_are_no_safetensors_are_refused_in_any_family(tmp_path: Path, family: GeneratorFamily) -> None:
    folder = tmp_path / "models" / family
    part = folder / ("transformer" if "transformer" in TINY[family].build().components else "unet")
    part.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": FAMILIES[family].pipeline}))
    (part / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    ref = ModelRef(model=f"library:models/{family}", digest=folder_digest(folder))
    with pytest.raises(Invalid) as refused:
        load_generator(ref, Library(tmp_path), CPU)
    assert refused.value.code == "pickled_weights"


@pytest.mark.parametrize(
    ("family", "scheduler"),
    [("flux", "ddim"), ("stable_diffusion_3", "euler"), ("sana", "unipc"), ("latent_consistency", "pndm")],
)
def test_a_scheduler_of_another_noise_is_refused(bench: Workbench, family: GeneratorFamily, scheduler: str) -> None:
    with pytest.raises(Invalid, match="it can with own") as refused:
        require_scheduler(bench.loaded(family), scheduler)
    assert refused.value.code == "scheduler_unsuitable"


@pytest.mark.parametrize("scheduler", ["ddim", "dpm_solver"])
def test_a_class_conditional_generator_samples_with_named_schedulers(bench: Workbench, scheduler: str) -> None:
    sampler = sampler_of("dit").model_copy(update={"scheduler": scheduler})
    together = bench.images("dit", drafts(1, 2, 3), sampler=sampler)
    assert np.array_equal(bench.images("dit", drafts(1, 2)[1:], slot=1, sampler=sampler)[0], together[1])


def test_noise_that_belongs_to_no_image_is_refused() -> None:
    with pytest.raises(Invalid) as refused, no_shared_randomness(CPU):
        torch.randn(1)
    assert refused.value.code == "scheduler_unsuitable"


@pytest.mark.parametrize(
    "family", sorted(set(EVERY) - {name for name in EVERY if "turbo" in name or "schnell" in name})
)
def test_the_defaults_of_a_family_are_those_of_its_pipeline_in_diffusers(family: GeneratorFamily) -> None:
    found = FAMILIES[family]
    parameters = inspect.signature(getattr(diffusers, found.pipeline).__call__).parameters
    assert parameters["num_inference_steps"].default == found.steps
    assert parameters["guidance_scale"].default == found.guidance_scale
    assert ("class_labels" in parameters) is not found.prompts


def test_diffusers_has_image_to_image_for_just_the_families_that_perturb() -> None:
    known = diffusers.pipelines.auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING.values()
    able = {kind.__name__.replace("Img2Img", "") for kind in known}
    assert {name for name, family in pipelines().items() if family.perturbs} == able & set(pipelines())
    assert len(pipelines()) == 9


def test_precision_follows_from_the_family_and_the_device_or_from_a_setting() -> None:
    gpu = torch.device("cuda")
    assert Execution().dtype(CPU, "bfloat16") == torch.float32
    assert [Execution().dtype(gpu, FAMILIES[name].half) for name in ("stable_diffusion", "flux")] == [
        torch.float16,
        torch.bfloat16,
    ]
    assert Execution("bfloat16").dtype(CPU, "float16") == torch.bfloat16


@pytest.mark.parametrize("family", ["stable_diffusion", "sana"])
def test_a_pipeline_runs_in_another_precision_by_setting(bench: Workbench, family: GeneratorFamily) -> None:
    bench.loaded(family)
    lower = GeneratorCache(Library(bench.library), CPU, execution=Execution("bfloat16"))
    loaded = lower.get(bench.refs[family])
    loaded.pipeline.scheduler = build_scheduler("own", loaded.scheduler_config, loaded.own_scheduler)
    images = TextToImage(loaded.pipeline, sampler_of(family), 32).draw(drafts(1), 0, ignore)

    assert images.shape == (1, 32, 32, 3)
    assert not np.array_equal(images, bench.images(family, drafts(1)))
    assert loaded.execution.other_arithmetic == "bfloat16"
    assert lower.fresh(bench.refs[family]).pipeline.vae.dtype == torch.float32  # tuning is the same on every worker


def test_sliced_attention_and_compilation_are_set_on_the_network_that_denoises(bench: Workbench) -> None:
    bench.loaded("stable_diffusion")
    execution = Execution(compiled=True, attention_slicing=True, offload="model")
    unet = load_generator(bench.refs["stable_diffusion"], Library(bench.library), CPU, execution).pipeline.unet

    assert unet._compiled_call_impl is not None
    assert {type(block.processor).__name__ for block in unet.modules() if hasattr(block, "set_processor")} == {
        "SlicedAttnProcessor"
    }
    assert execution.other_arithmetic == "compiled, sliced attention"
    assert Execution(offload="sequential").other_arithmetic == ""  # the same images
