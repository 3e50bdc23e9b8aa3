"""The paper's studies say what docs/paper.md says, and can be planned and estimated without their data."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.memory_services import memory_services
from support.paper_facts import BENCHMARKS, PAGE, STUDIES, spec_facts, stand_ins, study, tables, value_at
from touchstone_api.main import create_app
from touchstone_contracts.catalogue import Catalogue

MARKS = {"CODE", "README", "RUN", "LIB", "SEED", "ABS", "REV", "OC", "DERIVED", "INFER", "OURS", "UNKNOWN"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An api that knows everything the studies name."""
    with TestClient(create_app(memory_services(tmp_path_factory.mktemp("paper")))) as client:
        register(client, stand_ins())
        yield client


def register(client: TestClient, catalogue: Catalogue) -> None:
    for resource in ("encoders", "generators", "upstreams", "targets"):
        for entry in getattr(catalogue, resource):
            answer = client.post(f"/v1/{resource}", json=entry.model_dump(mode="json"))
            assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def estimates(client: TestClient) -> dict[str, Any]:
    answers = {name: client.post("/v1/experiments/estimate", json=study(name)) for name in BENCHMARKS}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {name: answer.json() for name, answer in answers.items()}


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Paths of every value that a study states, as docs/paper.md writes them."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from leaves(item, f"{path}[{item.get('name', item['kind'])}]")
    else:
        yield path


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_fact_of_the_page_is_the_studys_value(benchmark: str) -> None:
    facts = list(spec_facts(PAGE.read_text(), benchmark))
    assert len(facts) >= 35
    document = study(benchmark)
    differing = {path: (value_at(document, path), value) for path, value in facts if value_at(document, path) != value}
    assert differing == {}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_study_states_nothing_that_the_page_does_not_explain(benchmark: str) -> None:
    stated = {path for path, _ in spec_facts(PAGE.read_text(), benchmark)}
    naming = re.compile(r"name|targets|comparison\..*|arms\[\w+\]\.(kind|name)")
    unexplained = {path for path in leaves(study(benchmark)) if path not in stated and not naming.fullmatch(path)}
    assert unexplained == set()


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_study_that_drifts_from_the_page_is_noticed(benchmark: str) -> None:
    document = study(benchmark)
    document["recipe"]["epochs"] += 1
    wrong = [path for path, value in spec_facts(PAGE.read_text(), benchmark) if value_at(document, path) != value]
    assert wrong == ["recipe.epochs"]


def test_every_row_says_how_sure_it_is() -> None:
    rows = [row for table in tables(PAGE.read_text()) for row in table if row.keys() >= {"mark"} and "fact" not in row]
    facts = [row for table in tables(PAGE.read_text()) for row in table if row.keys() >= {"mark", "fact"}]
    assert len(facts) >= 40
    unmarked = [row for row in (*facts, *rows) if not MARKS & set(re.findall(r"[A-Z]+", row["mark"]))]
    assert unmarked == []


def test_each_benchmark_has_its_study_and_its_readme() -> None:
    assert {path.parent.name for path in STUDIES.glob("*/study.yaml")} == set(BENCHMARKS)
    for name in BENCHMARKS:
        text = (STUDIES / name / "README.md").read_text()
        assert all(f"**{part}.**" in text for part in ("Question", "Expected", "Found"))
        assert "Not run here" in text


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_study_plans_its_whole_grid(estimates: dict[str, Any], benchmark: str) -> None:
    kinds = estimates[benchmark]["steps_by_kind"]
    # 2 arms x 3 sizes x 3 seeds at one learning rate; and the untouched encoder for each seed
    assert (kinds["adapt_encoder"], kinds["evaluate_encoder"]) == (18, 21)
    assert kinds["generate_images"] == -(-estimates[benchmark]["work"]["images_generated"] // 128)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_estimate_counts_images_and_updates(estimates: dict[str, Any], benchmark: str) -> None:
    work = estimates[benchmark]["work"]
    epochs = 10 if benchmark == "imagenet" else 30
    runs = 2 * 3  # arms x seeds
    assert work["adaptations"] == 3 * runs
    assert work["updates"] == runs * epochs * (2 + 20 + 196)  # batches of 512 in 1000, 10000 and 100000 images
    assert work["images_trained"] == runs * epochs * 111_000
    assert 500_000 <= work["images_generated"] < 500_000 + 1000  # rounded up to whole images per class
    assert work["denoising_steps"] == 50 * work["images_generated"]


def test_retrieval_is_counted_at_the_most_its_queries_find(estimates: dict[str, Any]) -> None:
    # aircraft: 100 classes x (1 text query x 100000 + 2 templates x 2 indexes x 500)
    assert estimates["aircraft"]["work"]["images_retrieved_at_most"] == 100 * (100_000 + 2 * 2 * 500)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_gpu_hours_are_given_per_class_of_gpu_with_their_sources(estimates: dict[str, Any], benchmark: str) -> None:
    hours = estimates[benchmark]["gpu_hours"]
    assert [entry["gpu"] for entry in hours] == ["A100", "RTX 4090", "RTX 3090"]
    for entry in hours:
        assert entry["total"] == pytest.approx(sum(entry[part] for part in ("generate", "embed", "adapt", "evaluate")))
        assert len(entry["sources"]) == 3
    # 500000 images x 50 steps at 16 x 3.04 steps a second
    assert hours[0]["generate"] == pytest.approx(500_000 * 50 / (16 * 3.04) / 3600, rel=0.01)
    assert any("not a measurement" in text for text in estimates[benchmark]["assumptions"])


def test_the_readme_shows_what_the_estimate_answers(estimates: dict[str, Any]) -> None:
    shown = next(table for table in tables((STUDIES / "README.md").read_text()) if "updates" in table[0])
    assert [row["benchmark"] for row in shown] == list(BENCHMARKS)
    for row in shown:
        work, hours = estimates[row["benchmark"]]["work"], estimates[row["benchmark"]]["gpu_hours"][0]
        for name in ("images generated", "images retrieved at most", "adaptations", "updates"):
            assert int(row[name]) == work[name.replace(" ", "_")]
        for name, part in (("generating", "generate"), ("embedding", "embed"), ("adapting", "adapt")):
            assert int(row[f"hours {name}"]) == round(hours[part])


def test_an_estimate_creates_nothing_and_refuses_what_posting_would(client: TestClient) -> None:
    assert client.get("/v1/experiments").json()["items"] == []
    unknown = client.post("/v1/experiments/estimate", json=study("dtd") | {"targets": ["nowhere"]})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_name")
