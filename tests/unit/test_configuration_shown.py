"""The whole configuration on the page of an experiment: what it names, copies to post again, what a clone changed."""

import ast
import json
import re
from dataclasses import dataclass
from html import unescape

import pytest
import yaml
from fastapi.testclient import TestClient
from support.finished_experiments import Told, post_experiment
from support.memory_services import OPERATOR_KEY, api_client, memory_services
from support.pages import NASTY, of_another_project, page, section, texts
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_store.experiments import require_experiment
from touchstone_store.projects import share_plan

NAME = f"{NASTY} 'quoted' \"twice\" $HOME `id` \\ SPEC"


@dataclass(frozen=True)
class Posted:
    services: Services
    api: TestClient
    told: Told

    @property
    def shown(self) -> str:
        return section(page(self.api, f"/experiments/{self.told.id}"), "configuration-title")

    def copied(self, id_: str) -> str:
        [text] = re.findall(rf'<code id="{id_}">(.*?)</code>', self.shown, re.DOTALL)
        return unescape(text)

    def post_again(self, document: object) -> tuple[int, str]:
        answer = self.api.post("/v1/experiments", json=document)
        return answer.status_code, answer.json()["id"]


@pytest.fixture(scope="module")
def posted(tmp_path_factory: pytest.TempPathFactory) -> Posted:
    services = memory_services(tmp_path_factory.mktemp("configured"))
    told = post_experiment(services, spec(name=NAME))
    return Posted(services, api_client(services), told)


def test_the_yaml_is_the_spec_and_posts_the_same_experiment(posted: Posted) -> None:
    document = yaml.safe_load(posted.copied("as-yaml"))
    assert document == posted.told.spec.model_dump(mode="json")
    assert posted.post_again(document) == (200, posted.told.id)


def test_the_curl_command_posts_the_same_experiment(posted: Posted) -> None:
    command = posted.copied("as-curl")
    assert command.startswith("curl -X POST http://localhost/v1/experiments \\\n")
    assert "Bearer $TOUCHSTONE_API_KEY" in command
    body = command.split("<<'SPEC'\n")[1]
    assert body.endswith("\nSPEC\n")
    assert body.splitlines().count("SPEC") == 1
    assert posted.post_again(json.loads(body.removesuffix("SPEC\n"))) == (200, posted.told.id)


def test_the_python_script_posts_the_same_experiment(posted: Posted) -> None:
    script = ast.parse(posted.copied("as-python"))
    [assigned] = [node for node in script.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)]
    assert posted.post_again(ast.literal_eval(assigned.value)) == (200, posted.told.id)
    assert "touchstone.Client('http://localhost')" in posted.copied("as-python")


def test_copies_hold_no_key_and_no_markup(posted: Posted) -> None:
    html = page(posted.api, f"/experiments/{posted.told.id}")
    assert NASTY not in html
    assert OPERATOR_KEY not in html


def test_each_copy_has_a_button_that_only_a_script_shows(posted: Posted) -> None:
    buttons = re.findall(r'<button type="button" data-copy="([^"]+)" hidden>', posted.shown)
    assert buttons == ["as-yaml", "as-curl", "as-python"]
    assert all(posted.copied(button) for button in buttons)
    assert posted.shown.count('<pre tabindex="0">') == 3
    assert posted.api.get("/assets/copy.js").status_code == 200


def test_what_it_names_is_a_link_that_leads_somewhere(posted: Posted) -> None:
    links = re.findall(r"<dd>.*?</dd>", posted.shown)
    addresses = [address for link in links for address in re.findall(r'href="([^"]+)"', link)]
    named = ["/upstreams/world", "/targets/fine", "/targets/broad", "/encoders/clip", "/generators/diffusion"]
    assert addresses == named
    for address in addresses:
        page(posted.api, address)


def test_a_reader_of_a_shared_experiment_gets_no_dead_links(posted: Posted) -> None:
    with posted.services.store.write() as session:
        share_plan(session, posted.told.id, True)
    html = section(page(of_another_project(posted.services), f"/experiments/{posted.told.id}"), "configuration-title")
    assert "<dd>world</dd>" in html
    assert 'href="/' not in html


def test_a_clone_shows_what_it_changed(posted: Posted) -> None:
    document = spec(name="cloned", sizes=(6, 24)).model_dump(mode="json")
    clone = posted.api.post(f"/v1/experiments/{posted.told.id}/clone", json=document).json()["id"]
    html = section(page(posted.api, f"/experiments/{clone}"), "configuration-title")
    assert texts(html, "tr")[1:] == ["sizes 6, 12 6, 24"]
    [address] = re.findall(r'href="(/compare[^"]+)"', html)
    assert "Comparison of 2 experiments" in page(posted.api, unescape(address))
    assert "Difference from its parent" not in posted.shown


def test_a_clone_whose_parent_is_gone_is_still_shown(posted: Posted) -> None:
    parent = posted.api.post("/v1/experiments", json=spec(name="gone", seeds=(5, 6)).model_dump(mode="json")).json()
    document = spec(name="orphan", seeds=(5, 6, 7)).model_dump(mode="json")
    clone = posted.api.post(f"/v1/experiments/{parent['id']}/clone", json=document).json()["id"]
    with posted.services.store.read() as session:
        assert require_experiment(session, clone).spec is not None
    assert posted.api.post(f"/v1/experiments/{parent['id']}/cancel").status_code == 200
    assert posted.api.delete(f"/v1/experiments/{parent['id']}").status_code == 204
    assert "Difference from its parent" not in page(posted.api, f"/experiments/{clone}")
