"""Fits django-allauth to this shop: mail through the outbox, writes of one field, who is asking."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.base.response import ConflictResponse, UnauthorizedResponse
from django.core.exceptions import ValidationError
from django.db import transaction

from audit import services as audit
from config.kernel import request_context
from customers import mail, selectors

if TYPE_CHECKING:
    from allauth.account.models import EmailAddress, EmailConfirmationHMAC
    from django.forms import BaseForm
    from django.http import HttpRequest, HttpResponse

    from customers.models import Customer

LONGEST_EMAIL = 254


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """See `ACCOUNT_ADAPTER`."""

    def clean_email(self, email: str) -> str:
        """Refuse what no mailbox can be called (RFC 5321, 4.5.3.1.3), and the tables do not hold.

        Raises:
            ValidationError: longer than that.
        """
        if len(email) > LONGEST_EMAIL:
            raise ValidationError("This e-mail address is too long.", code="max_length")
        return email

    def save_user(
        self,
        request: HttpRequest,
        user: Customer,
        form: BaseForm,
        commit: bool = True,  # noqa: FBT001, FBT002 - allauth's signature
    ) -> Customer:
        """Make the account and its audit row in one transaction."""
        user.language = request_context.language()
        with transaction.atomic():
            saved: Customer = super().save_user(request, user, form, commit)
            audit.record("CUSTOMER_CREATED", entity_type="customer", entity_id=saved.pk)
        return saved

    def login(self, request: HttpRequest, user: Customer) -> None:
        """Let nobody in who was suspended between the password and the code of the second step."""
        if not user.is_active:
            raise ImmediateHttpResponse(UnauthorizedResponse(request))
        super().login(request, user)

    def post_login(self, request: HttpRequest, user: Customer, **login: Any) -> HttpResponse:
        """Count a sign-up as what it is: the password has just been typed."""
        if login["signup"]:
            record_authentication(request, user, method="password", email=user.email)
        response: HttpResponse = super().post_login(request, user, **login)
        return response

    def is_reauthentication_required(self, *, app: str, **_: Any) -> bool:  # noqa: ARG002
        """Addresses and MFA change only soon after the password was typed, whatever for."""
        records = get_authentication_records(self.request, self.request.user)
        latest = max((record["at"] for record in records), default=0.0)
        return bool(time.time() - latest >= app_settings.REAUTHENTICATION_TIMEOUT)

    def set_password(self, user: Customer, password: str) -> None:
        """Write that one column: a whole row might carry an old status back."""
        user.set_password(password)
        user.save(update_fields=["password"])

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Confirm an address while it is the account's: allauth would write a removed one anew."""
        selectors.lock_customers(customer_ids=[email_address.user_id])
        present = selectors.find_email_address_id(
            customer_id=email_address.user_id, email=email_address.email
        )
        if present != email_address.pk:
            raise ImmediateHttpResponse(ConflictResponse(request))
        confirmed: bool = super().confirm_email(request, email_address)
        return confirmed

    def send_confirmation_mail(
        self,
        request: HttpRequest,  # noqa: ARG002 - allauth's signature
        emailconfirmation: EmailConfirmationHMAC,
        signup: bool,  # noqa: ARG002, FBT001 - likewise
    ) -> None:
        """Have it sent by the outbox: a mail server that is away makes no sign-up fail."""
        address = emailconfirmation.email_address
        mail.announce(mail.VERIFICATION, customer_id=address.user_id, email_address_id=address.pk)

    def send_notification_mail(
        self,
        template_prefix: str,
        user: Customer,
        context: dict[str, Any] | None = None,  # noqa: ARG002 - allauth's signature
        email: str | None = None,
    ) -> None:
        """Tell the owner of a change, in the transaction that makes it.

        Of a change of address the former one is told, which is still among the customer's. Of
        second factors allauth would tell after COMMIT, when it can be lost: our own views do.
        """
        fact = mail.NOTICES.get(template_prefix)
        if fact is None:
            return
        former = (
            selectors.find_email_address_id(customer_id=user.pk, email=email) if email else None
        )
        mail.announce(fact, customer_id=user.pk, email_address_id=former)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Nothing: the backend counts, for the admin as well."""

    def get_client_ip(self, request: HttpRequest) -> str:  # noqa: ARG002 - allauth's signature
        """The address that the edge has found."""
        return request_context.current().ip_address or "unknown"
