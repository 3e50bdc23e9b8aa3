"""The data card of an exported training set: README.md, with the front matter of Hugging Face's hub."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml
from touchstone_contracts.catalogue import Generator
from touchstone_contracts.image_sets import COLUMNS
from touchstone_contracts.views import ExperimentManifest, TrainingSetView

from touchstone.exports.layouts import LayoutName
from touchstone.version import VERSION

HUB_LICENCES = (
    "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odc-by", "odbl", "pddl", "openrail",
    "unlicense", "unknown",
)  # fmt: skip
"""Names that the hub knows; another licence is `other` there, with its name."""
HUB_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
NOT_STATED = "not stated when it was registered"
KIND_WORDS = {
    "upstream": "from the upstream",
    "generated": "made by a generator",
    "perturbed": "made by a generator from another image",
    "target": "from a training split or a data set of the target",
}
COLUMN_WORDS = {
    name: words
    for name, words in COLUMNS.items()
    if name not in ("class_id", "shard", "offset", "length", "kept", "drop_reason", "cluster")
    and not name.startswith("nearest_validation")
} | {
    "id": "sha256 of the encoded image bytes",
    "label": "class id",
    "class_name": "display name of the class",
    "part": "the arm of a mixture whose pool it came from, null outside one",
    "generator": "name of the registered generator that made it, null otherwise",
    "similarity": "cosine at retrieval, null where none",
    "seed": "noise seed of a synthetic image, null otherwise",
    "steps": "steps its noise schedule was cut into, null otherwise",
    "guidance_scale": "its classifier-free guidance, null otherwise",
    "gamma": "share of the schedule a perturbed image went through, null otherwise",
    "score": "cosine to the texts of its own class, of the encoder that scores",
    "nearest_test_cosine": "cosine to it, null where not compared",
    "nearest_upstream_cosine": "cosine to it, null where not compared",
}
LOADING: Mapping[str, str] = {
    "hf-dataset": """from datasets import load_dataset

images = load_dataset("imagefolder", data_dir="{folder}", split="train")""",
    "webdataset": """import webdataset

shards = "{folder}/train-{{000000..{last_shard:06d}}}.tar"
images = webdataset.WebDataset(shards).decode("pil").to_tuple("png;jpg;webp", "cls", "json")""",
    "fiftyone": """import json
import fiftyone

