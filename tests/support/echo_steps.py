"""What echo workers (support/echo_worker.py) are given: their environment, and messages they understand."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import SecretStr
from support.leaks import require_no_leak, secrets_of
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.messages import StepMessage
from touchstone_contracts.steps import WRITE_PROMPTS, WritePrompts
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import end

TESTS = Path(__file__).resolve().parents[1]
QUEUE = WRITE_PROMPTS.queue
CHANNEL = WRITE_PROMPTS.channel


@contextmanager
def echo_worker(
    valkey_url: str, s3: RuntimeSettings, log: Path, *, versions: object = None, **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the block ends, unless it ends by itself. `settings`: TOUCHSTONE_* variables in lower case;
    `versions`: those of write_prompts that it serves, as a worker of another release. Its log is searched for secrets
    when the block ends."""
    environment = os.environ | {
        "PYTHONPATH": str(TESTS),
        "TOUCHSTONE_REDIS_URL": valkey_url,
        "TOUCHSTONE_S3_ENDPOINT": s3.s3_endpoint,
        "TOUCHSTONE_S3_ACCESS_KEY": s3.s3_access_key,
        "TOUCHSTONE_S3_SECRET_KEY": s3.s3_secret_key.get_secret_value(),
        "TOUCHSTONE_S3_BUCKET": s3.s3_bucket,
        **{f"TOUCHSTONE_{name.upper()}": str(value) for name, value in settings.items()},
        **({"ECHO_VERSIONS": str(versions)} if versions else {}),
    }
    with log.open("wb") as file:
        command = [sys.executable, "-m", "support.echo_worker"]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            end(process)
    require_no_leak(
        {log.name: log.read_bytes()}, secrets_of(s3.model_copy(update={"redis_url": SecretStr(valkey_url)}))
    )


def echo_message(wish: str, **changes: object) -> StepMessage:
    """A step that nobody has asked for before: tests share servers, and what is done is found, not run."""
    request = WritePrompts(
        classes=(ClassLabel(id=0, display_name="cat"), ClassLabel(id=1, display_name="dog")),
        templates=(f"{wish} {uuid4().hex} {{name}}",),
        images_per_class=3,
    )
    fields: dict[str, object] = {
        "step_id": WRITE_PROMPTS.step_id(request),
        "attempt": 1,
        "kind": WRITE_PROMPTS.name,
        "version": WRITE_PROMPTS.version,
        "request": request.model_dump(mode="json"),
    }
    return StepMessage.model_validate(fields | changes)
