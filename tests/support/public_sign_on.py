"""An OpenID provider that knows one public client: it has no secret, so PKCE (S256) is enforced."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import httpx2
from oidc_provider_mock import app
from werkzeug.serving import make_server

BACK = "http://localhost/login/provider/back"


@dataclass
class PublicProvider:
    """Before the provider's own application, which knows no public clients: remembers the challenge of each code, asks
    for its verifier, and then vouches for the client with the secret that only it knows."""

    provider: WSGIApplication
    challenges: dict[str, str] = field(default_factory=dict)
    """Of each code that was given out."""
    refused: list[str] = field(default_factory=list)
    """Why tokens were refused."""
    client: str = ""
    secret: str = ""
    issued: int = 0
    """Requests for a token that were passed on."""

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/oauth2/authorize":
            return self.provider(environ, self._remembering(environ, start))
        if environ["PATH_INFO"] == "/oauth2/token":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = BytesIO(body)
            problem = self._problem(environ, {name: values[0] for name, values in parse_qs(body.decode()).items()})
            if problem is not None:
                self.refused.append(problem)
                start("400 Bad Request", [("Content-Type", "application/json")])
                return [json.dumps({"error": "invalid_grant", "error_description": problem}).encode()]
            self.issued += 1
            known = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
            environ["HTTP_AUTHORIZATION"] = f"Basic {known}"
        return self.provider(environ, start)

    def _remembering(self, environ: WSGIEnvironment, start: StartResponse) -> StartResponse:
        asked = parse_qs(environ["QUERY_STRING"])

        def noting(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            redirect = urlsplit(dict(headers).get("Location", ""))
            for code in parse_qs(redirect.query).get("code", ()):
                assert asked.get("code_challenge_method") == ["S256"], "a public client asks with PKCE"
                [self.challenges[code]] = asked["code_challenge"]
            return start(status, headers, *error)

        return noting

    def _problem(self, environ: WSGIEnvironment, sent: dict[str, str]) -> str | None:
        if "HTTP_AUTHORIZATION" in environ or "client_secret" in sent:
            return "a public client has no secret"
        if sent.get("client_id") != self.client:
            return "no such client"
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.challenges.get(sent.get("code", "")):
            return "the verifier is not that of the challenge"
        return None


@contextmanager
def public_provider(people: Any) -> Iterator[tuple[str, str, PublicProvider]]:
    """Its issuer, the id of the client, and what it saw."""
    guarded = PublicProvider(app(user_claims=people, require_nonce=True, require_client_registration=True))
    server = make_server("localhost", 0, guarded, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        issuer = f"http://localhost:{server.server_port}"
        registered = httpx2.post(f"{issuer}/oauth2/clients", json={"redirect_uris": [BACK]}).json()
        guarded.client, guarded.secret = registered["client_id"], registered["client_secret"]
        yield issuer, guarded.client, guarded
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
