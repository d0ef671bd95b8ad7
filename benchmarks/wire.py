"""A storefront's end of the wire: one keep-alive connection, as few cycles as asyncio allows.

The load generators share cores with what they measure, so none of them uses an HTTP library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with lower-case names, and the body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def timing(self, name: str) -> float | None:
        """Milliseconds of one entry of the Server-Timing header; None if it is not there."""
        for entry in self.headers.get("server-timing", "").split(","):
            label, _, duration = entry.strip().partition(";dur=")
            if label == name and duration:
                return float(duration)
        return None


class Connection:
    """One HTTP/1.1 connection to `base_url`, opened when first needed and again when closed."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = f"Host: {parts.netloc}\r\n"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and read its answer; a lost connection is never hidden by a retry.

        Raises:
            OSError: no connection, or it was lost on the way.
        """
        head = f"{method} {path} HTTP/1.1\r\n{self._head}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        for name, value in (headers or {}).items():
            head += f"{name}: {value}\r\n"
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        self._writer.write(head.encode("latin-1") + b"\r\n" + body)
        try:
            return await self._read(self._reader)
        except (asyncio.IncompleteReadError, OSError) as exc:
            await self.close()
            raise ConnectionError("the connection ended before the answer did") from exc

    async def close(self) -> None:
        """Hang up."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Answer(int(status_line.split(" ", 2)[1]), headers, body)
