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
from orders.services import letters as correspondence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.models import OutboxMessage
    from orders.models import Letter

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

    Args:
        subject: ASCII, so that whoever reads `.eml` files can look for it.
        template: its name under `email/`, without `.txt` and `.html`.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    text, html = _written(template, context)
    _post(recipient=recipient, subject=subject, text=text, html=html, message=message)


def send_about_order(
    *,
    order_id: int,
    recipient: str,
    subject: str,
    template: str,
    context: Mapping[str, Any],
    message: OutboxMessage,
) -> str | None:
    """The same about an order, and keep it for staff to read; one that was sent is not sent again.

    Returns:
        Why nothing was sent, if nothing was.
    """
    text, html = _written(template, context)
    return _send_and_keep(
        order_id=order_id,
        recipient=recipient,
        subject=subject,
        text=text,
        html=html,
        message=message,
    )


def send_again(*, letter: Letter, recipient: str, message: OutboxMessage) -> str | None:
    """The words of a letter about an order once more, and keep that; likewise."""
    return _send_and_keep(
        order_id=letter.order_id,
        recipient=recipient,
        subject=letter.subject,
        text=letter.body_text,
        html=letter.body_html,
        message=message,
        repeats_id=letter.pk,
    )


def _written(template: str, context: Mapping[str, Any]) -> tuple[str, str]:
    text = render_to_string(f"email/{template}.txt", dict(context))
    return text, render_to_string(f"email/{template}.html", dict(context))


def _send_and_keep(
    *,
    order_id: int,
    recipient: str,
    subject: str,
    text: str,
    html: str,
    message: OutboxMessage,
    repeats_id: int | None = None,
) -> str | None:
    if correspondence.find_sent(message=message):
        return "not sent: it was sent already"
    _post(recipient=recipient, subject=subject, text=text, html=html, message=message)
    correspondence.keep_letter(
        order_id=order_id,
        message=message,
        recipient=recipient,
        subject=subject,
        body_text=text,
        body_html=html,
        repeats_id=repeats_id,
    )
    return None


def _post(*, recipient: str, subject: str, text: str, html: str, message: OutboxMessage) -> None:
    """Hand it to the mail server.

    The `Message-ID` is made from the outbox message's uuid, so that a repetition (the relay died
    after sending, before noting it) can be recognised as the same e-mail.
    """
    email = EmailMultiAlternatives(
        subject=subject,
        body=text,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[recipient],
        headers={
            "Message-ID": f"<{message.uuid}@{_message_id_domain()}>",
            "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office answers, please
        },
    )
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
