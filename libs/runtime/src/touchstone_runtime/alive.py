"""`python -m touchstone_runtime.alive [PORT]`: exits 0 when /healthz answers there; a container's health check.

Without PORT it asks where workers and the conductor answer (TOUCHSTONE_METRICS_PORT). The images hold no curl."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 4


def is_alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else os.environ["TOUCHSTONE_METRICS_PORT"]
    sys.exit(0 if is_alive(int(asked)) else 1)
