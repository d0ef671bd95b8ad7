"""One JSON record an event on stderr, with the request's id and without personal data."""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import traceback
from typing import TYPE_CHECKING, Any

import structlog
from django.db import Error as DatabaseFailure

from config.kernel import request_context
from config.kernel.api.text import looks_like_card_number

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import TracebackType

_EMAIL = re.compile(r"[^\s@<>\"'(),;:=\[\]]+@[^\s@<>\"'(),;:=\[\]]+")
_SECRET = re.compile(r"\b(?:sk|rk|whsec|pi_\w+_secret)_\w+|eyJ[\w-]+\.[\w-]+\.[\w-]+")
# Narrower than what the API refuses: ids and durations are full of digits, and logs need them.
_DIGITS = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,}(?!-?[^\W_])")
# Milli-, micro- or nanoseconds since 1970; no issuer's numbers begin with 1 (ISO/IEC 7812-1).
_INSTANT = re.compile(r"1\d{12}(?:\d{3}){0,2}")
_STDERR = 2  # the system's: Celery puts a proxy that leads back to logging in place of sys.stderr
_LONGEST_TEXT = 2_000
_MOST_FRAMES = 40


def redacted(text: str) -> str:
    """The text without e-mail addresses, card numbers, tokens and keys."""
    if "@" in text:
        text = _EMAIL.sub("[e-mail]", text)
    text = _SECRET.sub("[secret]", text)
    return _DIGITS.sub(_without_card, text)[:_LONGEST_TEXT]


def _without_card(digits: re.Match[str]) -> str:
    found = digits[0]
    is_card = looks_like_card_number(found) and not _INSTANT.fullmatch(found)
    return "[card]" if is_card else found


def error_text(exc: BaseException) -> str:
    """What an exception says; of a database error the first line, the others quote the row."""
    text = str(exc)
    return redacted(text.partition("\n")[0] if isinstance(exc, DatabaseFailure) else text)


def add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """The request behind it, also where the record comes from a library."""
    if request_id := request_context.current().request_id:
        event.setdefault("request_id", request_id)
    return event


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Every text of the record without personal data."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redacted(value)
    return event


def describe_exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Types, texts and places of an exception and its causes, instead of a rendered traceback."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    exc = info[1] if isinstance(info, tuple) else info
    if isinstance(exc, BaseException):
        event["exception"] = list(_chain(exc))
    return event


def _chain(exc: BaseException) -> Any:
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield {
            "type": type(current).__qualname__,
            "text": error_text(current),
            "frames": _frames(current.__traceback__),
        }
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def _frames(tb: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(tb)[-_MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(allow={"status_code"}),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    add_request_id,
]


_RENDERING: list[Any] = [
    describe_exception,
    redact,
    structlog.processors.JSONRenderer(default=str),
]


class JsonFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders records: our own, which hold their event, at once; those of libraries as structlog.

    structlog would copy the record first, for other formatters. There are none, and every request
    writes a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "_logger"):
            return super().format(record)
        event: Any = dict(record.msg)  # type: ignore[arg-type]  # what structlog made of it
        for processor in _RENDERING:
            event = processor(None, record.levelname, event)
        return str(event)


class StderrHandler(logging.Handler):
    """Writes each line in one piece, without a lock.

    All threads of a web process would wait for it at the end of each request, and hand each other
    the interpreter in doing so. The system keeps pieces of up to PIPE_BUF bytes apart (POSIX,
    write); those that are longer take turns, by the lock that logging makes anew after a fork.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        admitted = bool(self.filter(record))
        if admitted:
            self.emit(record)
        return admitted

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            if len(line) <= select.PIPE_BUF:
                os.write(_STDERR, line)
                return
            self.acquire()
            try:
                while line:
                    line = line[os.write(_STDERR, line) :]
            finally:
                self.release()
        except Exception:  # noqa: BLE001 - as the library's own handlers: no request ends by its log
            self.handleError(record)


class WithoutTheRelay(logging.Filter):
    """Leaves out that the relay ran: it does so each second, and tells itself what went wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        told: Any = record.args
        return not (isinstance(told, dict) and told.get("name") == "audit.tasks.relay")


def settings_for_logging(*, level: str) -> dict[str, Any]:
    """Django's LOGGING; also sets structlog up, so that both end in the same records.

    Where a record was written and by which thread is not asked, since it is not told; see
    "Optimization" in Python's Logging HOWTO.
    """
    logging._srcfile = None  # noqa: SLF001 - as the HOWTO says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": JsonFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [JsonFormatter.remove_processors_meta, *_RENDERING],
            },
        },
        "filters": {"without_the_relay": {"()": WithoutTheRelay}},
        "handlers": {"stderr": {"()": StderrHandler, "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "propagate": True, "level": level},
            # The edge writes one line a request, config.api what went wrong; these would repeat
            # it with the raw path, which may hold somebody's secret.
            "django.request": {"level": "CRITICAL"},
            # One line a finished task is enough.
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"filters": ["without_the_relay"]},
            "django.server": {"handlers": [], "level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }
