"""Captions by mode, what replaces one that does not name its class, and captions of real images."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from touchstone_contracts.arms.prompts import LanguageModel, ModeShares
from touchstone_contracts.catalogue import ClassLabel
from touchstone_generator.prompts.captions import Ask, Caption, write_captions
from touchstone_generator.prompts.examples import BANKS
from touchstone_generator.prompts.grammar import GrammarWriter
from touchstone_generator.prompts.language_model import SeededGumbel, few_shot_prompt, first_line
from touchstone_generator.prompts.naming import names_class
from touchstone_generator.prompts.retrieved import FoundCaption, collect_captions
from touchstone_generator.prompts.table import caption_table, read_prompts
from touchstone_generator.prompts.words import BACKGROUNDS, RELATIONS

OWL = ClassLabel(id=0, display_name="barn owl", aliases=("church owl",))
OAK = ClassLabel(id=1, display_name="oak")
TEMPLATES = ("a photo of a {name}.", "the {name}")


def captions_of(request: LanguageModel, count: int = 40, seed: int = 0) -> tuple[list[Caption], dict[str, int]]:
    return write_captions((OWL, OAK), TEMPLATES, count, request, seed, GrammarWriter(TEMPLATES))


def test_the_grammar_writes_every_class_its_number_and_always_names_it() -> None:
    captions, report = captions_of(LanguageModel())

    assert Counter(caption.prompt.class_id for caption in captions) == {0: 40, 1: 40}
    assert all(names_class(caption.prompt.prompt, (OWL, OAK)[caption.prompt.class_id]) for caption in captions)
    assert report == {"rewritten": 0, "template_instead": 0}
    assert {caption.writer for caption in captions} == {"grammar"}
    assert len({(caption.prompt.prompt_id, caption.prompt.index) for caption in captions}) == 80


def test_modes_come_in_their_shares_and_say_what_they_are_asked_to() -> None:
    captions, _ = captions_of(LanguageModel(modes=ModeShares(class_only=0, relation=0.25, background=0.75)), 400)

    modes = Counter(caption.mode for caption in captions)
    assert set(modes) == {"relation", "background"}
    assert 0.70 < modes["background"] / 800 < 0.80
    for caption in captions:
        words = RELATIONS if caption.mode == "relation" else BACKGROUNDS
        assert any(f" {word} " in f"{caption.prompt.prompt} " for word in words), caption.prompt.prompt


def test_a_targets_own_backgrounds_replace_the_general_ones() -> None:
    request = LanguageModel(
        modes=ModeShares(class_only=0, relation=0, background=1), backgrounds=("a runway", "a hangar")
    )
    captions, _ = captions_of(request)
    assert all("runway" in caption.prompt.prompt or "hangar" in caption.prompt.prompt for caption in captions)


def test_more_captions_keep_the_earlier_ones_and_another_seed_writes_others() -> None:
    def texts(count: int, seed: int = 0) -> list[str]:
        return [caption.prompt.prompt for caption in captions_of(LanguageModel(), count, seed)[0][:count]]

    assert texts(30)[:10] == texts(10)
    assert texts(10, seed=1) != texts(10)


class Stubborn:
    """Names its class from the given attempt on."""

    def __init__(self, attempt: int) -> None:
        self.attempt, self.calls = attempt, 0

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        self.calls += 1
        return [f"my {ask.label.display_name}" if self.calls >= self.attempt else "a dog" for ask in asks]


@pytest.mark.parametrize(
    ("attempt", "report", "writers"),
    [
        (1, {"rewritten": 0, "template_instead": 0}, {"grammar"}),
        (3, {"rewritten": 8, "template_instead": 0}, {"grammar"}),
        (4, {"rewritten": 8, "template_instead": 4}, {"template"}),
    ],
)
def test_a_caption_without_its_class_is_written_again_and_then_replaced(
    attempt: int, report: dict[str, int], writers: set[str]
) -> None:
    captions, found = write_captions((OWL, OAK), TEMPLATES, 2, LanguageModel(attempts=3), 0, Stubborn(attempt))

    assert found == report
    assert {caption.writer for caption in captions} == writers
    if writers == {"template"}:
        assert [caption.prompt.prompt for caption in captions[:2]] == ["a photo of a barn owl.", "the barn owl"]


def test_captions_can_stay_as_written_and_those_without_their_class_are_counted() -> None:
    written = iter(["A Dog,  in RAIN", "my barn owl", "", "an oak", " ", "two dogs"])

    def write(asks: Sequence[Ask]) -> list[str]:
        return [next(written) for _ in asks]

    captions, report = write_captions((OWL, OAK), TEMPLATES, 2, LanguageModel(unnamed="kept", attempts=3), 0, write)
    assert [caption.prompt.prompt for caption in captions] == ["A Dog,  in RAIN", "my barn owl", "two dogs", "an oak"]
    assert report == {"rewritten": 2, "template_instead": 0, "unnamed": 2}


def test_the_class_word_follows_the_name_in_every_query_and_is_not_needed_in_the_caption() -> None:
    asked: list[str] = []

    def write(asks: Sequence[Ask]) -> list[str]:
        asked.extend(few_shot_prompt(ask).splitlines()[-1] for ask in asks)
        return [f"a {ask.label.display_name}" for ask in asks]

    request = LanguageModel(class_word="bird", modes=ModeShares(class_only=1, relation=0, background=0))
    _, report = write_captions((OWL,), TEMPLATES, 3, request, 0, write)
    assert asked == ["barn owl bird =>"] * 3
    assert report == {"rewritten": 0, "template_instead": 0}
    grammar, _ = captions_of(request)
    assert all("barn owl bird" in each.prompt.prompt for each in grammar if each.prompt.class_id == 0)


def test_a_class_with_backgrounds_of_its_own_leaves_the_others_those_of_the_target() -> None:
    request = LanguageModel(
        modes=ModeShares(class_only=0, relation=0, background=1),
        backgrounds=("a hangar",),
        class_backgrounds={"barn owl": ("a belfry", "a barn roof")},
    )
    scenes = Counter(
        (caption.prompt.class_id, caption.prompt.prompt.rsplit(" with ")[1]) for caption in captions_of(request)[0]
    )
    assert set(scenes) == {
        (0, "a belfry in the background"),
        (0, "a barn roof in the background"),
        (1, "a hangar in the background"),
    }


def test_another_attempt_is_another_draw() -> None:
    seeds: list[int] = []

    def never(asks: Sequence[Ask]) -> list[str]:
        seeds.extend(ask.seed for ask in asks)
        return [""] * len(asks)

    write_captions((OWL, OAK), TEMPLATES, 3, LanguageModel(attempts=4), 0, never)
    assert len(set(seeds)) == len(seeds) == 2 * 3 * 4


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A Barn-Owl in flight", True),
        ("the church owl of our village", True),
        ("an owl in a barn", False),
        ("barn owlet", False),
        ("", False),
    ],
)
def test_a_class_is_named_by_whole_words_in_order(text: str, named: bool) -> None:
    assert names_class(text, OWL) is named


@pytest.mark.parametrize("mode", sorted(BANKS))
def test_a_language_model_is_shown_three_examples_of_the_mode_and_an_open_query(mode: str) -> None:
    detail = {"relation": "under", "background": "a barn"}.get(mode, "")
    lines = few_shot_prompt(Ask(OWL, mode, detail, seed=5)).splitlines()  # type: ignore[arg-type]

    assert len(lines) == 5
    assert len(set(lines[1:4])) == 3
    assert all(tuple(line.split(" => ")) in BANKS[mode].examples for line in lines[1:4])  # type: ignore[index]
    assert lines[4] == f"barn owl{', ' if detail else ''}{detail} =>"


def test_only_the_first_line_of_a_continuation_is_the_caption() -> None:
    assert first_line(" a barn owl at night \nteapot => a teapot") == "a barn owl at night"


def test_tokens_are_drawn_by_each_rows_own_seed_as_softmax_says() -> None:
    logits = torch.log(torch.tensor([0.6, 0.3, 0.1]))
    tokens = torch.zeros((2000, 1), dtype=torch.long)
    drawn = SeededGumbel(range(2000))(tokens, logits.repeat(2000, 1)).argmax(1)
    alone = [int(SeededGumbel([seed])(tokens[:1], logits[None]).argmax()) for seed in range(20)]

    assert alone == drawn[:20].tolist()
    shares = torch.bincount(drawn, minlength=3) / 2000
    assert torch.allclose(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.04)  # four standard errors


def test_a_caption_table_says_mode_and_writer_and_reads_as_prompts() -> None:
    captions, _ = captions_of(LanguageModel(), 5)
    table = caption_table(captions)

    assert table["writer"].to_pylist() == ["grammar"] * 10
    assert table["mode"].to_pylist() == [caption.mode for caption in captions]
    assert read_prompts(table) == [caption.prompt for caption in captions]


def test_without_any_share_there_is_nothing_to_write() -> None:
    with pytest.raises(ValidationError, match="at least one mode"):
        ModeShares(class_only=0, relation=0, background=0)


FOUND = [FoundCaption(f"id{i}", 0, f"owl number {i}") for i in range(5)] + [FoundCaption("empty", 1, "  ")]


def test_retrieved_captions_are_each_used_before_any_is_repeated() -> None:
    prompts, report = collect_captions(FOUND, (OWL, OAK), TEMPLATES, 7, seed=0)

    owls = [collected for collected in prompts if collected.prompt.class_id == 0]
    assert {collected.caption_of for collected in owls[:5]} == {f"id{i}" for i in range(5)}
    assert [collected.prompt.index for collected in owls] == [0] * 5 + [1] * 2
    assert all(collected.prompt.prompt == f"owl number {collected.caption_of[2:]}" for collected in owls)
    assert report == {"template_instead": 7, "repeated": 2 + 6}


def test_an_empty_caption_and_a_class_without_any_get_the_templates() -> None:
    elm = ClassLabel(id=2, display_name="elm")
    prompts, report = collect_captions(FOUND, (OAK, elm), TEMPLATES, 2, seed=0)

    assert [collected.prompt.prompt for collected in prompts] == [
        "a photo of a oak.",
        "the oak",
        "a photo of a elm.",
        "the elm",
    ]
    assert [collected.caption_of for collected in prompts] == ["empty", "empty", "", ""]
    assert report["template_instead"] == 4


def test_more_retrieved_captions_keep_the_earlier_ones() -> None:
    few, _ = collect_captions(FOUND, (OWL,), TEMPLATES, 3, seed=4)
    many, _ = collect_captions(FOUND, (OWL,), TEMPLATES, 5, seed=4)
    assert many[:3] == few
    assert collect_captions(FOUND, (OWL,), TEMPLATES, 5, seed=5)[0] != many
