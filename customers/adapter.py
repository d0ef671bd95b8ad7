"""Fits django-allauth to this shop: rate limits, mail that may fail, writes of one field."""

from __future__ import annotations

import time
from smtplib import SMTPException
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.headless.base.response import RateLimitResponse
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from audit import services as audit
from config.kernel import request_context

if TYPE_CHECKING:
    from django.core.mail import EmailMessage
    from django.forms import BaseForm
    from django.http import HttpRequest, HttpResponse

    from customers.models import Customer

log = structlog.get_logger(__name__)

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
        with transaction.atomic():
            saved: Customer = super().save_user(request, user, form, commit)
            audit.record("CUSTOMER_CREATED", entity_type="customer", entity_id=saved.pk)
        return saved

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

    def render_mail(
        self,
        template_prefix: str,
        email: str | list[str],
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> EmailMessage:
        """Call the shop by its configured address, not by the Host that a request came with."""
        host = urlsplit(settings.PUBLIC_URL).netloc
        named = {**context, "current_site": SimpleNamespace(name=host, domain=host)}
        rendered: EmailMessage = super().render_mail(template_prefix, email, named, headers)
        return rendered

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail server that is away must not make a sign-up fail; mail can be asked for again."""
        try:
            super().send_mail(template_prefix, email, context)
        except (OSError, SMTPException) as exc:
            log.warning("account_mail_not_sent", template=template_prefix, error=type(exc).__name__)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse with 429 whoever has failed too often."""
        usage = ratelimit.consume(
            request,
            app="allauth.account",
            action="login_failed",
            key=self._get_login_attempts_cache_key(request, **credentials),
        )
        if not usage:
            raise ImmediateHttpResponse(RateLimitResponse(request))
        self._login_failed_rl_usage = usage

    def get_client_ip(self, request: HttpRequest) -> str:  # noqa: ARG002 - allauth's signature
        """The address that the edge has found."""
        return request_context.current().ip_address or "unknown"

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Account and address together: nobody can lock an account for its owner elsewhere."""
        login = credentials.get("email") or credentials.get("username") or ""
        return f"{login.lower()}|{self.get_client_ip(request)}"
