"""Pages of a list by cursor: no page shifts when rows are added, none is skipped to by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.core import signing
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.utils.urls import replace_query_param

from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from rest_framework.request import Request


class SignedCursorPagination(CursorPagination):
    """`{"next", "previous", "results"}`; views set `ordering`, ending in a unique column.

    A cursor is signed together with the ordering it was made for: one that is forged, or carried
    over to another ordering, is refused rather than read as a position.
    """

    page_size = 20
    max_page_size = 100
    page_size_query_param = "page_size"

    def get_page_size(self, request: Request) -> int:
        raw = request.query_params.get("page_size")
        if raw is None:
            return self.page_size
        if not (raw.isascii() and raw.isdigit()) or not raw.strip("0"):
            raise ValidationFailedError(
                details={"page_size": ["Must be a whole number of at least 1."]}
            )
        # Compared by length first: a number of 5,000 digits is not converted.
        return self.max_page_size if len(raw.lstrip("0")) > 3 else min(int(raw), self.max_page_size)  # noqa: PLR2004 - the maximum has 3 digits

    def decode_cursor(self, request: Request) -> Cursor | None:
        signed = request.query_params.get(self.cursor_query_param)
        if signed is None:
            return None
        try:
            offset, reverse, position = signing.loads(signed, salt=self._salt())
        except signing.BadSignature:
            raise ValidationFailedError(
                details={"cursor": ["This is not a cursor of this list."]}
            ) from None
        return Cursor(offset=offset, reverse=reverse, position=position)

    def encode_cursor(self, cursor: Cursor) -> str:
        signed = signing.dumps([*cursor], salt=self._salt())
        return replace_query_param(cast("str", self.base_url), self.cursor_query_param, signed)

    def _salt(self) -> str:
        return f"cursor:{','.join(self.ordering)}"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """How OpenAPI shows a page."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }
