"""Who gets in, who may do what, and what one project sees of another: every operation of the API is tried."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from support.memory_services import OPERATOR_KEY, api_client, memory_services, register_everything
from support.specs import spec
from touchstone_api.access.authorise import SCOPE
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_api.projects import carry_out, parse_arguments
from touchstone_api.security.gate import SAFE_METHODS
from touchstone_contracts.access import DEFAULT_PROJECT, Limits, NewKey
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project, set_limits
from touchstone_store.tables import ApiKeyRow

NOW = datetime.now(UTC)
UNKNOWN = {"step": "0" * 64, "image": "0" * 64, "arm": "retrieved", "plural": "targets", "key": "0" * 16}
UNKNOWN |= {"kind": "target", "target": "fine", "search": "0" * 64, "upload": f"default.{'0' * 32}"}
HOOK = {"url": "https://hooks.example.org/touchstone"}
KINDS = ("upstreams", "targets", "datasets", "encoders", "generators")


@dataclass(frozen=True)
class TwoProjects:
    """What one project has, and an api to ask for it."""

    services: Services
    api: TestClient
    experiment: str
    webhook: str
    delivery: str
    names: dict[str, str]
    """By kind of what is registered, one of each."""
    keys: dict[str, str]
    """By whose and which they are; `expired` and `revoked` are of the project that has everything."""

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"Authorization": f"Bearer {self.keys[key]}"}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> TwoProjects:
    services = memory_services(tmp_path_factory.mktemp("two"))
    with api_client(services, raise_server_exceptions=False) as operator:
        register_everything(operator)
        experiment = operator.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"]
        webhook = operator.post("/v1/webhooks", json=HOOK).json()["id"]
        document = spec(name="ended", seeds=(7,)).model_dump(mode="json")
        ended = operator.post("/v1/experiments", json=document).json()["id"]
        operator.post(f"/v1/experiments/{ended}/cancel")
        [delivery] = operator.get(f"/v1/webhooks/{webhook}/deliveries").json()["items"]
        names = {kind: operator.get(f"/v1/{kind}").json()["items"][0]["name"] for kind in KINDS}
    keys = {"operator": OPERATOR_KEY, "unknown": "ts_" + "x" * 43}
    with services.store.write() as session:
        other = create_project(session, "other", Limits(), NOW)
        for project, whose in ((DEFAULT_PROJECT, "own"), (other, "other")):
            for scope in ("read", "write", "admin"):
                keys[f"{whose} {scope}"] = create_key(session, project, NewKey(label=scope, scope=scope), NOW).key
        for state in ("expired", "revoked"):
            made = create_key(session, DEFAULT_PROJECT, NewKey(label=state, scope="admin"), NOW)
            row = session.get_one(ApiKeyRow, made.id)
            row.expires_at, row.revoked_at = (NOW - timedelta(days=1), None) if state == "expired" else (None, NOW)
            keys[state] = made.key
    api = TestClient(create_app(services), base_url="http://localhost", raise_server_exceptions=False)
    return TwoProjects(services, api, experiment, webhook, delivery["id"], names, keys)


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: Any
    scope: str
    names_something: bool
    """An object of the project that has everything is part of the path."""


def calls(two: TwoProjects) -> list[Call]:
    """Every operation of the description, of an object that is there wherever it names one."""
    return [
        _call(two, method, path, kind, operation)
        for path, operations in two.api.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
        if path.startswith("/v1/")
        for kind in (KINDS if "{plural}" in path else (path.split("/")[2],))
    ]


def _call(two: TwoProjects, method: str, path: str, kind: str, operation: Any) -> Call:
    known = UNKNOWN | {"experiment": two.experiment, "webhook": two.webhook, "delivery": two.delivery}
    known |= {"plural": kind, "name": two.names.get(kind, "nothing")}
    names_something = any(part in path for part in ("{name}", "{experiment}", "{webhook}"))
    filled = re.sub(r"{(\w+)}", lambda part: known[part[1]], path)
    return Call(method.upper(), filled, _body(operation), operation[SCOPE], names_something)


def _body(operation: Any) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return next((example["value"] for example in content.get("examples", {}).values()), None)


def with_key(services: Services, key: str) -> TestClient:
    return TestClient(create_app(services), base_url="http://localhost", headers={"Authorization": f"Bearer {key}"})


def another_project(services: Services) -> TestClient:
    """An admin of a new one."""
    with services.store.write() as session:
        project = create_project(session, "other", Limits(), NOW)
        key = create_key(session, project, NewKey(label="x", scope="admin"), NOW).key
    return with_key(services, key)


def ask(two: TwoProjects, call: Call, key: str | None) -> int:
    return two.api.request(call.method, call.path, json=call.body, headers=two.headers(key)).status_code


def test_nobody_gets_past_any_operation_without_a_valid_key(two: TwoProjects, record_property: Any) -> None:
    answers = Counter(
        (key, ask(two, call, key)) for call, key in product(calls(two), (None, "unknown", "expired", "revoked"))
    )
    assert {status for _, status in answers} == {401}
    assert sum(answers.values()) >= 4 * 50
    print(f"{sum(answers.values())} calls without a valid key: all refused")


def test_a_key_does_what_its_scope_says_and_no_more(two: TwoProjects) -> None:
    order = ("read", "write", "admin")
    refused = 0
    for call, scope in product(calls(two), order):
        if order.index(scope) < order.index(call.scope):
            assert ask(two, call, f"own {scope}") == 403, (call, scope)
            refused += 1
    assert refused >= 25
    print(f"{refused} calls beyond a key's scope: all refused")


def test_another_project_finds_nothing_of_this_one(two: TwoProjects) -> None:
    """Whatever its scope; what is refused for its scope is refused alike whether the object is there or not."""
    named = [call for call in calls(two) if call.names_something]
    for call, scope in product(named, ("read", "write", "admin")):
        status = ask(two, call, f"other {scope}")
        assert status in {403, 404}, (call, scope, status)
        if scope == "admin":
            assert status == 404, call
    assert len(named) >= 40
    print(f"{3 * len(named)} calls of another project: nothing found")


def test_lists_of_another_project_are_empty(two: TwoProjects) -> None:
    for path in ("experiments", "webhooks", *KINDS):
        answer = two.api.get(f"/v1/{path}", headers=two.headers("other admin")).json()
        assert answer["items"] == [], path
        assert two.api.get(f"/v1/{path}", headers=two.headers("own read")).json()["items"], path
    storage = two.api.get("/v1/storage", headers=two.headers("other read")).json()
    assert (storage["total"], storage["largest"]) == (0, [])


def test_webhooks_are_told_of_their_own_project_alone(tmp_path: Any) -> None:
    services = memory_services(tmp_path)
    first = api_client(services)
    second = another_project(services)
    hooks = [api.post("/v1/webhooks", json=HOOK).json() for api in (first, second)]
    assert hooks[0]["id"] != hooks[1]["id"], "each has the same address for itself"
    assert hooks[0]["secret"] != hooks[1]["secret"]
    ended = []
    for api in (first, second):
        register_everything(api)
        ended.append(api.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"])
        assert api.post(f"/v1/experiments/{ended[-1]}/cancel").status_code == 200
    for api, mine, others, experiment in ((first, *hooks, ended[0]), (second, *reversed(hooks), ended[1])):
        told = api.get(f"/v1/webhooks/{mine['id']}/deliveries").json()["items"]
        assert [each["experiment"] for each in told] == [experiment]
        webhook = f"/v1/webhooks/{others['id']}"
        assert api.get(webhook).json()["code"] == "not_found"
        assert api.get(f"{webhook}/deliveries").status_code == api.delete(webhook).status_code == 404
        # Through a webhook of one's own, a message of others is not found either.
        [message] = (second if api is first else first).get(f"{webhook}/deliveries").json()["items"]
        for hook in (mine, others):
            assert api.post(f"/v1/webhooks/{hook['id']}/deliveries/{message['id']}/retry").status_code == 404


def test_idempotency_keys_are_of_a_project(tmp_path: Any) -> None:
    services = memory_services(tmp_path)
    first = api_client(services)
    second = another_project(services)
    for number, api in enumerate((first, second)):
        register_everything(api)
        headers = {"Idempotency-Key": "k-1"}
        document = spec(name=f"of {number}").model_dump(mode="json")
        answers = [api.post("/v1/experiments", json=document, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 200]
        assert api.post("/v1/webhooks", json=HOOK, headers=headers).json()["code"] == "idempotency_key_reused"


def test_what_a_body_holds_is_told_to_those_alone_who_may_send_it(two: TwoProjects) -> None:
    """An address that no database can hold is refused whoever sends it: looking it up would be an error."""
    body, json_ = b'{"label": "a\\u0000b"}', {"Content-Type": "application/json"}
    expected = {None: 401, "unknown": 401, "own read": 403, "own write": 403, "own admin": 422, "other admin": 422}
    for key, status in expected.items():
        answer = two.api.post("/v1/keys", content=body, headers=two.headers(key) | json_)
        assert answer.status_code == status, key
        answer = two.api.get("/v1/experiments/a%00b", headers=two.headers(key))
        assert answer.status_code == (401 if status == 401 else 422), key
    assert two.api.get("/login?next=%00", headers={}).status_code == 422


def test_a_safe_method_changes_nothing_and_a_changing_one_needs_more_than_read(two: TwoProjects) -> None:
    by_post = {call.path for call in calls(two) if call.scope == "read" and call.method not in SAFE_METHODS}
    assert by_post == {"/v1/experiments/validate", "/v1/experiments/estimate"}


def test_projects_have_names_and_experiments_of_their_own(tmp_path: Any) -> None:
    services = memory_services(tmp_path)
    first = api_client(services)
    second = another_project(services)
    ids = []
    for api in (first, second):
        register_everything(api)
        ids.append(api.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"])
    assert ids[0] != ids[1]
    assert [each["id"] for each in second.get("/v1/experiments").json()["items"]] == [ids[1]]
    assert second.post("/v1/experiments", json=spec().model_dump(mode="json")).status_code == 200
    steps = [
        {step["id"] for step in api.get(f"/v1/experiments/{id_}/steps").json()["items"]}
        for api, id_ in zip((first, second), ids, strict=True)
    ]
    assert steps[0] == steps[1], "the same work has the same name in every project"


def test_what_is_shared_is_used_by_others_and_changed_by_none(tmp_path: Any) -> None:
    services = memory_services(tmp_path)
    owner = api_client(services)
    register_everything(owner)
    experiment = owner.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"]
    other = another_project(services)
    assert other.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["code"] == "unknown_name"
    things = [f"{plural}/{item['name']}" for plural in KINDS for item in owner.get(f"/v1/{plural}").json()["items"]]
    assert len(things) >= 5
    for thing in (*things, f"experiments/{experiment}"):
        assert owner.put(f"/v1/{thing}/share").status_code == 204, thing
        assert other.get(f"/v1/{thing}").status_code == 200, thing
        assert other.delete(f"/v1/{thing}/share").status_code == 403, thing
    assert other.post("/v1/upstreams/world/retry").json()["code"] == "shared_read_only"
    assert other.delete(f"/v1/experiments/{experiment}").status_code == 403
    mine = other.post("/v1/experiments", json=spec().model_dump(mode="json"))
    assert mine.status_code == 201
    assert mine.json()["id"] != experiment
    for thing in (*things, f"experiments/{experiment}"):
        assert owner.delete(f"/v1/{thing}/share").status_code == 204, thing
        assert other.get(f"/v1/{thing}").status_code == 404, thing
    assert other.get(f"/v1/experiments/{mine.json()['id']}").status_code == 200, "what was begun goes on"


def test_a_key_is_shown_once_expires_and_is_revoked_at_once(services: Services, api: TestClient) -> None:
    made = api.post("/v1/keys", json={"label": "ana", "scope": "write", "expires_in_days": 1}).json()
    asking = with_key(services, made["key"])
    assert asking.get("/v1/project").json()["scope"] == "write"
    assert asking.post("/v1/keys", json={"label": "more"}).status_code == 403
    listed = api.get("/v1/keys").json()["items"]
    assert [(each["id"], each["label"]) for each in listed] == [(made["id"], "ana")]
    assert made["key"] not in api.get("/v1/keys").text
    assert made["key"].startswith(listed[0]["prefix"])
    assert api.delete(f"/v1/keys/{made['id']}").status_code == 204
    assert asking.get("/v1/project").json()["code"] == "bad_credentials"
    with services.store.read() as session:
        assert made["key"] not in str([vars(row) for row in session.query(ApiKeyRow)])


def test_the_audit_log_says_who_did_what_and_what_came_of_it(services: Services, api: TestClient) -> None:
    register_everything(api)
    reader = api.post("/v1/keys", json={"label": "reader", "scope": "read"}).json()
    asking = with_key(services, reader["key"])
    refused = asking.delete("/v1/experiments/exp_x")
    assert refused.status_code == 403
    entries = api.get("/v1/audit?limit=200").json()["items"]
    newest = entries[0]
    assert (newest["actor"], newest["action"], newest["object"], newest["status"]) == (
        reader["id"],
        "remove_experiment",
        "/v1/experiments/exp_x",
        403,
    )
    assert newest["request_id"] == refused.headers["X-Request-Id"]
    assert Counter(entry["status"] for entry in entries)[201] == len(entries) - 1 >= 6
    assert all(entry["actor"].startswith("operator:") for entry in entries[1:])


def test_limits_of_a_project_refuse_what_is_too_much(services: Services, api: TestClient) -> None:
    register_everything(api)
    document = spec().model_dump(mode="json")
    for limits, word in (
        (Limits(steps_in_a_plan=5), "steps"),
        (Limits(images_generated=3), "generate"),
        (Limits(requests_a_minute=1), "requests a minute"),
    ):
        with services.store.write() as session:
            set_limits(session, DEFAULT_PROJECT, limits)
        answers = [api.post("/v1/experiments", json=document) for _ in range(2)]
        assert word in answers[-1].json()["detail"], limits
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    with services.store.write() as session:
        set_limits(session, DEFAULT_PROJECT, Limits(active_experiments=1))
    assert api.get("/v1/project").json()["use"]["active_experiments"] == 1
    second = api.post("/v1/experiments", json=document | {"name": "third", "seeds": [7, 8]})
    assert (second.status_code, second.json()["code"]) == (409, "quota_exceeded")
    project = api.get("/v1/project").json()
    assert (project["use"]["active_experiments"], project["limits"]["active_experiments"]) == (1, 1)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "unknown_host"),
        ({"Host": "localhost.evil.example"}, 421, "unknown_host"),
        ({"Host": ""}, 421, "unknown_host"),
        ({"Origin": "http://evil.example"}, 403, "other_origin"),
        ({"Origin": "null"}, 403, "other_origin"),
        ({"Origin": "http://[a"}, 403, "other_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "other_origin"),
        ({"Sec-Fetch-Site": "same-site"}, 403, "other_origin"),
        ({"Content-Type": "text/plain"}, 415, "not_json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "not_json"),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 201, None),
        ({"Host": "127.0.0.1:9", "Sec-Fetch-Site": "none"}, 201, None),
        ({"Host": "[::1]:9"}, 201, None),
    ],
)
def test_the_gate(api: TestClient, headers: dict[str, str], status: int, code: str | None) -> None:
    answer = api.post("/v1/keys", content=b'{"label": "x"}', headers={"Content-Type": "application/json"} | headers)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert "access-control-allow-origin" not in answer.headers


def browser(services: Services, **client: Any) -> TestClient:
    return TestClient(create_app(services), base_url="http://localhost", follow_redirects=False, **client)


def test_a_browser_logs_in_with_a_key_and_out_again(services: Services, api: TestClient) -> None:
    made = api.post("/v1/keys", json={"label": "ana", "scope": "write"}).json()
    page = browser(services)
    sent = page.get("/new?parent=x")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fnew%3Fparent%3Dx")
    token = re.search(r'name="token" value="([^"]+)"', page.get("/login?next=//evil.example").text)
    assert token is not None
    fields = {"token": token[1], "next": "//evil.example"}
    assert page.post("/login", data=fields | {"key": "ts_wrong"}).status_code == 401
    token = re.search(r'name="token" value="([^"]+)"', page.get("/login").text)
    assert token is not None
    done = page.post("/login", data={"token": token[1], "key": made["key"], "next": "//evil.example"})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    cookie = done.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    home = page.get("/")
    assert home.status_code == 200
    csrf = re.search(r'name="csrf" content="([^"]+)"', home.text)
    assert csrf is not None
    assert page.get("/v1/project").json()["scope"] == "write"
    refused = page.post("/v1/experiments/validate", json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert page.post("/v1/experiments/validate", json={}, headers={"X-CSRF-Token": csrf[1]}).status_code == 422
    assert page.post("/logout", data={"token": "wrong"}).status_code == 403
    assert page.get("/").status_code == 200
    kept = dict(page.cookies)
    assert page.post("/logout", data={"token": csrf[1]}).status_code == 303
    page.cookies.update(kept)
    assert page.get("/").status_code == 303, "the cookie is worth nothing after the logout"


def test_a_login_ends_with_its_key(services: Services, api: TestClient) -> None:
    made = api.post("/v1/keys", json={"label": "ana"}).json()
    page = browser(services)
    token = re.search(r'name="token" value="([^"]+)"', page.get("/login").text)
    assert token is not None
    page.post("/login", data={"token": token[1], "key": made["key"], "next": "/"})
    assert page.get("/").status_code == 200
    api.delete(f"/v1/keys/{made['id']}")
    assert page.get("/").status_code == 303


@pytest.mark.parametrize(
    ("peer", "headers", "allowed", "logged_in"),
    [
        ("127.0.0.1", {}, True, True),
        ("::1", {}, True, True),
        ("127.0.0.1", {}, False, False),
        ("10.1.2.3", {}, True, False),
        ("127.0.0.1", {"X-Forwarded-For": "10.1.2.3"}, True, False),
        ("127.0.0.1", {"Forwarded": "for=10.1.2.3"}, True, False),
        ("testclient", {}, True, False),
    ],
)
def test_pages_open_by_themselves_on_the_own_machine_alone(
    services: Services, peer: str, headers: dict[str, str], allowed: bool, logged_in: bool
) -> None:
    settings = services.settings.model_copy(update={"open_on_this_machine": allowed})
    page = browser(replace(services, settings=settings), client=(peer, 5))
    assert page.get("/", headers=headers).headers["location"] == "/login?next=%2F"
    answer = page.get("/login?next=/", headers=headers)
    assert answer.status_code == (303 if logged_in else 200)
    assert page.get("/").status_code == (200 if logged_in else 303)
    # What asks without a cookie is nobody, on this machine too.
    assert browser(replace(services, settings=settings), client=(peer, 5)).get("/v1/project").status_code == 401


def test_a_login_of_the_operator_ends_with_the_operators_key(services: Services) -> None:
    page = browser(services)
    token = re.search(r'name="token" value="([^"]+)"', page.get("/login").text)
    assert token is not None
    page.post("/login", data={"token": token[1], "key": OPERATOR_KEY, "next": "/"})
    cookies = dict(page.cookies)
    assert page.get("/").status_code == 200
    settings = services.settings.model_copy(update={"operator_key": SecretStr("ts_another-operator-key-0002")})
    later = browser(replace(services, settings=settings))
    later.cookies.update(cookies)
    assert later.get("/").status_code == 303


def test_projects_are_made_at_the_operators_terminal(services: Services) -> None:
    def typed(*words: str) -> str:
        with services.store.write() as session:
            return carry_out(session, parse_arguments(list(words)), NOW)

    assert typed("create", "birds", "--limits", '{"active_experiments": 2}') == 'birds {"active_experiments":2}'
    key = typed("key", "birds", "--label", "ana", "--scope", "write")
    asking = with_key(services, key)
    project = asking.get("/v1/project").json()
    assert (project["name"], project["scope"], project["limits"]["active_experiments"]) == ("birds", "write", 2)
    assert typed("limit", "birds", "{}") == "birds {}"
    assert typed("list").splitlines() == ["birds {}", "default {}"]
