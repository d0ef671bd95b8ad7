"""The queue of what no machine may decide: one open case for each thing that needs a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from audit import services as audit
from config.kernel.db import short_transaction
from payments.models import Payment, ReconciliationCase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

log = structlog.get_logger(__name__)


def open_case(
    *,
    classification: ReconciliationCase.Classification,
    subject: str,
    payment: Payment | None,
    problem: str,
) -> bool:
    """Put something before a person, unless it lies there already; told once, by log and audit.

    Opens its own transaction, or a savepoint in the caller's.

    Args:
        subject: the provider's id of what it is about.

    Returns:
        Whether it is a new case.
    """
    with transaction.atomic():
        case, is_new = ReconciliationCase.objects.update_or_create(
            classification=classification,
            subject=subject,
            resolved_at=None,
            defaults={"payment": payment, "problem": problem[:500], "last_seen_at": Now()},
        )
        if is_new:
            log.error("reconciliation_case_opened", case=case.pk, subject=subject, problem=problem)
            audit.record(
                "RECONCILIATION_CASE_OPENED",
                entity_type="order" if payment else None,
                entity_id=payment.order_id if payment else None,
                data={"case": case.pk, "classification": classification, "subject": subject},
            )
    return is_new


def resolve_cases(*, found: Collection[tuple[str, str]], looked_at: Collection[str]) -> int:
    """Close the cases of what was looked at and is in order now. Opens its own transaction.

    Args:
        found: classification and subject of what is still not in order.
        looked_at: the subjects that the comparison has seen.

    Returns:
        How many were closed.
    """
    closed = 0
    with short_transaction():
        for case in ReconciliationCase.objects.filter(resolved_at=None).order_by("id"):
            if case.subject in looked_at and (case.classification, case.subject) not in found:
                closed += close_case(case, event_type="RECONCILIATION_CASE_RESOLVED")
    return closed


def note_looked_up(*, subjects: Collection[str], intent_ids: Collection[str]) -> None:
    """Put open cases behind those that were not looked up for longer. Opens its own transaction.

    Args:
        subjects: what was looked up itself.
        intent_ids: whose payment was.
    """
    ReconciliationCase.objects.filter(
        Q(subject__in=subjects) | Q(payment__payment_intent_id__in=intent_ids), resolved_at=None
    ).update(last_seen_at=Now())


def close_case(
    case: ReconciliationCase, *, event_type: str, data: Mapping[str, Any] | None = None
) -> bool:
    """Close a case and say by audit how, unless somebody was faster. Requires a transaction.

    Returns:
        Whether it was closed now.
    """
    is_open = ReconciliationCase.objects.filter(pk=case.pk, resolved_at=None)
    if not is_open.update(resolved_at=Now()):
        return False
    audit.record(event_type, data={"case": case.pk, "subject": case.subject, **(data or {})})
    return True
