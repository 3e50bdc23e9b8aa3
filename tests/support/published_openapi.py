"""The frozen OpenAPI document, and `make contract`, which renews it after an addition or under a new version."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.memory_services import memory_services
from support.openapi_changes import breaking_changes, version_moved
from touchstone_api.main import create_app

PUBLISHED = Path(__file__).parents[1] / "contract" / "openapi.json"


def openapi_of_today(folder: Path) -> dict[str, Any]:
    services = memory_services(folder)
    try:
        return json.loads(json.dumps(create_app(services).openapi()))  # type: ignore[no-any-return]
    finally:
        services.store.close()


def published_openapi() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PUBLISHED.read_text("utf-8"))
    return found


def unannounced_breaks(published: dict[str, Any], today: dict[str, Any]) -> list[str]:
    """Breaking changes that the version does not announce."""
    return [] if version_moved(published, today) else breaking_changes(published, today)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        today = openapi_of_today(Path(folder))
    if PUBLISHED.exists() and (breaks := unannounced_breaks(published_openapi(), today)):
        print(*breaks, sep="\n")
        print(
            f"{len(breaks)} changes break callers: take them back, or raise the minor version in touchstone_api/main.py"
        )
        return 1
    PUBLISHED.write_text(json.dumps(today, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    print(f"wrote {PUBLISHED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
