"""Programs run as if this checkout and its environment were not there."""

import os
import shutil
import subprocess
from pathlib import Path

from support.deployment import ROOT

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def find_uv() -> str | None:
    bootstrapped = ROOT / ".uv/bin/uv"
    return str(bootstrapped) if bootstrapped.exists() else shutil.which("uv")


def run_outside(*command: str, **variables: str) -> str:
    """What the program prints; it has to succeed."""
    certificates = {"UV_SYSTEM_CERTS": "true"} if SYSTEM_CERTIFICATES.exists() else {}
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment | certificates | variables
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
