"""The log: JSON lines in a rotated file, readable lines on the console; secrets never reach either."""

import logging
import logging.handlers
import queue
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import structlog

QUIET: Final = ("httpx", "httpcore", "httpx2", "websockets", "asyncio", "aiosqlite", "alembic")
"""Loggers that write URLs, which may hold keys, or too much."""
_SHARED: Final[tuple[structlog.types.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


class LogSystem:
    """The process's log, written by a thread of its own so that no order waits for the disk."""

    def __init__(self, listener: logging.handlers.QueueListener) -> None:
        """Start writing."""
        self._listener = listener
        listener.start()

    def close(self) -> None:
        """Write what is left."""
        self._listener.stop()
        for handler in self._listener.handlers:
            handler.close()


def set_up_logs(*, level: str, path: Path, max_bytes: int, backups: int, network: str) -> LogSystem:
    """Send everything to the console and to `path`; a folder that cannot be written is a warning."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.processors.format_exc_info,
            _drop_empty,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(network=network)
    handlers: list[logging.Handler] = [_console()]
    trouble = None
    try:
        handlers.append(_file(path, max_bytes, backups))
    except OSError as error:
        trouble = error.strerror
    root = logging.getLogger()
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_QueueHandler(waiting))
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    system = LogSystem(logging.handlers.QueueListener(waiting, *handlers))
    if trouble is not None:
        _log = structlog.get_logger(__name__)
        _log.warning(
            "the log file cannot be written, logging to the console only",
            path=str(path),
            why=trouble,
        )
    return system


class _QueueHandler(logging.handlers.QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Pass the record on as it is: the writing thread is in this process."""
        return record


class _RotatingFile(logging.handlers.RotatingFileHandler):
    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        """Go by the file's size: the standard handler formats every record twice to foresee it."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes


def _drop_empty(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None}


def _console() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    colors = sys.stderr.isatty()
    handler.setFormatter(_Formatter(structlog.dev.ConsoleRenderer(colors=colors)))
    return handler


def _file(path: Path, max_bytes: int, backups: int) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _RotatingFile(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")
    handler.setFormatter(_Formatter(structlog.processors.JSONRenderer()))
    return handler


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders what structlog has prepared as it is; what other libraries log is prepared first."""

    def __init__(self, renderer: structlog.types.Processor) -> None:
        self._renderer = renderer
        super().__init__(
            # an exception as plain text: a renderer's own way shows local variables, keys among them
            foreign_pre_chain=[*_SHARED, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):
            return str(self._renderer(None, record.levelname, dict(record.msg)))
        return super().format(record)
