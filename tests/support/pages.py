"""What every page of the dashboard must keep to, and a reader of another project."""

import re
from datetime import UTC, datetime
from html import unescape

from fastapi.testclient import TestClient
from httpx2 import Response
from support.memory_services import api_client
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import Limits, NewKey
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project

NASTY = "<script>alert(1)</script> & co"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co"


def page(api: TestClient, address: str) -> str:
    answer = api.get(address, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    assert_keeps_the_policy(answer)
    return str(answer.text)


def assert_keeps_the_policy(answer: Response) -> None:
    """Its policy allows nothing inline, and nothing inline is there; nothing is loaded from elsewhere."""
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
    assert all("src=" in attributes and not body for attributes, body in scripts)
    assert not re.search(r"<[^>]*\s(on\w+|style)=", answer.text)
    assert "<style" not in answer.text
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
    assert len(addresses) >= 5
    assert all(re.match(r"[/#?](?!/)", address) for address in addresses)


def texts(html: str, tag: str) -> list[str]:
    """What the elements of a tag say, without markup and with single blanks."""
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", inner)).split()) for inner in found]


def section(html: str, heading: str) -> str:
    """The section whose heading has this id."""
    return html.split(f'<section aria-labelledby="{heading}"')[1].split("</section>")[0]


def of_another_project(services: Services) -> TestClient:
    """An api that is asked by an administrator of another project."""
    now = datetime.now(UTC)
    with services.store.write() as session:
        project = create_project(session, "other", Limits(), now)
        key = create_key(session, project, NewKey(label="x", scope="admin"), now).key
    client = api_client(services, raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer {key}"
    return client
