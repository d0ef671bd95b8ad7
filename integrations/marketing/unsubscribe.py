"""Lets whoever has one of our links stop being written to: without a log-in, by one click.

The link names a customer and is signed, so that nobody can make one for somebody else. It never
ends: a letter may be opened years later, and its link has to work (RFC
8058): by the present `SUPPRESSION_KEY` or a former one.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from config.kernel.errors import NotFoundError
from customers import services as customers

HOW: Final = "link"
SALT: Final = "integrations.marketing.unsubscribe"


def link_for(*, customer_id: int) -> str:
    """The address that a letter's `List-Unsubscribe` and its last line name."""
    path = reverse("unsubscribe", kwargs={"unsubscribe_token": _signer().sign(str(customer_id))})
    return f"{settings.PUBLIC_URL}{path}"


def check(*, token: str) -> int:
    """The customer whom a link names; there need not be one any more.

    Raises:
        NotFoundError: we have not made this link.
    """
    try:
        return int(_signer().unsign(token))
    except (BadSignature, ValueError):
        raise NotFoundError from None


def unsubscribe(*, token: str) -> None:
    """Withdraw the consent of whomever the link names. Repeating it is harmless.

    Says nothing of whether there is such an account, or whether it consented.

    Raises:
        NotFoundError: we have not made this link.
    """
    customers.withdraw_consent(customer_id=check(token=token), how=HOW)


def _signer() -> Signer:
    return Signer(
        key=settings.SUPPRESSION_KEY,
        fallback_keys=[*settings.SUPPRESSION_OLD_KEYS],
        salt=SALT,
        sep=".",
    )
