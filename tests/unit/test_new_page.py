"""The form of a new experiment is made from the spec's schema and offers what the project has registered."""

import json
import re
from html import unescape
from typing import Any, Literal

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import post_experiment
from support.memory_services import register_everything
from support.pages import of_another_project, page
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard import form
from touchstone_api.dashboard.form import FormPart, spec_form, with_registered_names
from touchstone_api.dashboard.registered import KINDS
from touchstone_api.dashboard.rendering import with_code
from touchstone_api.routes.experiments import EXAMPLE_SPEC
from touchstone_contracts.arms.spec import ARMS, ArmSpec
from touchstone_contracts.experiment import Comparison, ExperimentSpec
from touchstone_contracts.recipes import RECIPES

NOTHING: dict[str, tuple[str, ...]] = {kind.plural: () for kind in KINDS.values()}
LIBRARY = NOTHING | {"upstreams": ("world",), "encoders": ("clip",), "targets": ("fine", "broad")}


def parts() -> list[FormPart]:
    made = spec_form(LIBRARY)
    return [made.experiment, made.comparison, *made.arms, *made.recipes]


def test_every_kind_of_arm_and_recipe_has_a_part() -> None:
    made = spec_form(NOTHING)
    assert {part.kind for part in made.arms} == {model.model_fields["kind"].default for model in ARMS}
    assert {part.kind for part in made.recipes} == {model.model_fields["kind"].default for model in RECIPES}
    assert len(made.arms) >= 8
    assert len(made.recipes) >= 6


def test_every_field_of_the_schema_is_in_the_form_or_said_to_be_edited_as_text() -> None:
    made = spec_form(LIBRARY)
    described = [(made.experiment, set(ExperimentSpec.model_fields)), (made.comparison, set(Comparison.model_fields))]
    described += [(part, set(ARMS[part.kind].model_fields)) for part in made.arms]
    described += [(part, set(RECIPES[part.kind].model_fields)) for part in made.recipes]
    assert len(described) >= 16
    for part, names in described:
        shown = {field.path.split("/")[1] for field in (*part.shown, *part.further)}
        assert shown | set(part.as_text) == names - {"kind", "arms", "recipe", "comparison"}, part.kind
        assert not shown & set(part.as_text)


def test_fields_tell_what_the_schema_tells() -> None:
    fields = [field for part in parts() for field in (*part.shown, *part.further)]
    assert len(fields) >= 100
    assert [field.path for field in fields if not field.description and not field.path.endswith("name")] == []
    [sizes] = [field for field in spec_form(NOTHING).experiment.shown if field.path == "/sizes"]
    assert (sizes.control, sizes.required) == ("numbers", True)
    assert sizes.description == ExperimentSpec.model_fields["sizes"].description


def test_main_settings_are_shown_at_once_and_the_others_on_demand() -> None:
    [generation] = [part for part in spec_form(LIBRARY).arms if part.kind == "generation"]
    assert [field.path for field in generation.shown] == ["/name", "/generator", "/images"]
    assert {"/sampler/steps", "/image_size", "/prompts"} <= {field.path for field in generation.further}
    assert generation.as_text == ("tune",)
    controls = {field.path: field.control for field in generation.further}
    assert (controls["/sampler/steps"], controls["/prompts"], controls["/sampler/scheduler"]) == (
        "number", "kind", "choice"
    )  # fmt: skip


def test_a_kind_that_is_registered_later_has_a_part_too() -> None:
    class Drawn(ArmSpec):
        """Drawn by hand."""

        kind: Literal["drawn"] = "drawn"
        pencils: int
        """How many."""

    ARMS.register(Drawn)
    form._schema.cache_clear()
    try:
        [part] = [part for part in spec_form(NOTHING).arms if part.kind == "drawn"]
    finally:
        ARMS.forget(Drawn)
        form._schema.cache_clear()
    assert [(field.path, field.control) for field in part.shown] == [("/name", "text"), ("/pencils", "number")]


def options(html: str, field: str) -> list[str]:
    """What the select with this id offers."""
    found = re.search(rf'<select id="{field}".*?</select>', html, re.DOTALL)
    assert found is not None
    return [unescape(text) for text in re.findall(r"<option[^>]*>(.*?)</option>", found[0])]


def test_selects_offer_what_is_registered_in_the_project_alone(api: TestClient, services: Services) -> None:
    register_everything(api)
    html = page(api, "/new")
    assert options(html, "experiment-upstream") == ["Choose", "world"]
    assert options(html, "experiment-encoder") == ["Choose", "clip"]
    assert options(html, "NUMBER-generator") == ["Choose", "diffusion", "stranger"]
    assert re.findall(r'type="checkbox" value="(broad|fine)"', html) == ["broad", "fine"]
    theirs = page(of_another_project(services), "/new")
    assert options(theirs, "experiment-upstream") == ["Choose"]
    assert "stranger" not in theirs
    assert "None is registered." in theirs


def test_the_example_names_what_is_registered(api: TestClient) -> None:
    assert with_registered_names(EXAMPLE_SPEC, NOTHING) == EXAMPLE_SPEC
    register_everything(api)
    document = document_of(page(api, "/new"))
    assert (document["upstream"], document["encoder"], document["targets"]) == ("world", "clip", ["broad"])
    assert document["arms"][2]["generator"] == "diffusion"
    assert ExperimentSpec.model_validate(document).name == EXAMPLE_SPEC["name"]


def document_of(html: str) -> Any:
    found = re.search(r"<textarea[^>]*>(.*)</textarea>", html, re.DOTALL)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_every_control_has_a_name_and_an_element_for_its_problem(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    for address in ("/new", f"/new?parent={told.id}"):
        html = page(api, address)
        ids = re.findall(r' id="([^"]+)"', html)
        described = [name for names in re.findall(r'aria-describedby="([^"]+)"', html) for name in names.split()]
        labelled = re.findall(r'<label for="([^"]+)"', html)
        assert len(described) >= 150
        assert set(described) <= set(ids)
        assert len(labelled) >= 80
        assert set(labelled) <= set(ids)
        outside = re.sub(r"<template.*?</template>", "", html, flags=re.DOTALL)
        own = re.findall(r' id="([^"]+)"', outside)
        assert len(own) == len(set(own))


@pytest.mark.parametrize(
    ("text", "html"),
    [("plain", "plain"), ("`a` and <b>", "<code>a</code> and &lt;b&gt;"), ("`<i>`", "<code>&lt;i&gt;</code>")],
)
def test_backticks_are_code_and_nothing_is_markup(text: str, html: str) -> None:
    assert str(with_code(text)) == html
