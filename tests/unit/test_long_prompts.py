"""Prompts beyond the text encoder's context: counted once, without the library's paragraph about each."""

import logging

import pytest
from diffusers.utils import logging as diffusers_logging
from support.tiny_pipeline import CONTEXT_LENGTH, tiny_pipeline
from touchstone_generator.sampling.conditions import count_truncated
from touchstone_miniverse.evaluation import sample

FITS = "a" * (CONTEXT_LENGTH - 2)  # between a start and an end mark
LONG = FITS + "a"


def test_prompts_that_lose_words_are_counted_as_often_as_they_are_asked() -> None:
    assert count_truncated(tiny_pipeline(), [FITS, LONG, FITS, LONG, LONG]) == 3
    assert count_truncated(tiny_pipeline(), []) == 0


def test_the_report_draws_a_long_prompt_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    before = diffusers_logging.get_verbosity()
    diffusers_logging.enable_propagation()
    pipeline = tiny_pipeline()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        images = sample(pipeline, [LONG, FITS], steps=1)

    assert len(images) == 2
    assert not [record for record in caplog.records if "truncated" in record.message]
    assert diffusers_logging.get_verbosity() == before
