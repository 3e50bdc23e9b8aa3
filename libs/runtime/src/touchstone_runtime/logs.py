"""Structured logs: facts as key-value events on stderr, and the last lines kept for failure reports."""

import logging
import sys
from collections import deque
from collections.abc import Collection
from typing import Any

import structlog
from touchstone_contracts.redaction import redacted

RECENT_LINES = 50
_recent: deque[str] = deque(maxlen=RECENT_LINES)


def configure_logs(level: str, log_format: str, secrets: Collection[str] = ()) -> None:
    """Called once by each process's bootstrap. No line holds one of `secrets` or the password of a URL."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = _RememberingHandler(secrets)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _RememberingHandler(logging.StreamHandler):  # type: ignore[type-arg]  # the stream type does not matter here
    def __init__(self, secrets: Collection[str]) -> None:
        super().__init__(sys.stderr)
        self._secrets = frozenset(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record), self._secrets)

    def emit(self, record: logging.LogRecord) -> None:
        _recent.append(self.format(record))
        super().emit(record)


def recent_lines() -> str:
    """The last log lines of this process, oldest first."""
    return "\n".join(_recent)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
