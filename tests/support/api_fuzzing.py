"""Schemathesis against the gateway: what its OpenAPI document promises, tried with generated requests.

The app runs in this process, with a real database and object store. Examples of the document, cases that cover every
schema, random ones, and sequences of calls that use each other's answers are tried."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import AS_OPERATOR, fail_step
from touchstone_api.bootstrap import Services
from touchstone_api.routes.catalogue import EXAMPLES
from touchstone_api.routes.experiments import EXAMPLE_SPEC
from touchstone_contracts.catalogue import MAIN_TEST_SET

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
Coverage = Literal["all", "valid", "none"]
KNOWN_SHARE = 0.8
"""Of the generated requests that name something, so many name what there is."""


CHANGES = {"upstream": {"shards": [EXAMPLES["upstream"]["shards"][0] | {"images": 50_000}]}}
"""The example of an experiment asks for more images than the example of an upstream has."""

COVERED_ELSEWHERE = [
    {"include-path": f"/v1/experiments/{same}", "phases": {"coverage": {"enabled": False}}}
    for same in ("validate", "estimate")
]
"""They take the same body as POST /v1/experiments."""


def request_headers() -> dict[str, str]:
    """What every generated request carries."""
    return {**AS_OPERATOR, "Host": "localhost"}


@dataclass
class Findings:
    """What came of it; `failures` by operation and check, each with one request that shows it."""

    cases: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    """With how many generated requests each was tried; those that were accepted are in `accepted`."""
    accepted: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def note(self, scenario: events.ScenarioFinished) -> None:
        recorder = scenario.recorder
        self.cases += len(recorder.cases)
        self.phases[scenario.phase.value] += len(recorder.cases)
        for case_id, interaction in recorder.interactions.items():
            operation = recorder.cases[case_id].value.operation.label
            self.operations[operation] += 1
            if interaction.response is not None:
                self.statuses[interaction.response.status_code] += 1
                self.accepted[operation] += interaction.response.status_code < 300
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.status == Status.FAILURE and check.failure_info is not None:
                    check_of_operation = (recorder.cases[case_id].value.operation.label, check.name)
                    told = f"{check.failure_info.failure}\n{check.failure_info.code_sample}"
                    self.failures.setdefault(check_of_operation, told)

    def note_error(self, error: events.NonFatalError) -> None:
        self.failures.setdefault((error.label, type(error.value).__name__), str(error.value))

    def words(self) -> str:
        phases = ", ".join(f"{count} {phase}" for phase, count in sorted(self.phases.items()))
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        lines = [
            f"{self.cases:,} generated cases of {len(self.operations)} operations ({phases}): {statuses}",
            f"{len(self.failures)} findings",
            *(f"{operation}: {check}\n{told}" for (operation, check), told in sorted(self.failures.items())),
        ]
        return "\n".join(lines)


def populate(services: Services, client: TestClient) -> dict[str, list[str]]:
    """Registers the document's examples, an experiment with a failed step and one that is finished. Values by
    parameter."""
    for kind in ("encoder", "upstream", "target", "dataset", "generator"):
        assert client.post(f"/v1/{kind}s", json=EXAMPLES[kind] | CHANGES.get(kind, {})).status_code == 201
    posted = client.post("/v1/experiments", json=EXAMPLE_SPEC)
    assert posted.status_code == 201, posted.text
    waiting = posted.json()["id"]
    steps = [step["id"] for step in client.get(f"/v1/experiments/{waiting}/steps").json()["items"]]
    ingest = [step["id"] for step in client.get("/v1/upstreams/miniverse/steps").json()["items"]]
    for step in (steps[0], ingest[0]):
        fail_step(services, step)
    webhook = client.post("/v1/webhooks", json={"url": "https://hooks.example.org/x"}).json()["id"]
    told = post_experiment(services)
    finish_experiment(services, told)
    arms = f"/v1/experiments/{told.id}/arms"
    deliveries = client.get(f"/v1/webhooks/{webhook}/deliveries").json()["items"]
    images = client.get(f"{arms}/retrieved/images", params={"target": "fine"}).json()["items"]
    return {
        "path.experiment": [told.id, waiting],
        "path.name": [*(each["name"] for each in EXAMPLES.values()), "world", "clip", "fine", "diffusion"],
        "path.arm": ["retrieved", "synthetic", "none"],
        "path.step": [steps[0], ingest[0], told.plan.steps[0].id],
        "path.webhook": [webhook],
        "path.delivery": [each["id"] for each in deliveries],
        "path.image": [image["id"] for image in images[:3]],
        "query.target": ["fine", "broad"],
        "query.test_set": [MAIN_TEST_SET],
        "query.arm": ["retrieved", "synthetic"],
        "query.size": ["6", "12"],
        "body.name": ["a", "b"],
        "body.upstream": ["miniverse", "world"],
        "body.encoder": ["mini-clip", "clip"],
        "body.index_encoder": ["mini-clip", "clip"],
        "body.targets[*]": ["flags", "fine", "broad"],
        "body.target": ["flags", "fine", "broad"],
        "body.arms[*].generator": ["mini-diffusion", "diffusion"],
    }


def fuzz(
    app: FastAPI, services: Services, known: Mapping[str, list[str]], *, seed: int, examples: int, coverage: Coverage
) -> Findings:
    """`examples`: of each operation and sequence. `coverage`: how many of the cases that cover every schema are tried,
    of which all are 15,000."""
    config = _config(known, request_headers(), seed, examples)
    if coverage == "valid":
        config |= {"operations": COVERED_ELSEWHERE}
        config["phases"]["coverage"] = {"generation": {"mode": "positive"}}
    elif coverage == "none":
        config["phases"]["coverage"] = {"enabled": False}
    settings = SchemathesisConfig.from_dict(config)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=settings, headers=request_headers())
    findings = Findings()
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                findings.note(event)
            case events.NonFatalError():
                findings.note_error(event)
            case events.FatalError():
                raise event.exception
            case _:
                pass
    return findings


def _config(known: Mapping[str, list[str]], headers: dict[str, str], seed: int, examples: int) -> dict[str, Any]:
    checks: dict[str, Any] = {name: {"enabled": True} for name in CHECKS}
    return {
        "seed": seed,
        "headers": headers,
        "max-stream-events": 2,
        "request-timeout": 20,
        "dictionaries": {_dictionary(name): {"values": values} for name, values in known.items()},
        "parameters": {name: {"dictionary": _dictionary(name), "probability": KNOWN_SHARE} for name in known},
        "checks": {"enabled": False, **checks},
        "generation": {"max-examples": examples, "deterministic": False, "no-shrink": True, "database": "none"},
        "phases": {"stateful": {"max-steps": 6}},
    }


def _dictionary(parameter: str) -> str:
    return re.sub(r"\W+", "-", parameter).strip("-")
