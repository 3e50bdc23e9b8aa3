"""Generated requests find no bug, no answer that the OpenAPI document does not name and none of another form, on both
databases. `make fuzz` tries 10,000 and more on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.api_fuzzing import Coverage, Findings, fuzz, populate
from support.memory_services import api_client, memory_services, on_postgres
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_runtime.artifacts import Artifacts

WHOLE_CASES = 10_000


@pytest.fixture(params=["sqlite", "postgres"])
def services(request: pytest.FixtureRequest, tmp_path: Path, artifacts_on_s3: Artifacts) -> Iterator[Services]:
    services = memory_services(tmp_path, artifacts_on_s3)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        services = on_postgres(services, url)
    yield services
    services.store.close()


def _fuzz(services: Services, seed: int, examples: int, coverage: Coverage) -> Findings:
    app = create_app(services)
    known = populate(services, api_client(services))
    findings = fuzz(app, services, known, seed=seed, examples=examples, coverage=coverage)
    print(f"\n{services.store.engine.dialect.name}, seed {seed}: {findings.words()}")
    return findings


def test_generated_requests_find_nothing(services: Services, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--whole-fuzz"):
        pytest.skip("the whole one is run instead")
    # Most cases that cover a schema are refused before any database is asked: they are tried on the stricter one.
    strict = services.store.engine.dialect.name == "postgresql"
    findings = _fuzz(services, seed=1, examples=3, coverage="valid" if strict else "none")
    assert not findings.failures, findings.words()
    assert len(findings.operations) >= 55
    assert set(findings.phases) >= {"examples", "fuzzing", "stateful"} | ({"coverage"} if strict else set())
    assert findings.cases > (2000 if strict else 200)


def test_ten_thousand_generated_requests_find_nothing(services: Services, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--whole-fuzz"):
        pytest.skip("`make fuzz` runs it")
    for seed in map(int, request.config.getoption("--seeds").split()):
        findings = _fuzz(services, seed, examples=60, coverage="all")
        assert not findings.failures, findings.words()
        assert findings.cases >= WHOLE_CASES
