"""Where the API key comes from: the environment, what `touchstone login` kept, or the stack of this folder."""

import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

KEY_VARIABLE = "TOUCHSTONE_API_KEY"
LOCAL_KEY = Path(".touchstone/key")
"""Written by `make up`, for the api of this machine alone."""


def kept_keys_file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "touchstone" / "keys.json"


def find_key(server: str) -> str | None:
    """A kept key is sent to the server that it was kept for and to no other."""
    if from_environment := os.environ.get(KEY_VARIABLE):
        return from_environment
    kept = kept_keys().get(address_of(server))
    if kept is not None:
        return kept
    return _local_key() if _is_this_machine(server) else None


def _local_key() -> str | None:
    """Of the nearest folder, from here upwards, in which a stack was started."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        try:
            return (folder / LOCAL_KEY).read_text().strip()
        except OSError:
            continue
    return None


def kept_keys() -> Mapping[str, str]:
    """By the server's address; empty where the file is missing or damaged."""
    try:
        found = json.loads(kept_keys_file().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keep_key(server: str, key: str) -> Path:
    """For the next calls; readable by its owner alone. The file."""
    file = kept_keys_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f"{file.name}.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps({**kept_keys(), address_of(server): key}, indent=1))
    part.replace(file)
    return file


def address_of(server: str) -> str:
    """Scheme, host and port, so that a path or a slash at the end makes no difference."""
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _is_this_machine(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
