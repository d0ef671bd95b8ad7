"""How a payment turns out: what is paid with, what goes wrong, what buyer and bank then do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.provider import PaymentServer

RATE_LIMIT_TRIES: Final = 4  # as often as the gateway asks within one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One answer of the provider's that goes wrong; `path` as the payment server takes it."""

    kind: str
    path: str
    method: str = "POST"
    times: int = 1
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One way that a payment goes.

    `then`: what the shopper (3-D Secure, PayPal) or the bank (a debit) does, if anything is asked
    of them. `ends`: what the order comes to if its client keeps asking. `refund_ends`: what becomes
    of a refund that takes time, `bank_decides` of a dispute. `quarantines`: the provider's word
    may not fit, and a person looks.
    """

    name: str
    pays_with: str = "pm_card_visa"
    then: str = ""
    ends: str = "confirmed"
    faults: tuple[Fault, ...] = ()
    refund_ends: str = "succeed"
    bank_decides: str = ""
    quarantines: bool = False

    def arm(self, provider: PaymentServer) -> None:
        """Have the provider do as the story tells, from now on."""
        for fault in self.faults:
            provider.fail(
                fault.kind,
                path=fault.path,
                method=fault.method,
                times=fault.times,
                **dict(fault.settings),
            )


PAID = Story(name="paid")
DECLINED = Story(name="declined", pays_with="pm_card_chargeDeclined", ends="cancelled")
INSUFFICIENT = Story(
    name="insufficient funds",
    pays_with="pm_card_chargeDeclinedInsufficientFunds",
    ends="cancelled",
)
SECURE = "pm_card_threeDSecure2Required"
SECURE_DONE = Story(name="3-D Secure done", pays_with=SECURE, then="succeed")
SECURE_FAILED = Story(name="3-D Secure failed", pays_with=SECURE, then="fail", ends="cancelled")
SECURE_ABANDONED = Story(name="3-D Secure abandoned", pays_with=SECURE, ends="cancelled")
DEBIT = "pm_usBankAccount_success"
DEBIT_PAID = Story(name="bank debit succeeds", pays_with=DEBIT, then="succeed")
DEBIT_FAILED = Story(name="bank debit fails", pays_with=DEBIT, then="fail", ends="cancelled")
PAYPAL = Story(name="PayPal approved", pays_with="pm_paypal", then="succeed")
NO_METHOD = Story(name="no such method", pays_with="pm_none_of_ours", ends="cancelled")

PLAIN: Final = (
    PAID,
    DECLINED,
    INSUFFICIENT,
    SECURE_DONE,
    SECURE_FAILED,
    SECURE_ABANDONED,
    DEBIT_PAID,
    DEBIT_FAILED,
    PAYPAL,
    NO_METHOD,
)

CREATE: Final = ("create", "POST", "/v1/payment_intents")
CONFIRM: Final = ("confirm", "POST", "/v1/payment_intents/*/confirm")
CANCEL: Final = ("cancel", "POST", "/v1/payment_intents/*/cancel")
RETRIEVE: Final = ("retrieve", "GET", "/v1/payment_intents/*")
REFUND: Final = ("refund", "POST", "/v1/refunds")

# What each does to one call: (name, the payment server's fault, how often, its settings).
WRONG: Final = (
    ("timeout, applied", "answer_lost", 1, ()),
    ("timeout, not applied", "drop", 1, ()),
    ("500, applied and replayed", "error_after", 1, ()),
    ("500, not applied and replayed", "error_before", 1, ()),
    ("429", "rate_limit", RATE_LIMIT_TRIES, ()),
    ("409", "conflict", 1, ()),
    ("malformed", "malformed", 1, ()),
    ("wrong amount", "wrong_amount", 1, ()),
)
MORE_WRONG: Final = (
    ("503, not stored", "unavailable", 1, ()),
    ("HTML", "malformed", 1, (("form", "html"),)),
)
ONLY_FOR_KEYED: Final = frozenset({"error_after", "error_before"})


def gone_wrong(
    story: Story,
    call: tuple[str, str, str],
    *,
    ends: dict[str, str] | None = None,
    wrong: Sequence[tuple[str, str, int, tuple[tuple[str, Any], ...]]] = WRONG,
) -> Iterable[Story]:
    """The story with this one call gone wrong, in every way it can.

    Args:
        ends: other ends than the story's, by the name of what went wrong.
    """
    about, method, path = call
    for name, kind, times, settings in wrong:
        if method == "GET" and kind in ONLY_FOR_KEYED:
            continue  # nothing is stored under a key that a GET has not
        fault = Fault(kind=kind, path=path, method=method, times=times, settings=settings)
        yield replace(
            story,
            name=f"{story.name}; {about}: {name}",
            faults=(fault,),
            ends=(ends or {}).get(name, story.ends),
            quarantines=kind == "wrong_amount",
        )
