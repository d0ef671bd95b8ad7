"""The alert rules for Prometheus: one an invariant, and two for checks that do not come.

`check_books --alert-rules` prints them; docs/alerts/books.yml is that, committed.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from orders.books.invariants import INVARIANTS

VIOLATIONS: Final = "orderkeep_books_violations"
CHECKED_AT: Final = "orderkeep_books_checked_timestamp_seconds"
# Checked every hour, of which one may fail; compared with the provider every night.
STALE_SECONDS: Final = {"database": 2 * 3_600 + 1_800, "provider": 26 * 3_600}

_BY_PROVIDER: Final = ("I15", "I16", "I17")
_BY_JOURNAL: Final = ("I18",)

# Those that no query of ours alone can answer; a test holds them against what is really found.
_BESIDES: Final = {
    "intents_belong_to_payments": "I15",
    "money_at_the_provider_is_booked": "I15",
    "refunds_at_the_provider_are_booked": "I15",
    "provider_totals_are_the_ledgers": "I15",
    "movements_at_the_provider_are_booked": "I15",
    "disputes_are_known": "I15",
    "provider_balance_is_the_ledgers": "I15",
    "payments_stand_at_the_provider": "I16",
    "refunds_stand_at_the_provider": "I16",
    "bookings_stand_at_the_provider": "I16",
    "orders_are_charged_once": "I17",
    "acknowledged_orders_exist": "I18",
    "acknowledged_answers_are_remembered": "I18",
    "acknowledged_keys_name_one_order": "I18",
}
INVARIANT_NAMES: Final = {
    **{invariant.name: invariant.id for invariant in INVARIANTS},
    **_BESIDES,
}
"""Every invariant's name, with the id that groups it."""


_COMMANDS: Final = {
    "database": "check_books --record",
    "provider": "check_books --stripe --record",
    "journal": "check_books --journal FILE --record",
}


class _Advice(NamedTuple):
    severity: str
    what_to_do: str


_PAGE, _TICKET = "critical", "warning"
_ADVICE: Final = {
    "I1": _Advice(
        _PAGE, "Somebody wrote into orders or lines by hand: compare with the remembered answer."
    ),
    "I2": _Advice(
        _PAGE, "Stock is promised that no order holds, or held twice. Count before you correct it."
    ),
    "I3": _Advice(
        _PAGE, "Stop selling the product; count what is there, then book the difference."
    ),
    "I4": _Advice(_PAGE, "Find out from order_transitions and the audit log what moved the order."),
    "I5": _Advice(
        _PAGE, "Look at the intent at the provider; run recover_orders, then check_books --stripe."
    ),
    "I6": _Advice(
        _PAGE,
        "A dead order keeps money: give it back with refund_order; if a bank took a part of it, the"
        " rest at the provider's site.",
    ),
    "I7": _Advice(_PAGE, "Compare the refunds with the provider's: reconcile_payments."),
    "I8": _Advice(_PAGE, "Do not close the books. The ledger is append-only: correct by entries."),
    "I9": _Advice(_PAGE, "A client may hear a wrong answer or order twice: find that key's order."),
    "I10": _Advice(_PAGE, "A trigger was off: find out who wrote, from the audit log."),
    "I11": _Advice(_PAGE, "Nobody was told, or was told what never happened. Tell them by hand."),
    "I12": _Advice(
        _TICKET,
        "retry_deliveries --dead; for figures, rebuild_customer_metrics; for a subscriber that was"
        " not told, docs/invariants.md (Limits).",
    ),
    "I13": _Advice(_TICKET, "Correct times_used, or end the coupon, in the admin."),
    "I14": _Advice(_PAGE, "A move without its audit row: treat it as tampering until explained."),
    "I15": _Advice(_PAGE, "Run reconcile_payments --repair; its cases say what is left."),
    "I16": _Advice(_PAGE, "Run reconcile_payments; do not ship the orders it names."),
    "I17": _Advice(_PAGE, "A customer was charged twice: give one of the charges back today."),
    "I18": _Advice(_PAGE, "An order that a client was promised is gone: restore, then reconcile."),
    "I19": _Advice(_TICKET, "Worker or beat stands still: see their logs, then recover_orders."),
    "I20": _Advice(_PAGE, "Change what leaked if it is a key; then remove it and find its writer."),
    "I21": _Advice(_TICKET, "Do not issue by hand: find who wrote, and ask the accountant."),
    "I22": _Advice(_TICKET, "Ask the warehouse what came back; refund no more than was shipped."),
}


def checked_against(invariant_id: str) -> str:
    """What has to be there to check an invariant: the database, the provider, or a journal."""
    if invariant_id in _BY_PROVIDER:
        return "provider"
    return "journal" if invariant_id in _BY_JOURNAL else "database"


def what_to_do(invariant_id: str) -> str:
    """What a person does first where an invariant is violated."""
    return _ADVICE[invariant_id].what_to_do if invariant_id in _ADVICE else ""


def render() -> str:
    """The rules file, as YAML."""
    lines = [
        "# Made by `bin/manage check_books --alert-rules`; docs/invariants.md explains each.",
        "groups:",
        "  - name: orderkeep-books",
        "    rules:",
    ]
    for name, invariant_id in INVARIANT_NAMES.items():
        advice = _ADVICE[invariant_id]
        lines += _rule(
            alert="Books" + name.title().replace("_", ""),
            expression=f'max({VIOLATIONS}{{name="{name}"}}) > 0',
            severity=advice.severity,
            summary=f"{invariant_id} {name} is violated by {{{{ $value }}}}",
            what_to_do=f"{advice.what_to_do} {_COMMANDS[checked_against(invariant_id)]} names"
            " what violates it, and ends the alert once that is right.",
        )
    for against, alert, task, summary in (
        ("database", "BooksNotChecked", "check_books", "not been checked for 2 h 30 min"),
        ("provider", "BooksNotCompared", "compare_books", "not been compared for 26 h"),
    ):
        metric = f'{CHECKED_AT}{{against="{against}"}}'
        lines += _rule(
            alert=alert,
            expression=f"absent({metric}) or time() - max({metric}) > {STALE_SECONDS[against]}",
            severity=_PAGE,
            summary=f"the books have {summary}",
            what_to_do=f"See the worker's log for orders.tasks.{task}, and whether beat runs.",
        )
    return "\n".join(lines) + "\n"


def _rule(
    *, alert: str, expression: str, severity: str, summary: str, what_to_do: str
) -> list[str]:
    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)  # JSON's strings are YAML's

    return [
        f"      - alert: {alert}",
        f"        expr: {quoted(expression)}",
        "        labels:",
        f"          severity: {severity}",
        "        annotations:",
        f"          summary: {quoted(summary)}",
        f"          description: {quoted(what_to_do)}",
    ]
