"""Everything that happened to an account, as staff is told: in words, by whom, from the audit log.

The log is kept for thirteen months and names no person but those who did it. Three statements, by
the index of the log's rows by what they are about; an order's story is `orders.services.history`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from audit.models import AuditLog
from orders.services.history import (
    BEFORE_IT_WAS,
    BUYER,
    MOST_OF_A_KIND,
    PRESSED,
    SYSTEM,
    Happening,
    Severity,
    names_of,
    pressed,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from customers.models import Customer

SOMEBODY: Final = "somebody who was not logged in"
WORDS: Final = {
    "CUSTOMER_CREATED": "Signed up",
    "CUSTOMER_UPDATED": "Changed their particulars",
    "CUSTOMER_EMAIL_VERIFIED": "Showed that the e-mail address is theirs",
    "CUSTOMER_EMAIL_CHANGED": "The e-mail address was changed",
    "CUSTOMER_EXPORTED": "Everything held on them was exported",
    "CUSTOMER_ERASED": "Erased",
    "CUSTOMER_SUSPENDED": "Suspended",
    "CUSTOMER_REACTIVATED": "Made active again",
    "CUSTOMER_TIER_CHANGED": "The tier was changed",
    "LOGIN": "Logged in",
    "LOGOUT": "Logged out",
    "LOGIN_FAILED": "Somebody did not know the password",
    "SECOND_FACTOR_FAILED": "Somebody knew the password, and had no second factor",
    "SECOND_FACTOR_RESET": "The second factor was taken away",
    "MFA_ACTIVATED": "A second factor was set up",
    "MFA_DEACTIVATED": "The second factor is gone",
    "RECOVERY_CODES_MADE": "New recovery codes were made",
    "PASSWORD_CHANGED": "The password was changed",
    "SESSIONS_ENDED": "Sessions were ended",
    "MARKETING_CONSENT_GIVEN": "Agreed to be written to",
    "MARKETING_CONSENT_WITHDRAWN": "Does not want to be written to any more",
    "SUPPORT_CONTEXT_READ": "Looked up by customer service's chat tool",
    "PROVIDER_CUSTOMER_NOTED": "The payment provider knows them, for saved cards",
    "PROVIDER_CUSTOMER_FORGOTTEN": "The payment provider does not know them any more",
    "STAFF_CHANGED": "Particulars were corrected",
}
ODD: Final = {"LOGIN_FAILED", "SECOND_FACTOR_FAILED", "CUSTOMER_SUSPENDED", "CUSTOMER_ERASED"}
# What came of a button stands in the rows of what it did; notes are read beside this.
TOLD_ELSEWHERE: Final = ("CUSTOMER_NOTE_ADDED", "STAFF_ACTION_DONE")


def account_history(customer: Customer) -> list[Happening]:
    """The newest things that happened to an account, oldest first."""
    rows = AuditLog.objects.filter(
        entity_type="customer",
        entity_id=customer.pk,
        created_at__gte=customer.created_at - BEFORE_IT_WAS,
    ).exclude(event_type__in=TOLD_ELSEWHERE)
    newest = list(rows.order_by("-created_at", "-pk")[:MOST_OF_A_KIND])
    names = names_of({row.user_id for row in newest})
    return [_told(row, _who(row, customer, names)) for row in reversed(newest)]


def _told(row: AuditLog, who: str) -> Happening:
    data: Mapping[str, Any] = row.data or {}
    if row.event_type in PRESSED:
        return pressed(row, data, who)
    words = row.event_type.replace("_", " ").capitalize()
    return Happening(
        at=row.created_at,
        who=who,
        kind="account",
        title=WORDS.get(row.event_type, words),
        detail=_detail(data),
        target=("audit.auditlog", row.pk),
        severity=Severity.ODD if row.event_type in ODD else Severity.PLAIN,
    )


def _detail(data: Mapping[str, Any]) -> str:
    """`before` and `after` as a step; names of fields as words; all else as it stands."""
    if "before" in data and "after" in data:
        changed = ", ".join(map(_words, data.get("changed", ())))
        return said(changed, _step(data["before"], data["after"]))
    return "; ".join(f"{_words(name)}: {_value(value)}" for name, value in data.items() if value)


def _step(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        return "; ".join(
            f"{_words(name)}: {_step(before.get(name), after[name])}" for name in after
        )
    return f"{before or 'none'} → {after or 'none'}"


def _value(value: Any) -> str:
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def _who(row: AuditLog, customer: Customer, names: Mapping[int, str]) -> str:
    if row.user_id is None:
        return SYSTEM if row.ip_address is None else SOMEBODY
    if row.user_id == customer.pk and not customer.is_staff:
        return BUYER
    return names.get(row.user_id, f"account {row.user_id}")
