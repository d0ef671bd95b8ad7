"""The public catalogue; `inventory.api.caching` stands in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.pagination import SignedCursorPagination
from config.kernel.api.schema import (
    BAD_PAGE,
    PAGE,
    Access,
    Answer,
    Refusal,
    header,
    operation,
    path_parameter,
)
from inventory import selectors
from inventory.api import examples
from inventory.api.serializers import (
    CategorySerializer,
    ProductDetailQuerySerializer,
    ProductDetailSerializer,
    ProductQuerySerializer,
    ProductSerializer,
)

if TYPE_CHECKING:
    from rest_framework.request import Request

IF_NONE_MATCH = header(
    "If-None-Match",
    "The `ETag` of an answer that is at hand.",
    example='"b4c2d820c1aee91c31cd95e7df51a8f6"',
)
CACHING = ("ETag", "Cache-Control")
NOT_MODIFIED = Answer(
    body=None,
    description="The answer with the `ETag` of `If-None-Match` is still good.",
    headers=CACHING,
)


class ProductListView(APIView):
    """Browse what is sold."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @operation(
        summary="List products",
        access=Access.PUBLIC,
        query=ProductQuerySerializer,
        parameters=[*PAGE, IF_NONE_MATCH],
        answers={
            200: Answer(
                body=ProductSerializer(many=True),
                description="A page of them.",
                examples={"page": examples.PRODUCT_PAGE},
                headers=CACHING,
            ),
            304: NOT_MODIFIED,
        },
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={"ordering": ["This is not one of the allowed values."]}
            )
        },
        tags=["catalogue"],
        operation_id="list_products",
    )
    def get(self, request: Request) -> Response:
        wanted = ProductQuerySerializer.read(request)
        currency = wanted.pop("currency", settings.SHOP_CURRENCY)
        paginator = SignedCursorPagination(*_ordering(wanted))
        products = selectors.list_products(currency=currency, **wanted)
        page = paginator.paginate_queryset(products, request, view=self)
        shown = ProductSerializer(page, many=True, context={"currency": currency})
        return paginator.get_paginated_response(shown.data)


def _ordering(wanted: dict[str, Any]) -> tuple[str, ...]:
    """The columns to order by."""
    ordering = wanted.get("ordering")
    if ordering is None and wanted.get("search"):
        return selectors.BY_RELEVANCE
    return selectors.ORDERINGS[ordering or "name"]


class ProductView(APIView):
    """One product."""

    permission_classes = [AllowAny]

    @operation(
        summary="Read a product",
        access=Access.PUBLIC,
        query=ProductDetailQuerySerializer,
        parameters=[
            path_parameter("sku", "In upper case.", example=examples.PRODUCT["sku"]),
            IF_NONE_MATCH,
        ],
        answers={
            200: Answer(
                body=ProductDetailSerializer,
                description="The product.",
                examples={"product": examples.PRODUCT_DETAIL},
                headers=CACHING,
            ),
            304: NOT_MODIFIED,
        },
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={"currency": ["Must be a supported ISO 4217 code like USD."]}
            )
        },
        tags=["catalogue"],
        operation_id="get_product",
    )
    def get(self, request: Request, sku: str) -> Response:
        wanted: dict[str, Any] = ProductDetailQuerySerializer.read(request)
        currency = wanted.get("currency", settings.SHOP_CURRENCY)
        product = selectors.get_product(sku=sku, currency=currency)
        return Response(ProductDetailSerializer(product, context={"currency": currency}).data)


class CategoryListView(APIView):
    """The shelves of the shop."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @operation(
        summary="List categories",
        access=Access.PUBLIC,
        parameters=[*PAGE, IF_NONE_MATCH],
        answers={
            200: Answer(
                body=CategorySerializer(many=True),
                description="A page of them.",
                examples={"page": examples.CATEGORY_PAGE},
                headers=CACHING,
            ),
            304: NOT_MODIFIED,
        },
        refusals={"VALIDATION_FAILED": BAD_PAGE},
        tags=["catalogue"],
        operation_id="list_categories",
    )
    def get(self, request: Request) -> Response:
        paginator = SignedCursorPagination("name", "id")
        page = paginator.paginate_queryset(selectors.list_categories(), request, view=self)
        return paginator.get_paginated_response(CategorySerializer(page, many=True).data)
