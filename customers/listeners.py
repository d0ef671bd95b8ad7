"""Writes log-ins and log-outs, of customers and staff alike, into the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.signals import email_changed, email_confirmed, password_changed, password_reset
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

from audit import services as audit
from config.kernel import request_context
from customers import services, throttling
from customers.selectors import find_customer_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from customers.models import Customer


def connect() -> None:
    """Called once, when the app is ready."""
    user_logged_in.connect(_on_login, dispatch_uid="customers.login")
    user_logged_out.connect(_on_logout, dispatch_uid="customers.logout")
    user_login_failed.connect(_on_login_failed, dispatch_uid="customers.login_failed")
    password_changed.connect(_on_password_changed, dispatch_uid="customers.password_changed")
    password_reset.connect(_on_password_reset, dispatch_uid="customers.password_reset")
    email_confirmed.connect(_on_email_confirmed, dispatch_uid="customers.email_confirmed")
    email_changed.connect(_on_email_changed, dispatch_uid="customers.email_changed")


def _on_login(*, user: Customer, **_: Any) -> None:
    request_context.set_user(user_id=user.pk)
    _record("LOGIN", customer_id=user.pk)


def _on_logout(*, user: Customer | None, **_: Any) -> None:
    if user is None:
        return
    request_context.set_user(user_id=user.pk)
    _record("LOGOUT", customer_id=user.pk)


def _on_login_failed(*, credentials: Mapping[str, Any], **_: Any) -> None:
    """Names the account where there is one, never the address that was typed."""
    email = credentials.get("email") or credentials.get("username") or ""
    _record("LOGIN_FAILED", customer_id=find_customer_id(email=email))


def _on_password_changed(*, user: Customer, **_: Any) -> None:
    _record("PASSWORD_CHANGED", customer_id=user.pk)


def _on_password_reset(*, request: HttpRequest, user: Customer, **_: Any) -> None:
    _record("PASSWORD_CHANGED", customer_id=user.pk)
    services.evict_squatter(customer_id=user.pk, session_key=request.session.session_key)
    throttling.welcome_back(email=user.email)


def _on_email_confirmed(*, email_address: Any, **_: Any) -> None:
    services.note_verified_email(
        customer_id=email_address.user_id,
        email_address_id=email_address.pk,
        email=email_address.email,
    )


def _on_email_changed(*, user: Customer, to_email_address: Any, **_: Any) -> None:
    services.note_changed_email(
        customer_id=user.pk, email=to_email_address.email, verified=to_email_address.verified
    )


def _record(event_type: str, *, customer_id: int | None) -> None:
    audit.record(event_type, entity_type="customer", entity_id=customer_id)
