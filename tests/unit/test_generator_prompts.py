"""Prompts from templates."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.problems import Invalid
from touchstone_encoders.embedding import class_texts
from touchstone_generator.prompts.table import SCHEMA, prompt_table, read_prompts
from touchstone_generator.prompts.templates import write_template_prompts

FLAGS = (
    ClassLabel(id=0, display_name="flag: Canada", synthesis_name="flag of Canada"),
    ClassLabel(id=1, display_name="flag of Peru"),
)


def test_templates_are_used_in_turn_and_repeats_are_counted() -> None:
    prompts = write_template_prompts(FLAGS, ("an icon of the {name}", "{name}, {name}"), 3)

    assert [(p.class_id, p.prompt, p.index) for p in prompts] == [
        (0, "an icon of the flag of Canada", 0),
        (0, "flag of Canada, flag of Canada", 0),
        (0, "an icon of the flag of Canada", 1),
        (1, "an icon of the flag of Peru", 0),
        (1, "flag of Peru, flag of Peru", 0),
        (1, "an icon of the flag of Peru", 1),
    ]


def test_templates_that_read_the_same_count_as_repeats_of_one_prompt() -> None:
    prompts = write_template_prompts(FLAGS[:1], ("a {name}", "a {name}"), 4)

    assert [p.index for p in prompts] == [0, 1, 2, 3]
    assert len({p.prompt_id for p in prompts}) == 1


def test_classes_of_one_name_have_prompts_of_their_own() -> None:
    crane = [ClassLabel(id=number, display_name="crane") for number in (0, 1)]

    first, second = write_template_prompts(crane, ("a {name}",), 1)

    assert first.prompt == second.prompt
    assert first.prompt_id != second.prompt_id


def test_braces_in_a_class_name_stay_as_they_are() -> None:
    (prompt,) = write_template_prompts([ClassLabel(id=0, display_name="{odd} {0}")], ("a {name}",), 1)

    assert prompt.prompt == "a {odd} {0}"


@pytest.mark.parametrize(
    ("name", "text"),
    [("owl", "an owl, the owl"), ("dog", "a dog, the dog"), ("Airbus A320", "a Airbus A320, the Airbus A320")],
)
def test_the_article_fits_names_that_begin_with_a_small_letter(name: str, text: str) -> None:
    label = ClassLabel(id=0, display_name=name)
    assert class_texts([label], ("{article} {name}, the {name}",)) == [text]
    assert write_template_prompts([label], ("{article} {name}, the {name}",), 1)[0].prompt == text


@given(classes=st.integers(1, 5), templates=st.integers(1, 7), count=st.integers(1, 30))
def test_every_class_gets_its_number_and_no_image_is_asked_for_twice(classes: int, templates: int, count: int) -> None:
    labels = [ClassLabel(id=number, display_name=f"thing {number % 2}") for number in range(classes)]
    prompts = write_template_prompts(labels, [f"{number % 3} {{name}}" for number in range(templates)], count)

    assert Counter(p.class_id for p in prompts) == dict.fromkeys(range(classes), count)
    assert len({(p.prompt_id, p.index) for p in prompts}) == len(prompts)


def test_more_images_per_class_keep_the_earlier_ones() -> None:
    few = write_template_prompts(FLAGS, ("a {name}", "the {name}"), 3)
    many = write_template_prompts(FLAGS, ("a {name}", "the {name}"), 8)

    assert len(few) == 6
    assert {(p.prompt_id, p.index) for p in few} <= {(p.prompt_id, p.index) for p in many}


@pytest.mark.parametrize(
    ("classes", "templates", "count"), [((), ("{name}",), 1), (FLAGS, (), 1), (FLAGS, ("{name}",), 0)]
)
def test_nothing_to_write_is_refused(classes: tuple[ClassLabel, ...], templates: tuple[str, ...], count: int) -> None:
    with pytest.raises(Invalid) as refused:
        write_template_prompts(classes, templates, count)
    assert refused.value.code == "no_prompts"


def test_a_prompt_table_reads_back_as_written() -> None:
    prompts = write_template_prompts(FLAGS, ("a {name}",), 2)
    table = prompt_table(prompts)

    assert table.schema == SCHEMA
    assert read_prompts(table) == prompts
