"""Keeps the public catalogue's finished answers for less than a second, in each web process.

A storefront asks for the same few pages over and over. An answer that is kept costs no SQL, no
REST framework and no middleware but the request's edge, which stands in front: it is kept with the
headers that the others gave it.

An answer is a function of its key alone: scheme and host (the links of a page are absolute), path,
the parameters that the route knows, and the origin that asks if CORS knows it. Before it is worked
out the query is cut down to these, so that nothing else a client sends can get into an answer that
others see, or make more keys. Requests with an `Authorization` header never meet the cache, errors
never enter it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.http import HttpResponse
from django.utils.cache import get_conditional_response, patch_cache_control
from django.utils.http import quote_etag, urlencode

from inventory.api.serializers import ProductDetailQuerySerializer, ProductQuerySerializer

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.urls import ResolverMatch

    Key = tuple[str, str, str, str, str]  # scheme, host, origin, path, known parameters

# A change of price or stock shows within two seconds: so long here, then so long at the client,
# and a tenth of a second for the way there.
KEPT_SECONDS: Final = 0.9
MAX_AGE_SECONDS: Final = 1
# Of a process. A page of 20 products is about 8 KiB.
MOST_ANSWERS: Final = 2_000
MOST_BYTES: Final = 16 * 1024 * 1024
LARGEST_ANSWER: Final = 512 * 1024
LONGEST_WAIT_SECONDS: Final = 5.0  # for another request's answer; then it is worked out once more

_OF_A_BODY = frozenset({"Content-Type", "Content-Length"})
_PAGE = ("cursor", "page_size")
_PRODUCTS = "/api/v1/products"
_LISTS: Final = {
    _PRODUCTS: (*ProductQuerySerializer().fields, *_PAGE),
    "/api/v1/categories": _PAGE,
}
_PRODUCT: Final = tuple(ProductDetailQuerySerializer().fields)


class CatalogueCache:
    """Middleware: answers the catalogue's GET and HEAD, from what is kept where it can."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        known = _known_parameters(request.path_info)
        if known is None or request.method not in {"GET", "HEAD"}:
            return self.get_response(request)
        if "HTTP_AUTHORIZATION" in request.META:
            return _conditional(request, _public(self.get_response(request)))
        return _conditional(request, self._answer(request, _key(request, known)))

    def _answer(self, request: HttpRequest, key: Key) -> Any:
        """From what is kept; from whoever is working the same out; worked out."""
        asked_at = clock()
        kept = answers.find(key, now=asked_at)
        if kept is None:
            work, is_ours = answers.take_up(key, now=asked_at)
            if is_ours:
                return self._work_out(request, key, work)
            work.done.wait(LONGEST_WAIT_SECONDS)
            kept = work.answer
            if kept is None:
                return _public(self.get_response(request))
        request.resolver_match = kept.route  # metrics and log lines go by it
        return HttpResponse(kept.body, headers=kept.headers)

    def _work_out(self, request: HttpRequest, key: Key, work: Work) -> Any:
        try:
            response = _public(self.get_response(request))
            if "ETag" in response.headers and len(response.content) <= LARGEST_ANSWER:
                work.answer = Answer(
                    body=response.content,
                    headers=dict(response.headers),
                    route=request.resolver_match,
                    begun_at=work.begun_at,
                )
            return response
        finally:
            answers.hand_in(key, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A good answer, as true as the database was when its work began."""

    body: bytes
    headers: dict[str, str]
    route: ResolverMatch | None
    begun_at: float


@dataclass(slots=True, kw_only=True)
class Work:
    """An answer being worked out; `answer` stays None where there is none to keep."""

    begun_at: float
    answer: Answer | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Answers:
    """What is kept, oldest first, and what is being worked out; safe to use from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Answer] = OrderedDict()
        self._bytes = 0
        self._works: dict[Key, Work] = {}

    def find(self, key: Key, *, now: float) -> Answer | None:
        """The answer that is kept, unless it is too old."""
        kept = self._kept.get(key)
        return kept if kept is not None and now - kept.begun_at < KEPT_SECONDS else None

    def take_up(self, key: Key, *, now: float) -> tuple[Work, bool]:
        """The work on this key that another has just begun; else one that is for the caller."""
        with self._lock:
            work = self._works.get(key)
            if work is not None and now - work.begun_at < KEPT_SECONDS:
                return work, False
            work = self._works[key] = Work(begun_at=now)
            return work, True

    def hand_in(self, key: Key, work: Work) -> None:
        """Keep its answer, if it has one, and let those who wait for it go on."""
        with self._lock:
            if self._works.get(key) is work:
                del self._works[key]
            if work.answer is not None:
                self._keep(key, work.answer)
        work.done.set()

    def clear(self) -> None:
        """Forget all; for tests."""
        with self._lock:
            self._kept.clear()
            self._works.clear()
            self._bytes = 0

    def _keep(self, key: Key, answer: Answer) -> None:
        self._drop(key)
        self._kept[key] = answer
        self._bytes += _size(key, answer)
        while len(self._kept) > MOST_ANSWERS or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._bytes -= _size(key, dropped)


def _size(key: Key, answer: Answer) -> int:
    return sum(map(len, key)) + len(answer.body)


answers: Final = Answers()
clock: Callable[[], float] = time.monotonic


def _known_parameters(path: str) -> tuple[str, ...] | None:
    """The parameters of a route of the catalogue; None for every other path."""
    return _LISTS.get(path) or (_PRODUCT if path.startswith(f"{_PRODUCTS}/") else None)


def _key(request: HttpRequest, known: tuple[str, ...]) -> Key:
    """What the answer depends on; cuts the request's query down to it.

    Raises:
        DisallowedHost: this is not our host.
    """
    query = ""
    if request.META.get("QUERY_STRING"):
        sent = request.GET
        query = urlencode([(name, sent[name]) for name in known if name in sent])
        request.META["QUERY_STRING"] = query
        del request.GET  # it is read again, from what is left
    origin = request.META.get("HTTP_ORIGIN", "")
    if origin not in settings.CORS_ALLOWED_ORIGINS:
        origin = ""  # whoever that is gets the answer of those who say nothing
    return request.scheme or "", request.get_host(), origin, request.path, query


def _public(response: Any) -> Any:
    """A good answer may be kept by anybody; an error, with its request's id, by nobody."""
    if response.status_code == 200 and not response.cookies:  # noqa: PLR2004
        response.headers["ETag"] = quote_etag(hashlib.sha256(response.content).hexdigest()[:32])
        patch_cache_control(response, public=True, max_age=MAX_AGE_SECONDS)
    return response


def _conditional(request: HttpRequest, response: Any) -> Any:
    """Only a word where the client has the answer already."""
    if "HTTP_IF_NONE_MATCH" not in request.META or "ETag" not in response.headers:
        return response
    etag = response.headers["ETag"]
    answer: Any = get_conditional_response(request, etag=etag, response=response)
    if answer is not response:
        for name, value in response.headers.items():
            if name not in _OF_A_BODY:
                answer.headers.setdefault(name, value)
    return answer
