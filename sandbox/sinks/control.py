"""`/_test/...`: what was received, the journal, faults, a reset."""

from http import HTTPStatus
from typing import Any

from aiohttp import web

from sandbox.control import (
    ControlError,
    Routes,
    body_of,
    filters_of,
    id_in,
    json_response,
    page_of,
)
from sandbox.sinks.calls import NAMES
from sandbox.sinks.easypost.hooks import Carrier
from sandbox.sinks.faults import Faults
from sandbox.sinks.store import Kept, Store


class Control(Routes):
    """Answers everything below `/_test/`."""

    def __init__(self, *, store: Store, faults: Faults) -> None:
        self._store = store
        super().__init__(
            faults=faults,
            more={
                ("GET", "received"): self._count_all,
                ("DELETE", "received"): self._forget_all,
                ("GET", "received/*"): self._read_received,
                ("DELETE", "received/*"): self._forget,
                ("PUT", "settings/*"): self._set,
                ("GET", "journal"): self._read_journal,
                ("POST", "reset"): self._reset,
                **Carrier(store=store).routes(),
            },
        )

    async def _count_all(self, _request: web.BaseRequest) -> web.Response:
        return json_response({name: self._store.counts(receiver=name) for name in NAMES})

    async def _read_received(self, request: web.BaseRequest) -> web.Response:
        receiver = _receiver(request)
        query = filters_of(request, "kind", "key", "after", "limit")
        items = self._store.received(
            receiver=receiver, kind=query.get("kind"), key=query.get("key"), **page_of(query)
        )
        return json_response(
            {
                "receiver": receiver,
                **self._store.counts(receiver=receiver),
                "kinds": self._store.kinds(receiver=receiver),
                "items": [*map(described, items)],
            }
        )

    async def _forget_all(self, _request: web.BaseRequest) -> web.Response:
        with self._store.transaction():
            self._store.forget()
        return json_response({"forgotten": True})

    async def _forget(self, request: web.BaseRequest) -> web.Response:
        receiver = _receiver(request)
        with self._store.transaction():
            self._store.forget(receiver=receiver)
        return json_response({"forgotten": True})

    async def _set(self, request: web.BaseRequest) -> web.Response:
        """Tell a receiver what it has to know, by name."""
        receiver, wishes = _receiver(request), await body_of(request)
        if not isinstance(wishes, dict):
            raise ControlError("settings are a JSON object")
        with self._store.transaction():
            for name, value in wishes.items():
                self._store.set(receiver=receiver, name=name, value=value)
        return json_response(wishes)

    async def _read_journal(self, request: web.BaseRequest) -> web.Response:
        query = filters_of(request, "receiver", "path", "idempotency_key", "after", "limit")
        calls = self._store.calls(
            receiver=query.get("receiver"),
            path=query.get("path"),
            idempotency_key=query.get("idempotency_key"),
            **page_of(query),
        )
        return json_response({"calls": calls})

    async def _reset(self, _request: web.BaseRequest) -> web.Response:
        self._faults.clear()
        with self._store.transaction():
            self._store.clear()
        return json_response({"reset": True})


def described(item: Kept) -> dict[str, Any]:
    """What is told of a kept thing."""
    return {
        "number": item.number,
        "kind": item.kind,
        "key": item.key,
        "time": item.time,
        "copies": item.copies,
        "changed": item.changed,
        "body": item.body,
    }


def _receiver(request: web.BaseRequest) -> str:
    receiver = id_in(request.path)
    if receiver not in NAMES:
        raise ControlError(f"no such receiver: {receiver}", status=HTTPStatus.NOT_FOUND)
    return receiver
