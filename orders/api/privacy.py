"""All that is held on a customer: to read, and to be rid of."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.addresses import AddressSerializer
from config.kernel.api.schema import Access, Answer, Refusal, operation
from config.kernel.api.serializers import MoneyField
from customers.api.views import ProfileView
from customers.errors import StaffAccountError
from orders.api import examples
from orders.api.after_sales import DocumentSerializer, ReturnSerializer
from orders.api.serializers import (
    ActivitySerializer,
    BoughtSerializer,
    ExportedAccountSerializer,
    ExportedAddressSerializer,
    ExportedCartSerializer,
    ExportedEmailSerializer,
    GuestSerializer,
    OrderSerializer,
    StockAlertSerializer,
)
from orders.models import RefundProposal
from orders.services import privacy
from payments.models import Refund

if TYPE_CHECKING:
    from rest_framework.request import Request


class ExportedRefundSerializer(serializers.Serializer[Any]):
    """Money given back, or on its way."""

    status = serializers.ChoiceField(choices=Refund.Status.choices)
    amount = MoneyField()
    currency = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class ExportedReturnSerializer(ReturnSerializer):
    """A return, and why it was refused, if it was."""

    refusal = serializers.CharField()


class BuyerSerializer(serializers.Serializer[Any]):
    """Whom a document names."""

    billing_address = AddressSerializer(required=False)
    shipping_address = AddressSerializer(required=False)


class ExportedDocumentSerializer(DocumentSerializer):
    """A document, and whom it names."""

    buyer = BuyerSerializer()


class ExportedLetterSerializer(serializers.Serializer[Any]):
    """An e-mail about an order, as it was sent."""

    recipient = serializers.CharField()
    subject = serializers.CharField()
    text = serializers.CharField()
    sent_at = serializers.DateTimeField()


class RefundProposalSerializer(serializers.Serializer[Any]):
    """A refund that takes two of staff: what one wished, and what another said to it."""

    status = serializers.ChoiceField(choices=RefundProposal.Status.choices)
    amount = MoneyField()
    currency = serializers.CharField()
    reason = serializers.CharField(help_text="In staff's words.")
    refusal = serializers.CharField(help_text="Likewise.")
    proposed_at = serializers.DateTimeField()


class ExportedSuppressionSerializer(serializers.Serializer[Any]):
    """That an address of theirs is not written to, or was not."""

    reason = serializers.CharField(help_text="`bounced` or `complained`")
    created_at = serializers.DateTimeField()
    lifted_at = serializers.DateTimeField(allow_null=True)


class StaffNoteSerializer(serializers.Serializer[Any]):
    """What staff wrote down, for each other."""

    text = serializers.CharField()
    created_at = serializers.DateTimeField()


class ExportedPaymentLinkSerializer(GuestSerializer):
    """An order that was put together on the telephone."""

    shipping_address = AddressSerializer()
    notes = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class ExportedOrderSerializer(OrderSerializer):
    """An order with whatever else is kept of it; a guest's, claimed since, with its guest."""

    cancellation_reason = serializers.CharField()
    language = serializers.CharField()
    guest_email = serializers.CharField(allow_null=True)
    guest_first_name = serializers.CharField()
    guest_last_name = serializers.CharField()
    refunds = ExportedRefundSerializer(many=True)
    refund_proposals = RefundProposalSerializer(many=True)
    returns = ExportedReturnSerializer(many=True)
    documents = ExportedDocumentSerializer(many=True)
    letters = ExportedLetterSerializer(many=True)
    staff_notes = StaffNoteSerializer(many=True)


class ExportSerializer(serializers.Serializer[Any]):
    """`GET /me/export`."""

    exported_at = serializers.DateTimeField()
    account = ExportedAccountSerializer()
    email_addresses = ExportedEmailSerializer(many=True)
    addresses = ExportedAddressSerializer(many=True)
    bought = BoughtSerializer(many=True)
    staff_notes = StaffNoteSerializer(many=True)
    email_suppressions = ExportedSuppressionSerializer(many=True)
    activity = ActivitySerializer(many=True)
    orders = ExportedOrderSerializer(many=True)
    carts = ExportedCartSerializer(many=True)
    payment_links = ExportedPaymentLinkSerializer(many=True)
    told_to_others = serializers.DictField(
        child=serializers.JSONField(), help_text="What other systems were told, by their names."
    )
    stock_alerts = StockAlertSerializer(many=True)


class MeView(ProfileView):
    """One's profile, and its end, in which orders have a part."""

    @operation(
        summary="Erase me",
        description="The account is gone at once, with its sessions, addresses and cart: a token"
        " is 401 from then on. Orders are kept for the books and lose the person moments later; one"
        " that is still to be sent keeps its address until then. This cannot be undone.",
        access=Access.TOKEN,
        answers={204: Answer(body=None, description="It is done.")},
        errors=["INVALID_TRANSITION"],
        refusals={"INVALID_TRANSITION": Refusal(message=StaffAccountError.message)},
        tags=["me"],
        operation_id="erase_me",
    )
    def delete(self, request: Request) -> Response:
        privacy.erase_customer(customer_id=cast("int", request.user.pk), now=timezone.now())
        return Response(status=HTTPStatus.NO_CONTENT)


class ExportView(APIView):
    """A copy of everything."""

    throttle_scope = "export"

    @operation(
        summary="Export everything held on me",
        description="Account, addresses, carts, orders with their refunds, returns, documents and"
        " letters, what staff has noted, and what the log says of the account. Cards are not held"
        " here but by the payment provider: see `GET /me/payment-methods`.",
        access=Access.TOKEN,
        answers={
            200: Answer(
                body=ExportSerializer,
                description="All of it, as of now.",
                examples={"export": examples.EXPORT},
            )
        },
        tags=["me"],
        operation_id="export_me",
    )
    def get(self, request: Request) -> Response:
        customer_id = cast("int", request.user.pk)
        return Response(privacy.export_customer(customer_id=customer_id, now=timezone.now()))
