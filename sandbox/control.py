"""`/_test/...` of the local servers: what no receiver's API offers, and every test needs.

No key is asked for: they listen on loopback and hold nothing real.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from sandbox.faults import Armed, FaultDefinitionError

Route: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.Response]]

MAX_PAGE = 1_000


class ControlError(Exception):
    """A request to `/_test/` that cannot be done; told to the client as it is."""

    def __init__(self, message: str, *, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


class Routes:
    """Answers everything below `/_test/`: health and faults, and what a server adds."""

    def __init__(self, *, faults: Armed[Any], more: Mapping[tuple[str, str], Route]) -> None:
        """Answer `more`, too; in its addresses `*` stands for the id in the second place."""
        self._faults = faults
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "health"): self._health,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("DELETE", "faults/*"): self._remove_fault,
            **more,
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        try:
            return await self._route(request)(request)
        except ControlError as exc:
            return json_response({"error": {"message": str(exc)}}, status=exc.status)
        except web.RequestPayloadError:
            error = {"message": "the body cannot be read"}
            return json_response({"error": error}, status=HTTPStatus.BAD_REQUEST)

    def _route(self, request: web.BaseRequest) -> Route:
        address = _pattern_of(request.path)
        route = self._routes.get((request.method, address))
        if route is not None:
            return route
        methods = sorted(method for method, path in self._routes if path == address)
        if methods:
            raise ControlError(
                f"{request.path} takes {' and '.join(methods)}",
                status=HTTPStatus.METHOD_NOT_ALLOWED,
            )
        raise ControlError(f"no such address: {request.path}", status=HTTPStatus.NOT_FOUND)

    async def _health(self, _request: web.BaseRequest) -> web.Response:
        return json_response({"status": "ok"})

    async def _list_faults(self, _request: web.BaseRequest) -> web.Response:
        return json_response({"faults": self._faults.described()})

    async def _add_fault(self, request: web.BaseRequest) -> web.Response:
        try:
            fault = self._faults.add(await body_of(request))
        except FaultDefinitionError as exc:
            raise ControlError(str(exc)) from exc
        return json_response(fault.described(), status=HTTPStatus.CREATED)

    async def _clear_faults(self, _request: web.BaseRequest) -> web.Response:
        self._faults.clear()
        return json_response({"faults": []})

    async def _remove_fault(self, request: web.BaseRequest) -> web.Response:
        wanted = id_in(request.path)
        if not (_is_whole(wanted) and self._faults.remove(int(wanted))):
            raise ControlError(f"no such fault: {wanted}", status=HTTPStatus.NOT_FOUND)
        return json_response({"faults": self._faults.described()})


def _pattern_of(path: str) -> str:
    parts = path.removeprefix("/_test/").split("/")
    if len(parts) > 1:
        parts[1] = "*"
    return "/".join(parts)


def id_in(path: str) -> str:
    """The id in the second place of an address below `/_test/`."""
    return path.removeprefix("/_test/").split("/")[1]


async def body_of(request: web.BaseRequest) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as exc:
        raise ControlError(f"the body is not JSON: {exc}") from exc


def filters_of(request: web.BaseRequest, *known: str) -> dict[str, str]:
    """The query, none of whose names may be unknown."""
    query = dict(request.rel_url.query)
    unknown = query.keys() - set(known)
    if unknown:
        raise ControlError(f"unknown filter: {', '.join(sorted(unknown))}")
    return query


def page_of(query: Mapping[str, str]) -> dict[str, int]:
    """From which number on, and how many at most."""
    return {
        "after": _whole_number(query, "after", default=0),
        "limit": min(_whole_number(query, "limit", default=MAX_PAGE), MAX_PAGE),
    }


def _whole_number(query: Mapping[str, str], name: str, *, default: int) -> int:
    value = query.get(name, str(default))
    if not _is_whole(value):
        raise ControlError(f"{name}: must be a whole number")
    return int(value)


def _is_whole(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 19  # noqa: PLR2004 - 64 bits


def json_response(document: dict[str, Any], *, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")
