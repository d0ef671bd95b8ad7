"""A TCP wire that can be cut, silenced and slowed: between the shop and its servers.

Killing a server tells its clients at once. A wire does worse: it swallows the answer to a COMMIT,
says nothing at all, or takes its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Final

CHUNK: Final = 65_536
COMMIT: Final = b"COMMIT"  # as PostgreSQL's clients send it, in clear text on this machine
RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: no farewell, the peer sees a reset


class Wire:
    """Passes bytes on between a port of its own and a server's; any thread may call it."""

    def __init__(self, *, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._delay = 0.0
        self._commits_to_swallow = 0
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wire-{to_port}", daemon=True)
        self._thread.start()
        self._listening.wait()

    # --- what can be done to it ---

    def cut(self) -> None:
        """Reset every connection."""
        self._loop.call_soon_threadsafe(self._cut)

    def silence(self) -> None:
        """Pass nothing on until `heal`; connections are still taken, and hang."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def slow(self, seconds: float) -> None:
        """Hold every piece up for so long, on its way there and back, until `heal`."""
        self._delay = seconds

    def swallow_commits(self, count: int) -> None:
        """Pass the next COMMITs on, and cut their connections before the answer comes."""
        self._commits_to_swallow = count

    def heal(self) -> None:
        """Pass everything on again."""
        self._delay = 0.0
        self._commits_to_swallow = 0
        self._loop.call_soon_threadsafe(self._open.set)

    # --- private, in the loop's thread ---

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open.set()
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            self._reset(writer)
            return
        self._writers.add(back)
        ways = [
            asyncio.ensure_future(self._pass_on(reader, back, to_server=True)),
            asyncio.ensure_future(self._pass_on(there, writer, to_server=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, back):
            self._writers.discard(end)
            end.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK):
                await self._open.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(piece)
                await writer.drain()
                if to_server and self._commits_to_swallow and COMMIT in piece:
                    self._commits_to_swallow -= 1
                    return  # both ends are closed: the COMMIT is there, its answer has no way back

    def _cut(self) -> None:
        for writer in list(self._writers):
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        end = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        writer.transport.abort()
