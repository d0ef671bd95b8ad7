"""Sends one letter: what every e-mail of the shop has in common, and how a refusal is told."""

from __future__ import annotations

import smtplib
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from anymail.exceptions import AnymailAPIError, AnymailRecipientsRefused
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email

from audit.outbox import DeliveryFailedError, ReceiverAwayError, RejectedError
from customers import suppressions
from integrations.email import content
from integrations.rest import AWAY
from orders.services import letters as correspondence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.models import OutboxMessage
    from integrations.email.content import Letter
    from integrations.email.reader import Reader
    from orders.models import Letter as KeptLetter
    from orders.models import Order

# RFC 2606: no mail ever goes to this domain; an erased account's address ends in it.
UNDELIVERABLE_DOMAIN: Final = ".invalid"
ON_ITS_WAY: Final = frozenset({"queued", "sent"})  # what anymail calls it
CLOSING: Final = 421  # SMTP: the service is not available and hangs up
FOR_GOOD: Final = 500  # SMTP: whatever begins with 5
NO_ADDRESS: Final = "no address left to send it to"


def is_deliverable(address: str) -> bool:
    """Whether this is an address at all, and nobody's who was erased."""
    try:
        validate_email(address)
    except ValidationError:
        return False
    return not address.endswith(UNDELIVERABLE_DOMAIN)


def why_unreachable(address: str) -> str | None:
    """Why mail to this address cannot arrive, if so."""
    if not is_deliverable(address):
        return NO_ADDRESS
    reason = suppressions.find_reason(address=address)
    return f"the address is suppressed: {reason.label.lower()}" if reason else None


def send(*, recipient: str, letter: Letter, reader: Reader, message: OutboxMessage) -> None:
    """Send it, as text and as HTML; must not be called inside a transaction.

    Raises:
        ReceiverAwayError: the mail server is not there, or takes nothing.
        RejectedError: it will never take this letter, or none to this address.
        DeliveryFailedError: it did not take it now. All say its code, never the address.
    """
    text, html = content.written(letter, reader=reader)
    _post(recipient=recipient, subject=letter.subject, text=text, html=html, message=message)


def send_about_order(
    *, order: Order, recipient: str, letter: Letter, reader: Reader, message: OutboxMessage
) -> str | None:
    """The same about an order, and keep it for staff to read; one that was sent is not sent again.

    Returns:
        Why nothing was sent, if nothing was.
    """
    text, html = content.written(letter, reader=reader)
    return _send_and_keep(
        order=order,
        recipient=recipient,
        subject=letter.subject,
        text=text,
        html=html,
        message=message,
    )


def send_again(
    *, letter: KeptLetter, order: Order, recipient: str, message: OutboxMessage
) -> str | None:
    """The words of a letter about this order once more, and keep that; likewise."""
    return _send_and_keep(
        order=order,
        recipient=recipient,
        subject=letter.subject,
        text=letter.body_text,
        html=letter.body_html,
        message=message,
        repeats_id=letter.pk,
    )


def _send_and_keep(
    *,
    order: Order,
    recipient: str,
    subject: str,
    text: str,
    html: str,
    message: OutboxMessage,
    repeats_id: int | None = None,
) -> str | None:
    if correspondence.find_sent(message=message):
        return "not sent: it was sent already"
    _post(
        recipient=recipient,
        subject=subject,
        text=text,
        html=html,
        message=message,
        headers={"X-Order-Number": order.order_number},
    )
    correspondence.keep_letter(
        order_id=order.pk,
        message=message,
        recipient=recipient,
        subject=subject,
        body_text=text,
        body_html=html,
        repeats_id=repeats_id,
    )
    return None


def _post(
    *,
    recipient: str,
    subject: str,
    text: str,
    html: str,
    message: OutboxMessage,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Hand it to the mail server, or to the provider's API.

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
            **headers,
        },
    )
    email.attach_alternative(html, "text/html")
    email.about = f"{message.aggregate_type}-{message.aggregate_id}"  # type: ignore[attr-defined]  # for the file's name
    if settings.EMAIL_PROVIDER == "postmark":
        email.extra_headers["X-PM-KeepID"] = "true"  # it would give it an id of its own
    try:
        email.send()
    except AnymailRecipientsRefused as exc:
        raise RejectedError("the e-mail provider does not write to this address") from exc
    except AnymailAPIError as exc:
        raise _failure_of_provider(exc) from exc
    except OSError as exc:  # smtplib's are, and those of the directory of files
        raise _failure_of_server(exc) from exc
    status = getattr(email, "anymail_status", None)
    if status is not None and status.status and not status.status <= ON_ITS_WAY:
        raise RejectedError("the e-mail provider did not take it")


def _failure_of_server(exc: OSError) -> DeliveryFailedError:
    """By its code alone: its words quote the address.

    Only what it says to the recipient or the content is about this letter. The sender and the
    log-in are those of every letter.
    """
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        refused, code = "the recipient", max(code for code, _ in exc.recipients.values())
    elif isinstance(exc, smtplib.SMTPDataError):
        refused, code = "the letter", exc.smtp_code
    else:
        said = f": SMTP {exc.smtp_code}" if isinstance(exc, smtplib.SMTPResponseException) else ""
        return ReceiverAwayError(f"the mail server takes nothing: {type(exc).__name__}{said}")
    problem = f"the mail server refuses {refused}: SMTP {code}"
    if code == CLOSING:
        return ReceiverAwayError(problem)
    return RejectedError(problem) if code >= FOR_GOOD else DeliveryFailedError(problem)


def _failure_of_provider(exc: AnymailAPIError) -> DeliveryFailedError:
    """By its status alone: its words quote the address."""
    status: int | None = exc.status_code
    if status is None:
        return ReceiverAwayError("the e-mail provider does not answer")
    problem = f"the e-mail provider answers HTTP {status}"
    if status in AWAY or status >= 500:  # noqa: PLR2004 - its own trouble
        return ReceiverAwayError(problem)
    return RejectedError(problem)


def _message_id_domain() -> str:
    host = urlsplit(settings.PUBLIC_URL).hostname or "orderkeep"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - RFC 5322 domain literal
