"""What comes after an order over HTTP: its returns, its timeline, its documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.pagination import OnePage, SignedCursorPagination
from config.kernel.api.paths import uuid_in_path
from config.kernel.api.schema import (
    BAD_PAGE,
    PAGE,
    Access,
    Answer,
    Refusal,
    operation,
    path_parameter,
)
from config.kernel.api.serializers import MoneyField, StrictCharField, StrictSerializer
from orders import answers, selectors
from orders.api import examples
from orders.api.rights import GUEST_TOKEN, ORDER_NUMBER, own_order
from orders.api.serializers import LinesField
from orders.errors import NotPaidYetError, NotReturnableError
from orders.models import Invoice, Return
from orders.services.invoice_pdf import render
from orders.services.invoicing import issue_invoice
from orders.services.returns import request_return
from orders.services.timeline import timeline

if TYPE_CHECKING:
    from rest_framework.request import Request

MAX_REASON = 500
RETURN_ID = path_parameter("return_id", "As it stands in the return.", example=examples.RETURN_ID)
DOCUMENT_NUMBER = path_parameter(
    "document_number", "As it stands in the list.", example=examples.CREDIT_NOTE_NUMBER
)
NOT_RETURNABLE = Refusal(message=NotReturnableError.message)


class ReturnRequestSerializer(StrictSerializer):
    """`POST /orders/{order_number}/returns`."""

    items = LinesField()
    reason = StrictCharField(max_length=MAX_REASON, multiline=True)


class ReturnLineSerializer(serializers.Serializer[Any]):
    """What shall come back."""

    sku = serializers.CharField()
    quantity = serializers.IntegerField()


class ReturnSerializer(serializers.Serializer[Any]):
    """A return as the buyer reads it."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Return.Status.choices)
    items = ReturnLineSerializer(many=True)
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class TimelineEventSerializer(serializers.Serializer[Any]):
    """One thing that happened to an order."""

    at = serializers.DateTimeField()
    event = serializers.CharField()
    data = serializers.DictField(  # type: ignore[assignment]  # a field, not `Serializer.data`
        required=False, help_text="amounts, parcels, returns; nothing for other events"
    )


class DocumentSerializer(serializers.Serializer[Any]):
    """An invoice, a credit note or its reversal that was issued."""

    document_number = serializers.CharField()
    kind = serializers.ChoiceField(choices=Invoice.Kind.values)
    total_amount = MoneyField()
    currency = serializers.CharField()
    issued_at = serializers.DateTimeField()


