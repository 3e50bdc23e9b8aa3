"""The steps that make prompts beside templates, with a tiny language model from disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.generator_worker import GeneratorWorker, PoolImage
from support.tiny_language_model import tiny_writer
from touchstone_contracts.arms.prompts import LanguageModel, TransformersWriter
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import COLLECT_CAPTIONS, WRITE_CAPTIONS, CollectCaptions, WriteCaptions
from touchstone_generator.prompts.captions import Ask
from touchstone_generator.prompts.language_model import CausalWriter, load_causal_model
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library

# A name of one letter, so that noise names it now and then.
CLASSES = (ClassLabel(id=0, display_name="q"), ClassLabel(id=1, display_name="barn owl"))
TEMPLATES = ("a photo of a {name}",)


@pytest.fixture(scope="module")
def writer(library: Path) -> TransformersWriter:
    return tiny_writer(library, max_new_tokens=12, batch_size=4)


def request(writer: Any = None, **changes: Any) -> WriteCaptions:
    captions = LanguageModel(attempts=2) if writer is None else LanguageModel(writer=writer, attempts=2)
    fields = {"classes": CLASSES, "templates": TEMPLATES, "images_per_class": 5, "captions": captions, "seed": 3}
    return WriteCaptions.model_validate(fields | changes)


def test_a_language_model_that_names_no_class_is_replaced_by_templates_and_counted(
    worker: GeneratorWorker, writer: TransformersWriter
) -> None:
    _, written = worker.run(WRITE_CAPTIONS, request(writer))
    table = worker.artifacts.get_table(written.prompts).to_pylist()

    assert written.count == len(table) == 10
    owls = [row for row in table if row["class_id"] == 1]
    assert {(row["prompt"], row["mode"], row["writer"]) for row in owls} == {
        ("a photo of a barn owl", "template", "template")
    }
    assert [row["index"] for row in owls] == list(range(5))
    assert written.notes["template_instead"] >= 5
    assert written.notes["rewritten"] >= 5


def test_the_same_request_writes_the_same_captions(worker: GeneratorWorker, writer: TransformersWriter) -> None:
    (first, once), (again, twice) = (worker.run(WRITE_CAPTIONS, request(writer)) for _ in range(2))
    assert (first, once) == (again, twice)
    _, grammar = worker.run(WRITE_CAPTIONS, request())
    assert grammar.prompts != once.prompts
    assert grammar.notes == {"rewritten": 0, "template_instead": 0}


def test_a_continuation_follows_its_seed_and_not_its_batch(library: Path, writer: TransformersWriter) -> None:
    model, tokenizer = load_causal_model(writer, Library(library), torch.device("cpu"))
    asks = [Ask(CLASSES[0], "class_only", "", seed) for seed in (1, 2, 3, 4, 1)]
    together = CausalWriter(model, tokenizer, writer)(asks)
    alone = [CausalWriter(model, tokenizer, writer)([ask])[0] for ask in asks]

    assert together == alone
    assert together[0] == together[4]
    assert len(set(together)) == 4
    assert not any("\n" in caption for caption in together)


def test_another_model_than_the_registered_is_refused(worker: GeneratorWorker, writer: TransformersWriter) -> None:
    with pytest.raises(Invalid) as refused:
        worker.run(WRITE_CAPTIONS, request(writer.model_copy(update={"digest": "0" * 64})))
    assert refused.value.code == "digest_mismatch"


def test_a_language_model_in_pickles_is_refused(worker: GeneratorWorker, library: Path) -> None:
    tiny_writer(library, "pickled")
    folder = library / "models" / "pickled"
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    pickled = TransformersWriter(model="library:models/pickled", digest=folder_digest(folder))
    with pytest.raises(Invalid) as refused:
        worker.run(WRITE_CAPTIONS, request(pickled))
    assert refused.value.code == "pickled_weights"


def test_captions_of_kept_images_become_prompts_and_those_of_dropped_ones_do_not(worker: GeneratorWorker) -> None:
    pool = worker.pool(
        [
            PoolImage(b"one", 0, "a letter q"),
            PoolImage(b"two", 0, "no letter", kept=False),
            PoolImage(b"three", 1, ""),
        ]
    )
    asked = CollectCaptions(pool=pool, classes=CLASSES, templates=TEMPLATES, images_per_class=2, seed=0)
    _, collected = worker.run(COLLECT_CAPTIONS, asked)
    rows = worker.artifacts.get_table(collected.prompts).to_pylist()

    assert [row["prompt"] for row in rows] == ["a letter q"] * 2 + ["a photo of a barn owl"] * 2
    assert [row["index"] for row in rows] == [0, 1, 0, 1]
    assert len({row["caption_of"] for row in rows}) == 2
    assert collected.notes == {"template_instead": 2, "repeated": 2}
