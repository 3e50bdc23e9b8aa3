"""Every problem code has a section with its remedy, and the `type` of an error leads there."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from support.memory_services import api_client, memory_services
from support.problem_codes import codes_in_source
from touchstone.client import Client, ProblemError
from touchstone.problems import ServerFailed, raise_for_problem
from touchstone_api.problem_sections import chapters, parse_chapters, section_of
from touchstone_contracts.problems import Invalid, Problem


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TestClient]:
    services = memory_services(tmp_path)
    with api_client(services, raise_server_exceptions=False) as client:
        yield client
    services.store.close()


def test_every_code_has_a_section_and_every_section_a_code() -> None:
    codes = codes_in_source()
    sections = [section.code for chapter in chapters() for section in chapter.sections]
    assert {code: files for code, files in codes.items() if code not in sections} == {}
    assert [code for code in sections if code not in codes] == []
    assert len(sections) == len(set(sections)) > 185


def test_codes_are_found_however_they_are_written() -> None:
    # A class's own, an argument, a choice, a table, a default, a refusal before any route, one that is put together.
    ways = (
        "not_finished",
        "splits_overlap",
        "place_refused",
        "bad_request",
        "http_error",
        "not_json",
        "unknown_recipe",
    )
    assert set(ways) <= set(codes_in_source())


def test_sections_are_sentences() -> None:
    texts = [text for chapter in chapters() for section in chapter.sections for text in section[1:]]
    assert [text for text in texts if not text.endswith(".") or not (text[0].isupper() or text[0] == "`")] == []
    assert [text for text in texts if text.count("`") % 2] == []
    assert len(texts) > 370


@pytest.mark.parametrize("body", ["one paragraph", "one\n\ntwo\n\nthree", ""])
def test_a_section_without_meaning_and_remedy_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"'bad_thing' has \d paragraphs"):
        parse_chapters(f"# Title\n\n## bad_thing\n\n{body}\n")


def test_a_problem_that_was_stored_without_a_type_gets_that_of_its_code() -> None:
    stored = {"type": "about:blank", "title": "Old", "code": "diverged"}
    assert Problem.model_validate(stored).type == Problem(title="New", code="diverged").type == "/problems/diverged"
    assert Problem(title="Odd", code="../x y").type == "/problems/..%2Fx%20y"
    assert Problem(type="https://example.org/x", title="Another's", code="x").type == "https://example.org/x"


def test_the_type_of_an_error_is_a_page_that_nobody_needs_a_key_for(api: TestClient) -> None:
    requests = [
        api.get("/v1/experiments/exp_none"),
        api.get("/v1/nonsense"),
        api.get("/v1/experiments?limit=0"),
        api.get("/v1/experiments?cursor=x"),
        api.post("/v1/experiments", content=b"{", headers={"Content-Type": "application/json"}),
        api.post("/v1/experiments", content=b"x", headers={"Content-Type": "text/plain"}),
        api.get("/v1/project", headers={"Authorization": "Bearer nobody"}),
        api.get("/v1/project", headers={"Host": "elsewhere.example"}),
    ]
    codes, stranger = set(), TestClient(api.app, base_url="http://localhost")
    for answer in requests:
        problem = answer.json()
        page = stranger.get(problem["type"])
        section = section_of(problem["code"])
        assert section is not None
        assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html"), problem
        assert problem["code"] in page.text
        assert "What to do" in page.text
        codes.add(problem["code"])
    assert len(codes) == 8 - 1  # An unknown experiment and an unknown address are both not found.


def test_all_sections_are_on_one_page_and_each_has_an_anchor(api: TestClient) -> None:
    page = api.get("/problems")
    sections = [section for chapter in chapters() for section in chapter.sections]
    assert [each.code for each in sections if f'<dt id="{each.code}">' not in page.text] == []
    assert "<code>TOUCHSTONE_TRUSTED_HOSTS</code>" in page.text


def test_an_unknown_code_is_not_found_and_is_not_shown_as_markup(api: TestClient) -> None:
    answer = api.get("/problems/%3Cscript%3E", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_an_error_of_the_client_ends_with_the_address_of_its_section(api: TestClient) -> None:
    client = Client()
    client._http = api  # type: ignore[assignment]  # the api in this process instead of a server
    with pytest.raises(ProblemError) as caught:
        client.experiment("exp_none")
    assert caught.value.section == "http://localhost/problems/not_found"
    assert str(caught.value).endswith("\nSee http://localhost/problems/not_found")


def test_an_answer_of_a_proxy_has_no_section() -> None:
    answer = httpx.Response(502, text="Bad Gateway", request=httpx.Request("GET", "http://localhost/v1/project"))
    with pytest.raises(ServerFailed) as caught:
        raise_for_problem(answer)
    assert (caught.value.section, "See " in str(caught.value)) == ("", False)


def test_what_a_worker_raises_leads_to_its_section_too() -> None:
    assert Invalid("x", code="diverged").problem().type == "/problems/diverged"
