"""States what customers are told by e-mail, as facts in the outbox.

A fact holds ids alone: no address, no key. Whoever sends the letter looks the address up and makes
the key at that moment, so no secret lies in a table and a key's life begins when it is sent.
"""

from __future__ import annotations

from typing import Final

from audit import services as audit
from config.kernel.models import new_uuid

VERIFICATION: Final = "account.verification_requested"
PASSWORD_RESET: Final = "account.password_reset_requested"  # noqa: S105 - no password
PASSWORD_CHANGED: Final = "account.password_changed"  # noqa: S105 - likewise
NOTICES: Final = {
    "account/email/password_changed": PASSWORD_CHANGED,
    "account/email/password_set": PASSWORD_CHANGED,
    "account/email/password_reset": PASSWORD_CHANGED,
    "account/email/email_changed": "account.email_changed",
    "account/email/email_deleted": "account.email_removed",
}
"""By the name of the template that allauth would send."""
MFA_ACTIVATED: Final = "account.mfa_activated"
MFA_DEACTIVATED: Final = "account.mfa_deactivated"
RECOVERY_CODES_MADE: Final = "account.recovery_codes_made"
FACTS: Final = (
    VERIFICATION,
    PASSWORD_RESET,
    *sorted(set(NOTICES.values())),
    MFA_ACTIVATED,
    MFA_DEACTIVATED,
    RECOVERY_CODES_MADE,
)
NOBODY: Final = 0


def announce(fact: str, *, customer_id: int | None, email_address_id: int | None = None) -> None:
    """State one of `FACTS`. Requires an open transaction, that of the change if there is one.

    Args:
        customer_id: whose account; None: nobody's, so that asking for what does not exist leaves
            the same behind, in the same time.
        email_address_id: the address of theirs to write to; None: their present one.
    """
    audit.publish(
        fact,
        aggregate_type="customer",
        aggregate_id=customer_id or NOBODY,
        dedupe_key=f"{fact}:{new_uuid()}",
        payload={"customer_id": customer_id, "email_address_id": email_address_id},
    )
