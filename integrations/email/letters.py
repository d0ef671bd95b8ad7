"""Sends one letter: what every e-mail of the shop has in common, and how a refusal is told."""

from __future__ import annotations

import smtplib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email
from django.template.loader import render_to_string

from audit.outbox import DeliveryFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.models import OutboxMessage

# RFC 2606: no mail ever goes to this domain; an erased account's address ends in it.
UNDELIVERABLE_DOMAIN = ".invalid"


def is_deliverable(address: str) -> bool:
    """Whether mail to this address can arrive at all."""
    try:
        validate_email(address)
    except ValidationError:
        return False
    return not address.endswith(UNDELIVERABLE_DOMAIN)


def send(
    *,
    recipient: str,
    subject: str,
    template: str,
    context: Mapping[str, Any],
    message: OutboxMessage,
) -> None:
    """Send it, as text and as HTML; must not be called inside a transaction.

    The `Message-ID` is made from the outbox message's uuid, so that a repetition (the relay died
    after sending, before noting it) can be recognised as the same e-mail.

    Args:
        subject: ASCII, so that whoever reads `.eml` files can look for it.
        template: its name under `email/`, without `.txt` and `.html`.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    email = EmailMultiAlternatives(
        subject=subject,
        body=render_to_string(f"email/{template}.txt", dict(context)),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[recipient],
        headers={
            "Message-ID": f"<{message.uuid}@{_message_id_domain()}>",
            "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office answers, please
        },
    )
    html = render_to_string(f"email/{template}.html", dict(context))
    email.attach_alternative(html, "text/html")
    email.about = f"{message.aggregate_type}-{message.aggregate_id}"  # type: ignore[attr-defined]  # for the file's name
    try:
        email.send()
    except smtplib.SMTPRecipientsRefused as exc:
        codes = sorted({code for code, _ in exc.recipients.values()})
        raise DeliveryFailedError(f"recipient refused: SMTP {codes}") from exc
    except smtplib.SMTPResponseException as exc:
        raise DeliveryFailedError(f"{type(exc).__name__}: SMTP {exc.smtp_code}") from exc


def _message_id_domain() -> str:
    host = urlsplit(settings.PUBLIC_URL).hostname or "orderkeep"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - RFC 5322 domain literal
