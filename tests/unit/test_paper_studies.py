"""The paper's studies plan what docs/paper.md says, item by item, and can be estimated without their data."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from open_clip import OPENAI_IMAGENET_TEMPLATES
from support.memory_services import api_client, memory_services
from support.paper_facts import (
    BENCHMARKS,
    PAGE,
    REPOSITORY,
    SAME,
    STUDIES,
    facts,
    mismatches,
    plan_of,
    planned,
    stand_ins,
    study,
    tables,
    templates,
    unexplained,
)
from touchstone_contracts.catalogue import Catalogue

MARKS = {
    *("CODE", "README", "RUN", "LIB", "SEED", "ABS", "REV", "OC", "DERIVED", "INFER"),
    *("OURS", "DEVIATION", "UNKNOWN"),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An api that knows everything the studies name."""
    with api_client(memory_services(tmp_path_factory.mktemp("paper"))) as client:
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


@pytest.fixture(scope="module")
def plans() -> dict[str, dict[str, Any]]:
    """What each study plans, by field."""
    return {name: planned(plan_of(study(name))) for name in BENCHMARKS}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_fact_of_the_page_is_what_the_study_plans(plans: dict[str, dict[str, Any]], benchmark: str) -> None:
    compared = [fact for fact in facts(PAGE.read_text(), benchmark) if fact.path]
    assert len(compared) >= 85
    assert mismatches(PAGE.read_text(), benchmark, plans[benchmark]) == set()


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_study_plans_nothing_that_the_page_does_not_explain(plans: dict[str, dict[str, Any]], benchmark: str) -> None:
    """Defaults included: a field that came later needs a row that says what the paper did."""
    assert unexplained(PAGE.read_text(), benchmark, plans[benchmark]) == set()
    one_less = re.sub(r"^.*`curate_images.rules.leaks_removed`.*\n", "", PAGE.read_text(), flags=re.MULTILINE)
    assert unexplained(one_less, benchmark, plans[benchmark]) == {"curate_images.rules.leaks_removed"}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_row_of_the_page_that_is_changed_alone_is_noticed(plans: dict[str, dict[str, Any]], benchmark: str) -> None:
    lines, changed = PAGE.read_text().splitlines(), 0
    for number, line in enumerate(lines):
        if not re.search(r"\| `\S+` \|", line):
            continue
        cells = line.split(" | ")
        shown = 1 + BENCHMARKS.index(benchmark) if len(cells) == 8 else 1 if cells[2] == SAME else 2
        cells[shown] = "changed"
        page = "\n".join([*lines[:number], " | ".join(cells), *lines[number + 1 :], ""])
        assert mismatches(page, benchmark, plans[benchmark]) == {cells[0].removeprefix("| ")}, line
        changed += 1
    assert changed >= 85


OTHER_WORDS = {
    "ddim": "euler",
    "random": "score",
    "uniform": "stratified",
    "last": "first",
    "keep_all": "best_class",
    "kept": "rewritten",
    "fp32": "bf16",
    "words_or_phrase": "phrase",
    "joined_words": "phrase",
    "phrase": "all_tokens",
    "isc-ft-v107": "vit-l-14-openai",
    "vit-b-16-laion2b": "vit-l-14-openai",
    "retrieved": None,
    "synthetic": None,
}
"""None: not to be changed alone."""


def changes(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Paths in a study's document to settings that say what is done, each with another value that it may have."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in ("name", "kind", "upstream", "targets", "model", "generator", "images", "comparison"):
                yield from changes(item, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, item in enumerate(value):
            yield from changes(item, (*path, number))
    elif isinstance(value, list):
        shorter = value[:-1] if len(value) > 1 else [*value, "another {name}"] if isinstance(value[0], str) else [0.5]
        yield path, ["validation"] if value == ["test"] else shorter
    elif isinstance(value, str):
        other = OTHER_WORDS.get(value, f"{value} changed")
        if other is not None:
            yield path, other
    elif value is None:
        yield path, 0.5
    else:
        yield path, 0.5 if value == 0 else max(1, value // 2) if isinstance(value, int) and value > 1 else value / 2


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    copy = list(document) if isinstance(document, list) else dict(document)
    copy[path[0]] = changed(document[path[0]], path[1:], value)  # type: ignore[index]
    return copy


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_field_of_a_study_that_is_changed_alone_is_noticed(benchmark: str) -> None:
    document = study(benchmark)
    document["arms"][2]["images"] = 1000  # few steps, and one fact that does not hold
    page, expected = PAGE.read_text(), {"captions per class"}
    assert mismatches(page, benchmark, planned(plan_of(document))) == expected
    unnoticed, tried = [], 0
    for path, value in changes(document):
        found = mismatches(page, benchmark, planned(plan_of(changed(document, path, value))))
        unnoticed += [path] * (found == expected)
        tried += 1
    assert unnoticed == []
    assert tried >= 45


def test_every_row_says_how_sure_it_is_and_every_difference_is_marked() -> None:
    rows = [row for table in tables(PAGE.read_text()) for row in table if "mark" in row and len(row) > 3]
    assert len(rows) >= 130
    assert [row for row in rows if not MARKS & set(re.findall(r"[A-Z]+", row["mark"]))] == []
    stated = facts(PAGE.read_text(), "aircraft")
    assert [fact.name for fact in stated if fact.differs and not fact.marks & {"DEVIATION", "OURS"}] == []
    assert sum(fact.differs for fact in stated) >= 30


def test_the_page_names_files_that_are_there() -> None:
    files = {fact.file for fact in facts(PAGE.read_text(), "aircraft") if fact.file}
    assert len(files) >= 20
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []


def test_the_readme_lists_every_deviation() -> None:
    listed = next(table for table in tables((STUDIES / "README.md").read_text()) if "deviation" in table[0])
    deviations = {fact.name for fact in facts(PAGE.read_text(), "aircraft") if "DEVIATION" in fact.marks}
    assert {row["deviation"] for row in listed} == deviations
    assert len(deviations) >= 25


def written_out(cell: str, name: str) -> set[str]:
    """`a photo of {a, the} X.` as the templates it stands for."""
    found = set()
    for short in re.findall(r"`([^`]+)`", cell):
        parts = [part.split(", ") for part in re.split(r"\{([^}]*, [^}]*)\}", short)]
        choices = [[", ".join(part)] if number % 2 == 0 else part for number, part in enumerate(parts)]
        found |= {"".join(choice).replace("X", name) for choice in itertools.product(*choices)}
    return found


def test_templates_are_those_of_the_page() -> None:
    numbers = next(table for table in tables(PAGE.read_text()) if "retrieval templates" in table[0])
    for row in numbers:
        kept = templates(row["benchmark"])
        for purpose, column in (("retrieval", "retrieval"), ("filter", "filter"), ("zero_shot", "zero-shot")):
            assert len(getattr(kept, purpose)) == int(row[f"{column} templates"])
    shown = next(table for table in tables(PAGE.read_text()) if "zero-shot, beyond retrieval" in table[0])
    assert [row["benchmark"] for row in shown] == [name for name in BENCHMARKS if name != "imagenet"]
    for row in shown:
        kept = templates(row["benchmark"])
        assert set(kept.retrieval) == written_out(row["retrieval"], "{name}")
        assert set(kept.filter) == written_out(row["filter"], "{name}")
        beyond = written_out(row["zero-shot, beyond retrieval"], "{name}")
        assert set(kept.zero_shot) == set(kept.retrieval) | beyond
    assert templates("imagenet").zero_shot == tuple(fill("{name}") for fill in OPENAI_IMAGENET_TEMPLATES)


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
