"""The log: JSON lines in a rotated file, readable lines on the console; secrets never reach either."""

import contextlib
import logging
import logging.handlers
import queue
import sys
import time
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

QUIET: Final = ("httpx", "httpcore", "httpx2", "websockets", "asyncio", "aiosqlite", "alembic")
"""Loggers that write URLs, which may hold keys, or too much."""
GATHER_SECONDS: Final = 0.02
"""How long lines gather after others were written; the first after a pause is written at once."""
LINES_MAX: Final = 256
"""Lines written at one go."""
TROUBLE_SECONDS: Final = 60.0
"""How often the console says that the log file cannot be written."""
_SHARED: Final[tuple[structlog.types.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


class LogSystem:
    """The process's log, written by a thread of its own so that no order waits for the disk."""

    def __init__(self, *outputs: "_Gathering", level: str) -> None:
        """Take the root logger over and start writing."""
        root = logging.getLogger()
        self._before = root.handlers[:], root.level
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        root.handlers[:] = [_QueueHandler(waiting)]
        root.setLevel(level)
        self._writer = _Writer(waiting, outputs)
        self._writer.start()

    def close(self) -> None:
        """Write what is left, and give the root logger back; a full disk does not stop an end."""
        root = logging.getLogger()
        handlers, level = self._before
        root.handlers[:] = handlers
        root.setLevel(level)
        self._writer.stop()
        for output in self._writer.handlers:
            with contextlib.suppress(OSError):
                output.close()


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
    outputs = [_console()]
    trouble = None
    try:
        outputs.append(_file(path, max_bytes, backups))
    except OSError as error:
        trouble = error.strerror
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    system = LogSystem(*outputs, level=level)
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
    _silent_until = float("-inf")

    def __init__(self, path: Path, *, maxBytes: int, backupCount: int, encoding: str) -> None:  # noqa: N803
        self._keeps_old = backupCount > 0
        super().__init__(
            path, maxBytes=maxBytes, backupCount=max(backupCount, 1), encoding=encoding
        )

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        """Begin anew when no old files are kept: the standard handler would let the file grow."""
        if self._keeps_old or self.stream is None:
            super().doRollover()
        else:
            self.stream.truncate(0)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say on the console, once a minute, that lines are lost."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif time.monotonic() >= self._silent_until:
            self._silent_until = time.monotonic() + TROUBLE_SECONDS
            with contextlib.suppress(OSError):  # the console may lie on the same full disk
                sys.stderr.write(f"{self.baseFilename} cannot be written: {error.strerror}\n")


class _Console(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose lines that the console does not take: it may be a file on a full disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Gathering(logging.Handler):
    """Formats lines and hands those that have gathered to `target` as one record."""

    def __init__(self, target: logging.Handler, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._target = target
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001 - one line that cannot be written must not end the log
            self.handleError(record)
        if len(self._lines) >= LINES_MAX:
            self.write_out()

    def write_out(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        if lines:
            self._target.handle(logging.makeLogRecord({"msg": "\n".join(lines)}))

    def close(self) -> None:
        self.write_out()
        self._target.close()
        super().close()


class _Writer(logging.handlers.QueueListener):
    """Writes lines as they come, together when they come fast: to wake for each costs more than it."""

    def __init__(self, waiting: "queue.SimpleQueue[Any]", outputs: Sequence[_Gathering]) -> None:
        super().__init__(waiting, *outputs)
        self._waiting = waiting
        self._outputs = outputs

    def dequeue(self, block: bool) -> logging.LogRecord:  # noqa: FBT001 - logging's signature
        """Give the next line; when none waits, write those given and let others gather."""
        if self._waiting.empty():
            for output in self._outputs:
                output.write_out()
            time.sleep(GATHER_SECONDS)
        record: logging.LogRecord = self._waiting.get(block)
        return record


def _drop_empty(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None}


def _console() -> _Gathering:
    colors = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer(colors=colors)
    return _Gathering(_Console(sys.stderr), _Formatter(renderer))


def _file(path: Path, max_bytes: int, backups: int) -> _Gathering:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = _RotatingFile(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")
    return _Gathering(target, _Formatter(structlog.processors.JSONRenderer()))


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
