"""The name of a special token in a caption, query, class name or prompt is text: it ends nothing."""

from pathlib import Path

import open_clip
import pytest
import torch
from support.tiny_language_model import tiny_writer
from support.tiny_models import tiny_encoder
from support.workspace import ROOT
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.loading import load_encoder
from touchstone_encoders.special_tokens import read_as_text
from touchstone_generator.pipelines import load_generator
from touchstone_generator.prompts.language_model import load_causal_model
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library

CPU = torch.device("cpu")
SPECIAL = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<start_of_text>",
    "<end_of_text>",
    "<END_OF_TEXT>",
    "&lt;end_of_text&gt;",
]
MINI_CLIP = ROOT / "miniverse/models/mini-clip"


@pytest.mark.parametrize("special", SPECIAL)
def test_it_ends_no_text_of_an_encoder_with_the_tokenizer_of_clip(tmp_path: Path, special: str) -> None:
    encoder = load_encoder(ModelRef.of(tiny_encoder(tmp_path)), Library(tmp_path), CPU)
    start, end = open_clip.get_tokenizer("ViT-B-32").all_special_ids
    plain, told = encoder.tokenize(["a cat b"])[0].tolist(), encoder.tokenize([f"a {special} b"])[0].tolist()
    assert [told.count(start), told.count(end)] == [1, 1]
    assert told.index(end) > plain.index(end)
    assert told[told.index(end) - 1] == plain[plain.index(end) - 1]


@pytest.mark.parametrize("special", SPECIAL)
def test_it_ends_no_text_of_an_encoder_with_a_tokenizer_of_its_own(special: str) -> None:
    given = {"trust_remote_code": False, "local_files_only": True}
    tokenize = open_clip.get_tokenizer(f"local-dir:{MINI_CLIP}", **given)
    before = tokenize(["a cat"]).tolist()
    read_as_text(tokenize)
    end = tokenize.tokenizer.eos_token_id
    words = tokenize([f"a {special} b"])[0].tolist()
    until = words.index(end)
    assert words[0] not in words[1:]
    # Behind the first end there is padding alone, by the same token.
    assert until > 4
    assert set(words[until:]) == {end}
    assert tokenize(["a cat"]).tolist() == before


@pytest.mark.parametrize("special", SPECIAL[:2])
def test_it_ends_no_prompt_of_a_generator(special: str) -> None:
    folder = ROOT / "miniverse/models/mini-diffusion"
    ref = ModelRef(model="library:models/mini-diffusion", digest=folder_digest(folder))
    tokenizer = load_generator(ref, Library(ROOT / "miniverse"), CPU).pipeline.tokenizer
    words = tokenizer(f"a {special} b").input_ids
    assert [words.count(tokenizer.bos_token_id), words.index(tokenizer.eos_token_id)] == [1, len(words) - 1]


def test_it_ends_no_prompt_of_a_language_model(tmp_path: Path) -> None:
    _, tokenizer = load_causal_model(tiny_writer(tmp_path), Library(tmp_path), CPU)
    assert tokenizer.eos_token == "<end>"
    assert tokenizer.eos_token_id not in tokenizer("a <end> b").input_ids
