"""The public catalogue."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.cache import patch_cache_control
from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.pagination import SignedCursorPagination
from config.kernel.api.schema import operation
from inventory import selectors
from inventory.api.serializers import (
    CategorySerializer,
    ProductDetailQuerySerializer,
    ProductQuerySerializer,
    ProductSerializer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http.response import HttpResponseBase
    from rest_framework.request import Request

CACHED_SECONDS = 2  # a change of price or stock has to show within two seconds


def _publicly_cached(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Good answers may be kept by anybody; an error, with its request's id, by nobody."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(*args, **kwargs)
        if response.status_code == 200:  # noqa: PLR2004
            patch_cache_control(response, public=True, max_age=CACHED_SECONDS)
        return response

    return answer


cacheable = method_decorator([conditional_page, _publicly_cached], "dispatch")


@cacheable
class ProductListView(APIView):
    """Browse what is sold."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @operation(
        summary="List products",
        query=ProductQuerySerializer,
        responses={200: ProductSerializer(many=True)},
        tags=["catalogue"],
        operation_id="list_products",
        public=True,
    )
    def get(self, request: Request) -> Response:
        wanted = ProductQuerySerializer.read(request)
        currency = wanted.pop("currency", settings.SHOP_CURRENCY)
        paginator = SignedCursorPagination()
        paginator.ordering = selectors.ORDERINGS[wanted.pop("ordering")]
        products = selectors.list_products(currency=currency, **wanted)
        page = paginator.paginate_queryset(products, request, view=self)
        shown = ProductSerializer(page, many=True, context={"currency": currency})
        return paginator.get_paginated_response(shown.data)


@cacheable
class ProductView(APIView):
    """One product."""

    permission_classes = [AllowAny]

    @operation(
        summary="Read a product",
        query=ProductDetailQuerySerializer,
        responses={200: ProductSerializer},
        errors=["NOT_FOUND"],
        tags=["catalogue"],
        operation_id="get_product",
        public=True,
    )
    def get(self, request: Request, sku: str) -> Response:
        wanted: dict[str, Any] = ProductDetailQuerySerializer.read(request)
        currency = wanted.get("currency", settings.SHOP_CURRENCY)
        product = selectors.get_product(sku=sku, currency=currency)
        return Response(ProductSerializer(product, context={"currency": currency}).data)


@cacheable
class CategoryListView(APIView):
    """The shelves of the shop."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @operation(
        summary="List categories",
        responses={200: CategorySerializer(many=True)},
        tags=["catalogue"],
        operation_id="list_categories",
        public=True,
    )
    def get(self, request: Request) -> Response:
        paginator = SignedCursorPagination()
        paginator.ordering = ("name", "id")
        page = paginator.paginate_queryset(selectors.list_categories(), request, view=self)
        return paginator.get_paginated_response(CategorySerializer(page, many=True).data)