class ReturnListView(APIView):
    """Send units of an order back; list what was sent back."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @operation(
        summary="List an order's returns",
        description="Oldest first.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN, *PAGE],
        answers={
            200: Answer(
                body=ReturnSerializer(many=True),
                description="A page of them.",
                examples={"page": examples.RETURN_PAGE},
            )
        },
        refusals={"VALIDATION_FAILED": BAD_PAGE},
        tags=["orders"],
        operation_id="list_returns",
    )
    def get(self, request: Request, order_number: str) -> Response:
        order, _ = own_order(request, order_number)
        found = selectors.list_returns(order_id=order.pk)
        return SignedCursorPagination("id").answer(request, found, answers.return_json)

    @operation(
        summary="Ask to return units of an order",
        description="For staff to accept. Only what was shipped, within the shop's return window.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        body=ReturnRequestSerializer,
        body_examples={"one_unit": examples.RETURN_REQUEST},
        answers={
            201: Answer(
                body=ReturnSerializer,
                description="Asked for.",
                examples={"requested": examples.RETURN},
            )
        },
        errors=["INVALID_TRANSITION"],
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={"items": [{"quantity": ["At most 1 units can be returned."]}]}
            ),
            "INVALID_TRANSITION": NOT_RETURNABLE,
        },
        tags=["orders"],
        operation_id="request_return",
    )
    def post(self, request: Request, order_number: str) -> Response:
        wanted = ReturnRequestSerializer.read(request.data)
        order, _ = own_order(request, order_number)
        wish = request_return(
            order_id=order.pk,
            units={line["sku"]: line["quantity"] for line in wanted["items"]},
            reason=wanted["reason"],
        )
        fresh = selectors.list_returns(order_id=order.pk).get(pk=wish.pk)
        return Response(answers.return_json(fresh), status=201)


class ReturnView(APIView):
    """One return of an order."""

    permission_classes = [AllowAny]

    @operation(
        summary="Read a return",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, RETURN_ID, GUEST_TOKEN],
        answers={
            200: Answer(
                body=ReturnSerializer,
                description="The return as it is now.",
                examples={"requested": examples.RETURN},
            )
        },
        tags=["orders"],
        operation_id="get_return",
    )
    def get(self, request: Request, order_number: str, return_id: str) -> Response:
        order, _ = own_order(request, order_number)
        wish = selectors.get_return(order_id=order.pk, public_id=uuid_in_path(return_id))
        return Response(answers.return_json(wish))


class TimelineView(APIView):
    """What happened to an order."""

    permission_classes = [AllowAny]
    pagination_class = OnePage

    @operation(
        summary="Read an order's timeline",
        description="Oldest first, all on one page: placed, payment_failed, confirmed, cancelled,"
        " shipped, delivered, refund_requested, refunded, return_requested, return_accepted,"
        " return_refused, return_received.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        answers={
            200: Answer(
                body=TimelineEventSerializer(many=True),
                description="All that happened so far.",
                examples={"shipped": examples.TIMELINE},
            )
        },
        tags=["orders"],
        operation_id="get_order_timeline",
    )
    def get(self, request: Request, order_number: str) -> Response:
        order, _ = own_order(request, order_number)
        return OnePage().get_paginated_response(timeline(order))


class InvoiceView(APIView):
    """An order's invoice."""

    permission_classes = [AllowAny]

    @operation(
        summary="Download an order's invoice",
        description="From the moment the order is paid; it stays when the order is cancelled,"
        " and credit notes tell of what was given back.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        answers={
            200: Answer(
                body=OpenApiTypes.BINARY,
                description="The invoice.",
                media_type="application/pdf",
                examples={"pdf": examples.PDF},
            )
        },
        errors=["INVALID_TRANSITION"],
        refusals={"INVALID_TRANSITION": Refusal(message=NotPaidYetError.message)},
        tags=["orders"],
        operation_id="get_invoice",
    )
    def get(self, request: Request, order_number: str) -> HttpResponse:
        order, _ = own_order(request, order_number)
        return _pdf(issue_invoice(order_id=order.pk))


class DocumentListView(APIView):
    """The invoice and the credit notes of an order."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @operation(
        summary="List an order's documents",
        description="The invoice and a credit note for each refund, as soon as they are issued. A"
        " refund that fails afterwards has its credit note taken back by a reversal.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN, *PAGE],
        answers={
            200: Answer(
                body=DocumentSerializer(many=True),
                description="A page of them, oldest first.",
                examples={"refunded": examples.DOCUMENT_PAGE},
            )
        },
        refusals={"VALIDATION_FAILED": BAD_PAGE},
        tags=["orders"],
        operation_id="list_documents",
    )
    def get(self, request: Request, order_number: str) -> Response:
        order, _ = own_order(request, order_number)
        documents = order.invoices.defer("content")
        return SignedCursorPagination("id").answer(request, documents, answers.document_json)


class DocumentView(APIView):
    """One document of an order."""

    permission_classes = [AllowAny]

    @operation(
        summary="Download an invoice, a credit note or a reversal",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, DOCUMENT_NUMBER, GUEST_TOKEN],
        answers={
            200: Answer(
                body=OpenApiTypes.BINARY,
                description="The document.",
                media_type="application/pdf",
                examples={"pdf": examples.PDF},
            )
        },
        tags=["orders"],
        operation_id="get_document",
    )
    def get(self, request: Request, order_number: str, document_number: str) -> HttpResponse:
        order, _ = own_order(request, order_number)
        return _pdf(selectors.get_document(order_id=order.pk, document_number=document_number))


def _pdf(document: Invoice) -> HttpResponse:
    response = HttpResponse(render(document), content_type="application/pdf")
    filename = f"{document.kind.replace('_', '-')}-{document.document_number}.pdf"
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["Cache-Control"] = "private, no-store"
    return response