images = fiftyone.Dataset.from_dir(
    dataset_dir="{folder}", dataset_type=fiftyone.types.FiftyOneImageClassificationDataset
)
provenance = {{line["key"]: line for line in map(json.loads, open("{folder}/provenance.jsonl"))}}""",
}


@dataclass(frozen=True)
class Written:
    """What a card is written of."""

    experiment: str
    manifest: ExperimentManifest
    training_set: TrainingSetView
    classes: Sequence[str]
    layout: LayoutName
    folder: str
    """Its name alone: a path would be of the machine that wrote it."""
    shards: int
    images_by_kind: Mapping[str, int]


def data_card(written: Written) -> str:
    front = yaml.safe_dump(front_matter(written), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(_body(written)) + "\n"


def front_matter(written: Written) -> dict[str, object]:
    images = written.training_set.images
    size = next((words for below, words in HUB_SIZES if images < below), "n>1M")
    return {
        **_hub_licence(licence_of(written)),
        "pretty_name": f"{written.manifest.spec.name}: training set of arm {written.training_set.arm}",
        "task_categories": ["image-classification"],
        "size_categories": [size],
        "tags": ["touchstone", *(["synthetic"] if set(written.images_by_kind) & {"generated", "perturbed"} else [])],
    }


def licence_of(written: Written) -> str:
    """As it was registered, where all images have one source with a licence; empty otherwise."""
    kinds, manifest = set(written.images_by_kind), written.manifest
    if kinds == {"upstream"}:
        return manifest.upstream.licence
    arm = next(each for each in manifest.spec.arms if each.name == written.training_set.arm)
    named = getattr(arm, "datasets", ())
    own = [each for each in manifest.datasets if each.target == written.training_set.target and each.name in named]
    return own[0].licence if kinds == {"target"} and len(own) == 1 else ""


def _hub_licence(licence: str) -> dict[str, str]:
    if not licence:
        return {"license": "unknown"}
    if licence.lower() in HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.") or "other"}


def _body(written: Written) -> Iterator[str]:
    held, manifest = written.training_set, written.manifest
    yield f"# {manifest.spec.name}: training set of arm `{held.arm}`"
    yield ""
    yield f"{_what(written)} It is part of an experiment with Touchstone, which compares sources of training images."
    yield ""
    yield "## Load it"
    yield ""
    loading = LOADING[written.layout].format(folder=written.folder, last_shard=written.shards - 1)
    yield f"```python\n{loading}\n```"
    yield ""
    yield "## Where the images come from"
    yield ""
    yield from (f"- {count:,} {KIND_WORDS.get(kind, kind)}" for kind, count in sorted(written.images_by_kind.items()))
    yield ""
    yield "Sources and their licences:"
    yield ""
    yield from _sources(written)
    yield ""
    yield "## Columns"
    yield ""
    yield from _table(("name", "meaning"), ((f"`{name}`", words) for name, words in sorted(COLUMN_WORDS.items())))
    yield ""
    yield "## Classes"
    yield ""
    counts = enumerate(zip(written.classes, held.images_by_class, strict=True))
    yield from _table(("label", "class", "images"), ((str(label), name, f"{n:,}") for label, (name, n) in counts))
    yield ""
    yield "## Evidence"
    yield ""
    yield from _evidence(written)


def _what(written: Written) -> str:
    held, spec = written.training_set, written.manifest.spec
    shown = sum(count > 0 for count in held.images_by_class)
    images = f"{held.images:,} images of {shown} of {len(written.classes)} classes of the target `{held.target}`"
    if held.size is None:
        return f"{images}: all that curation kept of the arm. Training sets of every size are drawn from them."
    asked = spec.recipe.target_images
    what = f"{images}: what the encoder `{spec.encoder}` was trained on at size {held.size} with seed {held.seed}."
    more = f" The recipe also trained on {asked} images of the target itself, which are not here."
    return what + (more if asked else "")


def _sources(written: Written) -> Iterator[str]:
    manifest, kinds = written.manifest, set(written.images_by_kind)
    upstream, target = manifest.upstream, written.training_set.target
    if kinds & {"upstream", "generated", "perturbed"}:
        yield f"- Upstream `{upstream.name}`: {upstream.licence or NOT_STATED}"
    if kinds & {"generated", "perturbed"}:
        yield from (f"- Generator `{each.name}`: {_model(each)}" for each in manifest.generators)
    if "target" in kinds:
        yield from (
            f"- Data set `{each.name}`: {each.licence or NOT_STATED}"
            for each in manifest.datasets
            if each.target == target
        )
        yield f"- Target `{target}`: see its own terms; a target is registered without a licence"


def _model(generator: Generator) -> str:
    digest = f", digest {generator.digest}" if generator.digest else ""
    return f"{generator.model}{digest}, trained on {generator.trained_on or 'an unstated collection'}"


def _evidence(written: Written) -> Iterator[str]:
    held, manifest = written.training_set, written.manifest
    yield f"- Experiment: `{written.experiment}`"
    yield f"- Identity of its spec and registered entries: `{manifest.identity}`"
    yield f"- Digest of its results: `{manifest.results_digest}`" + ("" if manifest.complete else " (incomplete)")
    yield f"- Digest of the images and labels in their order: `{held.digest}`"
    if held.trained_on is not None:
        same = "the same" if held.trained_on == held.digest else f"another, `{held.trained_on}`: images have gone since"
        yield f"- Digest that the run recorded of what it was trained on: {same}"
    yield f"- Written by touchstone-lab {VERSION} with `{command_of(written)}`"


def command_of(written: Written) -> str:
    """What makes the same folder again."""
    held = written.training_set
    asked = ["touchstone", "export", written.experiment, "--arm", held.arm, "--target", held.target]
    if held.size is not None:
        asked += ["--size", str(held.size), "--seed", str(held.seed)]
    return shlex.join([*asked, "--to", written.layout, written.folder])


def _table(headings: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
