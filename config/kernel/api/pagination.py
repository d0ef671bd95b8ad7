"""Lists: `{"next", "previous", "results"}`, whole where they are short, else in pages by cursor.

With a cursor no page shifts when rows are added, and none is skipped to by number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import signing
from django.core.exceptions import ValidationError
from django.db.models import F
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.views import APIView

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100


class OnePage(BasePagination):
    """A list that is short by its nature: all of it, on one page."""

    _next: str | None = None
    _previous: str | None = None

    def paginate_queryset(
        self,
        queryset: Any,
        request: Request,  # noqa: ARG002 - REST framework's signature
        view: APIView | None = None,  # noqa: ARG002 - likewise
    ) -> list[Any]:
        """All of it."""
        return list(queryset)

    def get_paginated_response(self, data: Any) -> Response:
        """The page with its links."""
        return Response({"next": self._next, "previous": self._previous, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """How OpenAPI shows a page."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def answer(self, request: Request, rows: Any, show: Callable[[Any], Any]) -> Response:
        """What a view answers; `show` makes of a row what is told of it.

        Raises:
            ValidationFailedError: see `paginate_queryset`.
        """
        page = self.paginate_queryset(rows, request)
        return self.get_paginated_response([show(row) for row in page])


class SignedCursorPagination(OnePage):
    """A page from where a cursor points to, in either direction.

    It is given its ordering: columns that are never null and that rows have as attributes, all
    ascending or all descending, the last one unique.

    A cursor holds those columns of the row at the edge of a page, so that ties are neither skipped
    nor repeated. It is signed together with its ordering: one that is forged, or carried over to
    another ordering, is refused rather than read as a position.
    """

    def __init__(self, *ordering: str) -> None:
        self.ordering = ordering

    def paginate_queryset(
        self,
        queryset: Any,
        request: Request,
        view: APIView | None = None,  # noqa: ARG002 - REST framework's signature
    ) -> list[Any]:
        """One page, in order.

        Raises:
            ValidationFailedError: the cursor is not one of this list, or the page size is no size.
        """
        size = _page_size(request)
        try:
            backwards, position = self._position(request)
            rows = list(self._rows(queryset, position, backwards=backwards)[: size + 1])
        except (signing.BadSignature, ValidationError, ValueError, TypeError):
            raise ValidationFailedError(
                details={"cursor": ["This is not a cursor of this list."]}
            ) from None
        # Where we came from there are rows, ahead of us if we got one more than we show.
        behind, ahead = position is not None, len(rows) > size
        page = rows[:size]
        if backwards:
            page.reverse()
            behind, ahead = ahead, behind
        url = request.build_absolute_uri()
        self._next = self._link(url, page[-1:], backwards=False) if ahead else None
        self._previous = self._link(url, page[:1], backwards=True) if behind else None
        return page

    def get_schema_operation_parameters(
        self,
        view: APIView,  # noqa: ARG002 - REST framework's signature
    ) -> list[dict[str, Any]]:
        """How OpenAPI shows what picks a page."""
        shown = (
            ("cursor", "The pagination cursor value.", "string"),
            ("page_size", "Number of results to return per page.", "integer"),
        )
        return [
            {
                "name": name,
                "required": False,
                "in": "query",
                "description": description,
                "schema": {"type": kind},
            }
            for name, description, kind in shown
        ]

    def _position(self, request: Request) -> tuple[bool, list[str] | None]:
        """Whether to read backwards, and the row to start behind; None is an end of the list."""
        signed = request.query_params.get("cursor")
        if signed is None:
            return False, None
        backwards, position = self._signer().unsign_object(signed)
        return backwards, position

    def _rows(
        self, queryset: QuerySet[Any], position: list[str] | None, *, backwards: bool
    ) -> QuerySet[Any]:
        """What follows the position, nearest first."""
        names = [column.removeprefix("-") for column in self.ordering]
        descends = self.ordering[0].startswith("-") != backwards
        if position is not None:
            # A comparison of rows is one range of an index, however many rows tie. The bound of
            # the first column follows from it; PostgreSQL does not see that across two tables.
            beyond = TupleLessThan if descends else TupleGreaterThan
            bound = f"{names[0]}__{'lte' if descends else 'gte'}"
            queryset = queryset.filter(
                beyond(Tuple(*map(F, names)), position), **{bound: position[0]}
            )
        return queryset.order_by(*(f"-{name}" if descends else name for name in names))

    def _link(self, url: str, edge: Sequence[Any], *, backwards: bool) -> str:
        """To what lies beyond the edge; of a page that has become empty, to that end of the list.

        As text every value survives JSON, and its column reads it back.
        """
        names = [column.removeprefix("-") for column in self.ordering]
        position = [str(getattr(row, name)) for row in edge for name in names] or None
        signed = self._signer().sign_object([backwards, position])
        return replace_query_param(url, "cursor", signed)

    def _signer(self) -> signing.Signer:
        """Without a time in it: a page that has not changed is the same to the letter."""
        return signing.Signer(salt=f"page:{','.join(self.ordering)}")


def _page_size(request: Request) -> int:
    raw = request.query_params.get("page_size")
    if raw is None:
        return PAGE_SIZE
    if not (raw.isascii() and raw.isdigit()) or not raw.strip("0"):
        raise ValidationFailedError(
            details={"page_size": ["Must be a whole number of at least 1."]}
        )
    # Compared by length first: a number of 5,000 digits is not converted.
    digits = raw.lstrip("0")
    return MAX_PAGE_SIZE if len(digits) > len(str(MAX_PAGE_SIZE)) else min(int(raw), MAX_PAGE_SIZE)
