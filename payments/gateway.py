"""Speaks to the payment provider; the only importer of `stripe`.

Every answer comes back as one of three things: the provider's object, `Refused` (it said no and
did nothing new) or `Unknown` (it may have done it: never to be taken as a refusal). Calls go out
with our own idempotency key, one at a time, without the SDK's retries and within a deadline.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

import orjson
import stripe
import structlog
from django.conf import settings

from config.kernel import server_timing
from config.kernel.clock import Deadline
from config.kernel.transport import NoAnswerError, Transport
from payments.breaker import Breaker
from payments.bulkhead import Bulkhead
from payments.errors import ProviderUnavailableError, WebhookRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PAGE: Final = 100
PAGE_SECONDS: Final = 20.0  # of a list that is read to its end
PAGE_TRIES: Final = 3
# Every order makes an intent and confirms it. The SDK's typed calls build an object of each part of
# the answer, a third of what the two calls cost; of these two we read the plain JSON.
INTENTS: Final = "/v1/payment_intents"
CUSTOMERS: Final = "/v1/customers"
METHODS: Final = "/v1/payment_methods"
LEAST_SECONDS: Final = 2.0  # no call begins with less time left than this
RATE_LIMIT_TRIES: Final = 4
INTENT_STATUSES: Final = frozenset(
    {
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "processing",
        "requires_capture",
        "succeeded",
        "canceled",
    }
)
# The provider's sentences about a payment method that is none, is somebody else's or was used up.
# Not all of these refusals come with `param: payment_method`: a kept card without its customer is
# told as `parameter_missing` of `source`, a used one at times without any param.
BLAMES_METHOD: Final = re.compile(
    r"No such PaymentMethod"
    r"|payment[_ ]?method.*"
    r"(?:belongs? to the Customer|attached to (?:a|the) customer|be used again)",
    re.IGNORECASE | re.DOTALL,
)
REFUND_DEAD: Final = frozenset({"failed", "canceled"})  # nothing went back, or it came back
DISPUTE_LOST: Final = "lost"  # the money is gone for good
DISPUTE_STATUSES: Final = frozenset(
    {
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "won",
        "lost",
        "prevented",
    }
)

# What is kept of an answer has to fit its columns, whatever the provider says.
INTENT_ID: Final = re.compile(r"pi_[A-Za-z0-9_]{1,97}")
CUSTOMER_ID: Final = re.compile(r"cus_[A-Za-z0-9_]{1,96}")
METHOD_ID: Final = re.compile(r"pm_[A-Za-z0-9_]{1,250}")
LAST4: Final = re.compile(r"[0-9A-Za-z]{1,4}")
REFUND_ID: Final = re.compile(r"(?:re|pyr)_[A-Za-z0-9_]{1,200}")
CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")
DISPUTE_ID: Final = re.compile(r"(?:dp|du)_[A-Za-z0-9_]{1,200}")
TRANSACTION_ID: Final = re.compile(r"txn_[A-Za-z0-9_]{1,200}")
EVENT_ID: Final = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
EVENT_TYPE: Final = re.compile(r"[a-z0-9_.]{1,100}")
OBJECT_ID: Final = re.compile(r"[A-Za-z0-9_]{1,255}")
WEBHOOK_TOLERANCE_SECONDS: Final = 300
MARK: Final = "orderkeep"
"""What `metadata.app` says of all that is ours at the provider."""

log = structlog.get_logger(__name__)
logging.getLogger("stripe").setLevel(logging.WARNING)  # below, it logs answers with their secrets
stripe.enable_telemetry = False  # else the SDK leaves an id of its own under ~/.config
_deadline: ContextVar[Deadline] = ContextVar("provider_deadline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt to pay failed; `decline_code` only where a card was declined."""

    code: str
    decline_code: str = ""
    is_decline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A PaymentIntent as the provider just told it, in the provider's words and minor units.

    `charge_id` is its latest attempt to take the money, the one that did if any; else empty.
    """

    id: str
    status: str
    amount_minor: int
    amount_received_minor: int
    currency: str
    metadata: Mapping[str, str]
    client_secret: str = field(repr=False)
    next_action: Mapping[str, Any] | None = field(default=None, repr=False)  # its URLs are secret
    failure: Failure | None = None
    replayed: bool = False
    charge_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRefund:
    """A refund as the provider just told it; `amount_minor` in minor units of `currency`."""

    id: str
    status: str
    amount_minor: int
    currency: str
    payment_intent_id: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDispute:
    """A dispute as the provider just told it; `amount_minor` in minor units of `currency`."""

    id: str
    status: str
    reason: str
    amount_minor: int
    currency: str
    payment_intent_id: str
    opened_at: datetime
    evidence_due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTransaction:
    """A movement of money in the account, in minor units of `currency`; negative: out of it.

    `fee_minor` is kept besides. `source_id` is the charge, refund or dispute behind it and
    `payment_intent_id` the payment that belongs to, empty where there is none.
    """

    id: str
    type: str
    category: str
    amount_minor: int
    fee_minor: int
    currency: str
    source_id: str
    payment_intent_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCustomer:
    """Who keeps cards at the provider."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    """A way to pay as the provider just told it; `customer_id` is empty where nobody keeps it.

    Of what is no card, `brand` and `last4` are empty and the month and year of expiry None.
    """

    id: str
    type: str
    customer_id: str
    brand: str = ""
    last4: str = ""
    exp_month: int | None = None
    exp_year: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A 4xx: this call did nothing. `intent` is what the error told about it, if anything.

    `decline` is a bank's no to a card that was not to pay, only to be kept. `blames_method`: the
    payment method is none, is somebody else's, or cannot be used for this.
    """

    code: str
    param: str = ""
    replayed: bool = False
    intent: Intent | None = None
    decline: Failure | None = None
    blames_method: bool = False

    @property
    def customer_is_gone(self) -> bool:
        """Whether it names a customer whom the provider does not know, or not any more."""
        return (self.code, self.param) == (MISSING, "customer")


MISSING: Final = "resource_missing"
"""The code of a refusal because what the call names is not there, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """No answer, a 5xx or nonsense: it may have been done. `replayed`: a stored 5xx, for ever."""

    reason: str
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What the provider says has happened; a reason to ask, never to be believed itself.

    `object_id` is what it happened to and `payment_intent_id` which payment that belongs to, if
    any. `account` is empty unless it happened on an account other than our own.
    """

    id: str
    type: str
    is_live: bool
    account: str
    object_id: str
    payment_intent_id: str | None
    payload: Mapping[str, Any] = field(repr=False)


_Read = TypeVar("_Read")
IntentAnswer: TypeAlias = Intent | Refused | Unknown
RefundAnswer: TypeAlias = ProviderRefund | Refused | Unknown
CustomerAnswer: TypeAlias = ProviderCustomer | Refused | Unknown
MethodAnswer: TypeAlias = PaymentMethod | Refused | Unknown


class MalformedAnswerError(ValueError):
    """The provider's answer is not what its documentation promises."""


# The SDK, too, stumbles over answers of no known shape: over `{"error": null}`, over no UTF-8.
NONSENSE: Final = (MalformedAnswerError, AttributeError, LookupError, TypeError, ValueError)


def create_intent(
    *, params: Mapping[str, Any], idempotency_key: str, deadline: Deadline
) -> IntentAnswer:
    """Make an unconfirmed PaymentIntent: no money moves."""
    answer: IntentAnswer = _ask(
        lambda client, options: _intent(client.raw_request("post", INTENTS, **params, **options)),
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    return answer


def confirm_intent(
    *, intent_id: str, params: Mapping[str, Any], idempotency_key: str, deadline: Deadline
) -> IntentAnswer:
    """Try to take the money. A declined card comes back as the intent, with its `failure`."""
    answer: IntentAnswer = _ask(
        lambda client, options: _intent(
            client.raw_request("post", f"{INTENTS}/{intent_id}/confirm", **params, **options),
            expected_id=intent_id,
        ),
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    return answer


def retrieve_intent(*, intent_id: str, deadline: Deadline) -> IntentAnswer:
    """Ask how the intent stands now."""
    answer: IntentAnswer = _ask(
        lambda client, options: _intent(
            client.v1.payment_intents.retrieve(intent_id, None, options), expected_id=intent_id
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def cancel_intent(*, intent_id: str, idempotency_key: str, deadline: Deadline) -> IntentAnswer:
    """Cancel it, under a key that was never used before: a stored refusal would last for ever.

    A refusal's own account of the intent is handed back as the intent: it is the fresh truth.
    """
    answer: IntentAnswer = _ask(
        lambda client, options: _intent(
            client.v1.payment_intents.cancel(intent_id, None, options), expected_id=intent_id
        ),
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    return answer.intent if isinstance(answer, Refused) and answer.intent else answer


def list_intents(*, created_since: int) -> Iterator[Intent]:
    """Every intent made since then (Unix seconds), newest first; for the books, not for orders.

    Raises:
        ProviderUnavailableError: the list could not be read to its end.
    """
    return _whole_list(INTENTS, _since(created_since), _intent)


def create_refund(
    *, params: Mapping[str, Any], idempotency_key: str, deadline: Deadline
) -> RefundAnswer:
    """Give money back."""
    answer: RefundAnswer = _ask(
        lambda client, options: _refund(
            client.v1.refunds.create(params, options)  # type: ignore[arg-type]
        ),
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    return answer


def list_refunds(*, intent_id: str, deadline: Deadline) -> list[ProviderRefund] | Refused | Unknown:
    """All refunds of one intent."""
    answer: list[ProviderRefund] | Refused | Unknown = _ask(
        lambda client, options: [
            _refund(found)
            for found in client.v1.refunds.list(
                {"payment_intent": intent_id, "limit": 100}, options
            ).auto_paging_iter()
        ],
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def retrieve_refund(*, refund_id: str, deadline: Deadline) -> RefundAnswer:
    """Ask how a refund stands now."""
    answer: RefundAnswer = _ask(
        lambda client, options: _refund(client.v1.refunds.retrieve(refund_id, None, options)),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def list_all_refunds(*, created_since: int) -> Iterator[ProviderRefund]:
    """Every refund made since then (Unix seconds); for the books.

    Raises:
        ProviderUnavailableError: the list could not be read to its end.
    """
    return _whole_list("/v1/refunds", _since(created_since), _refund)


def retrieve_dispute(*, dispute_id: str, deadline: Deadline) -> ProviderDispute | Refused | Unknown:
    """Ask how a dispute stands now."""
    answer: ProviderDispute | Refused | Unknown = _ask(
        lambda client, options: _dispute(client.v1.disputes.retrieve(dispute_id, None, options)),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def list_disputes_of(
    *, intent_id: str, deadline: Deadline
) -> list[ProviderDispute] | Refused | Unknown:
    """All disputes of one intent."""
    answer: list[ProviderDispute] | Refused | Unknown = _ask(
        lambda client, options: [
            _dispute(found)
            for found in client.v1.disputes.list(
                {"payment_intent": intent_id, "limit": PAGE}, options
            ).auto_paging_iter()
        ],
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def list_disputes(*, created_since: int) -> Iterator[ProviderDispute]:
    """Every dispute opened since then (Unix seconds); for the books.

    Raises:
        ProviderUnavailableError: the list could not be read to its end.
    """
    return _whole_list("/v1/disputes", _since(created_since), _dispute)


def list_balance_transactions(*, created_since: int) -> Iterator[BalanceTransaction]:
    """Every movement of the account's money since then (Unix seconds), newest first.

    Raises:
        ProviderUnavailableError: the list could not be read to its end.
    """
    with_sources = _since(created_since) | {"expand": ["data.source"]}
    return _whole_list("/v1/balance_transactions", with_sources, _balance_transaction)


def list_balance_transactions_of(*, source_id: str) -> Iterator[BalanceTransaction]:
    """Every movement that one charge, refund or dispute has made, newest first.

    Raises:
        ProviderUnavailableError: the list could not be read to its end.
    """
    of_source = {"source": source_id, "limit": PAGE, "expand": ["data.source"]}
    return _whole_list("/v1/balance_transactions", of_source, _balance_transaction)


def retrieve_balance_transaction(
    *, transaction_id: str, deadline: Deadline
) -> BalanceTransaction | Refused | Unknown:
    """Ask for one movement of the account's money."""
    answer: BalanceTransaction | Refused | Unknown = _ask(
        lambda client, options: _balance_transaction(
            client.v1.balance_transactions.retrieve(transaction_id, {"expand": ["source"]}, options)
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def list_events(
    *, types: Sequence[str], created_since: int, created_before: int | None = None
) -> Iterator[Event]:
    """Every event of these types since then and before then (Unix seconds), newest first.

    The provider keeps them for 30 days. For what no webhook brought.

    Raises:
        ProviderUnavailableError: the list could not be read to its end.
    """
    wanted = _since(created_since) | {"types": list(types)}
    if created_before is not None:
        wanted["created"]["lt"] = created_before
    return _whole_list("/v1/events", wanted, _event)


def create_customer(
    *, params: Mapping[str, Any], idempotency_key: str, deadline: Deadline
) -> CustomerAnswer:
    """Make a customer, to keep cards for."""
    answer: CustomerAnswer = _ask(
        lambda client, options: _customer(
            client.raw_request("post", CUSTOMERS, **params, **options)
        ),
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    return answer


def delete_customer(*, customer_id: str, deadline: Deadline) -> CustomerAnswer:
    """Have the provider forget a customer and whatever it keeps for them.

    Again, it is refused as `resource_missing`.
    """
    answer: CustomerAnswer = _ask(
        lambda client, options: _customer(
            client.raw_request("delete", f"{CUSTOMERS}/{customer_id}", **options),
            expected_id=customer_id,
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def list_payment_methods(
    *, customer_id: str, deadline: Deadline
) -> list[PaymentMethod] | Refused | Unknown:
    """What a customer keeps, the newest first; of more than `PAGE` the rest is left out."""
    answer: list[PaymentMethod] | Refused | Unknown = _ask(
        lambda client, options: _methods(
            client.raw_request(
                "get", f"{CUSTOMERS}/{customer_id}/payment_methods", limit=PAGE, **options
            ),
            customer_id=customer_id,
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def retrieve_payment_method(*, method_id: str, deadline: Deadline) -> MethodAnswer:
    """Ask what a payment method is and who keeps it."""
    answer: MethodAnswer = _ask(
        lambda client, options: _method(
            client.raw_request("get", f"{METHODS}/{method_id}", **options)
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def attach_payment_method(*, method_id: str, customer_id: str, deadline: Deadline) -> MethodAnswer:
    """Have a customer keep a payment method; the card's bank may be asked, and say no.

    Repeating is harmless: whoever keeps it already goes on keeping it.
    """
    answer: MethodAnswer = _ask(
        lambda client, options: _method(
            client.raw_request(
                "post", f"{METHODS}/{method_id}/attach", customer=customer_id, **options
            ),
            keeper_id=customer_id,
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def detach_payment_method(*, method_id: str, deadline: Deadline) -> MethodAnswer:
    """Have nobody keep a payment method: it is good for nothing any more."""
    answer: MethodAnswer = _ask(
        lambda client, options: _method(
            client.raw_request("post", f"{METHODS}/{method_id}/detach", **options), keeper_id=""
        ),
        idempotency_key=None,
        deadline=deadline,
    )
    return answer


def read_webhook(*, payload: bytes, signature: str) -> Event:
    """Check who sent a webhook and when, and read it. Any of the configured secrets will do.

    The SDK refuses what is too old, but takes what comes from the future: both are checked here.

    Raises:
        WebhookRefusedError: not signed with a secret of ours, not of these minutes, or no event.
    """
    signed_at = _check_signature(payload, signature)
    if abs(time.time() - signed_at) > WEBHOOK_TOLERANCE_SECONDS:
        raise WebhookRefusedError("The signature's timestamp is too far from now.")
    try:
        return _event(orjson.loads(payload))
    except (MalformedAnswerError, orjson.JSONDecodeError) as exc:
        raise WebhookRefusedError("This is not an event.") from exc


def _check_signature(payload: bytes, signature: str) -> int:
    """When it was signed, in Unix seconds."""
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        with contextlib.suppress(stripe.SignatureVerificationError, ValueError, TypeError):
            stripe.WebhookSignature.verify_header(payload, signature, secret)
            parts = (part.partition("=") for part in signature.split(","))
            return next(int(value) for name, _, value in parts if name == "t")
    raise WebhookRefusedError("The signature is not valid.")


@lru_cache(maxsize=1)
def breaker() -> Breaker:
    """This process's memory of whether the provider answers."""
    return Breaker(address=settings.STRIPE_API_BASE)


@lru_cache(maxsize=1)
def bulkhead() -> Bulkhead:
    """This process's places for requests that are busy with the provider."""
    return Bulkhead(places=settings.PROVIDER_SLOTS)


def _since(created_since: int) -> dict[str, Any]:
    return {"created": {"gte": created_since}, "limit": PAGE}


def _whole_list(
    path: str, params: Mapping[str, Any], read: Callable[[Any], _Read]
) -> Iterator[_Read]:
    """A list that ends early would be a lie about what is missing: all of it, or an error.

    Page by page as plain JSON: the SDK's objects cost several times as much as all the rest.
    """
    after: dict[str, str] = {}
    try:
        while True:
            page = _page(path, {**params, **after})
            for found in page["data"]:
                yield read(found)
            if not page["has_more"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}
    except (stripe.StripeError, *NONSENSE) as exc:
        raise ProviderUnavailableError from exc


def _page(path: str, params: Mapping[str, Any]) -> Any:
    """One page of a list; asking again is harmless, and one lost answer must not end the rest."""
    tried = 0
    while True:
        tried += 1
        _deadline.set(Deadline(PAGE_SECONDS))
        try:
            return _plain(_client().raw_request("get", path, **params))
        except stripe.StripeError as exc:
            may_pass = exc.http_status in {None, 429} or exc.http_status >= 500  # noqa: PLR2004
            if not may_pass or tried == PAGE_TRIES:
                raise
        time.sleep(random.uniform(0, 0.5 * 2**tried))  # noqa: S311  # full jitter, no secret


def _ask(
    call: Callable[[stripe.StripeClient, Any], Any],
    *,
    idempotency_key: str | None,
    deadline: Deadline,
) -> Any:
    """One call, its errors told apart; only a 429 is repeated, while the deadline lasts."""
    options: dict[str, Any] = {"max_network_retries": 0}
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    for tried in range(RATE_LIMIT_TRIES):
        if deadline.remaining() < LEAST_SECONDS:
            return Unknown(reason="no time left to ask")
        _deadline.set(deadline)
        try:
            answer = call(_client(), options)
        except stripe.StripeError as exc:
            if exc.http_status != 429:  # noqa: PLR2004
                return _told(exc)
            breaker().note_answer()
            pause = random.uniform(0, 0.5 * 2**tried)  # noqa: S311  # full jitter, no secret
            if tried == RATE_LIMIT_TRIES - 1 or deadline.remaining() - pause < LEAST_SECONDS:
                break
            time.sleep(pause)
        except NONSENSE as exc:
            log.exception("provider_answer_malformed", problem=type(exc).__name__)
            return Unknown(reason="malformed answer")
        else:
            breaker().note_answer()
            return answer
    return Unknown(reason="rate limited")


def _told(exc: stripe.StripeError) -> Intent | Refused | Unknown:
    """What an error says about the world."""
    status = exc.http_status
    replayed = _was_replayed(exc.headers)
    # A plain APIError with a 4xx is not the provider's own no, but that of something in between.
    is_answer = status is not None and 400 <= status < 500 and type(exc) is not stripe.APIError  # noqa: PLR2004
    if not is_answer or status == 409:  # noqa: PLR2004
        if not replayed and status != 409:  # noqa: PLR2004 - "in flight" is an answer
            breaker().note_failure()
        log.warning("provider_outcome_unknown", status=status, error=type(exc).__name__)
        return Unknown(reason=f"{type(exc).__name__} {status or 'no answer'}", replayed=replayed)
    breaker().note_answer()
    intent = _intent_of_error(exc, replayed=replayed)
    if isinstance(exc, stripe.CardError) and intent is not None:
        return intent
    code, param = _code(exc.code) or type(exc).__name__, _param(getattr(exc, "param", None))
    log.warning("provider_refused", code=code, param=param)
    return Refused(
        code=code,
        param=param,
        replayed=replayed,
        intent=intent,
        decline=_decline(exc) if isinstance(exc, stripe.CardError) else None,
        blames_method=param == "payment_method" or _speaks_of_method(exc.user_message),
    )


def _param(told: Any) -> str:
    return told[:200] if isinstance(told, str) else ""


def _speaks_of_method(message: Any) -> bool:
    return _is_text(message) and BLAMES_METHOD.search(message) is not None


def _intent_of_error(exc: stripe.StripeError, *, replayed: bool) -> Intent | None:
    told = getattr(exc.error, "payment_intent", None) if exc.error else None
    if told is None:
        return None
    try:
        return _intent(told, replayed=replayed)
    except MalformedAnswerError:
        return None


def _intent(answer: Any, *, expected_id: str | None = None, replayed: bool | None = None) -> Intent:
    """Check and copy what we use of a PaymentIntent.

    Raises:
        MalformedAnswerError: a field is missing or of another kind, or it is another intent.
    """
    try:
        found = _plain(answer)
        intent = Intent(
            id=found["id"],
            status=found["status"],
            amount_minor=found["amount"],
            amount_received_minor=found.get("amount_received") or 0,
            currency=found["currency"].upper(),
            metadata=dict(found.get("metadata") or {}),
            client_secret=found.get("client_secret") or "",
            next_action=found.get("next_action"),
            failure=_failure(found.get("last_payment_error")),
            replayed=_response_was_replayed(answer) if replayed is None else replayed,
            charge_id=_matching(OBJECT_ID, found.get("latest_charge")) or "",
        )
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise MalformedAnswerError("not a payment intent") from exc
    # The provider is not trusted with types: nonsense must not pass for an amount.
    if not (
        _is_of_form(INTENT_ID, found["id"])
        and _is_text(found["status"])
        and found["status"] in INTENT_STATUSES
        and _is_whole(found["amount"])
        and _is_whole(intent.amount_received_minor)
        and _is_text(intent.client_secret)
        and isinstance(intent.next_action, dict | None)
        and expected_id in {None, intent.id}
    ):
        raise MalformedAnswerError("not the payment intent asked for")
    return intent


def _failure(error: Any) -> Failure | None:
    if not error:
        return None
    return Failure(
        code=_code(error.get("code")) or "payment_failed",
        decline_code=_code(error.get("decline_code")),
        is_decline=error.get("type") == "card_error"
        and error.get("code") != "payment_intent_authentication_failure",
    )


def _decline(exc: stripe.CardError) -> Failure:
    return Failure(
        code=_code(exc.code) or "card_declined",
        decline_code=_code(getattr(exc.error, "decline_code", None)),
        is_decline=True,
    )


def _customer(answer: Any, *, expected_id: str | None = None) -> ProviderCustomer:
    found = _plain(answer)
    if not (
        isinstance(found, dict)
        and found.get("object") == "customer"
        and _is_of_form(CUSTOMER_ID, found.get("id"))
        and expected_id in {None, found["id"]}
    ):
        raise MalformedAnswerError("not the customer asked for")
    return ProviderCustomer(id=found["id"])


def _methods(answer: Any, *, customer_id: str) -> list[PaymentMethod]:
    """A list of somebody else's cards would be shown to the wrong person."""
    return [_method(found, keeper_id=customer_id) for found in _plain(answer)["data"]]


def _method(answer: Any, *, keeper_id: str | None = None) -> PaymentMethod:
    try:
        found = _plain(answer)
        card = found.get("card") or {}
        method = PaymentMethod(
            id=found["id"],
            type=found["type"],
            customer_id=found["customer"] or "",
            brand=_code(card.get("brand")),
            last4=_matching(LAST4, card.get("last4")) or "",
            exp_month=card.get("exp_month"),
            exp_year=card.get("exp_year"),
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise MalformedAnswerError("not a payment method") from exc
    if not (
        _is_of_form(METHOD_ID, found["id"])
        and _is_of_form(CODE, found["type"])
        and _is_text(method.customer_id)
        and (method.exp_month is None or _is_whole(method.exp_month))
        and (method.exp_year is None or _is_whole(method.exp_year))
        and keeper_id in {None, method.customer_id}
    ):
        raise MalformedAnswerError("not the payment method asked for")
    return method


def _refund(answer: Any) -> ProviderRefund:
    try:
        found = _plain(answer)
        refund = ProviderRefund(
            id=found["id"],
            status=found["status"],
            amount_minor=found["amount"],
            currency=found["currency"].upper(),
            payment_intent_id=found.get("payment_intent") or "",
            metadata=dict(found.get("metadata") or {}),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise MalformedAnswerError("not a refund") from exc
    if not (
        _is_of_form(REFUND_ID, found["id"])
        and _is_text(found["status"])
        and _is_whole(found["amount"])
        and _is_text(refund.payment_intent_id)
    ):
        raise MalformedAnswerError("not a refund")
    return refund


def _event(found: Any) -> Event:
    """Only what every event has is insisted upon: there are hundreds of types we never asked for.

    Raises:
        MalformedAnswerError: it is no event.
    """
    try:
        about = found["data"]["object"]
        intent_id = about.get("id" if about.get("object") == "payment_intent" else "payment_intent")
        event = Event(
            id=found["id"],
            type=found["type"],
            is_live=found["livemode"],
            account=found.get("account") or "",
            object_id=_matching(OBJECT_ID, about.get("id")) or "",
            payment_intent_id=_matching(INTENT_ID, intent_id),
            payload=found,
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise MalformedAnswerError("not an event") from exc
    if not (
        _is_of_form(EVENT_ID, event.id)
        and _is_of_form(EVENT_TYPE, event.type)
        and _is_flag(found["livemode"])
        and _is_text(event.account)
    ):
        raise MalformedAnswerError("not an event")
    return event


def _matching(pattern: re.Pattern[str], told: Any) -> str | None:
    return told if _is_of_form(pattern, told) else None


def _dispute(answer: Any) -> ProviderDispute:
    try:
        found = _plain(answer)
        due_by = (found.get("evidence_details") or {}).get("due_by")
        dispute = ProviderDispute(
            id=found["id"],
            status=found["status"],
            reason=_code(found.get("reason")),
            amount_minor=found["amount"],
            currency=found["currency"].upper(),
            payment_intent_id=_matching(INTENT_ID, found.get("payment_intent")) or "",
            opened_at=_instant(found["created"]),
            evidence_due_at=_instant(due_by) if due_by else None,
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, OSError) as exc:
        raise MalformedAnswerError("not a dispute") from exc
    if not (
        _is_of_form(DISPUTE_ID, found["id"])
        and found["status"] in DISPUTE_STATUSES
        and _is_whole(found["amount"])
    ):
        raise MalformedAnswerError("not a dispute")
    return dispute


def _balance_transaction(answer: Any) -> BalanceTransaction:
    try:
        found = _plain(answer)
        source = found.get("source") or {}
        about = source if isinstance(source, dict) else {"id": source}
        transaction = BalanceTransaction(
            id=found["id"],
            type=found["type"],
            category=found.get("reporting_category") or "",
            amount_minor=found["amount"],
            fee_minor=found["fee"],
            currency=found["currency"].upper(),
            source_id=_matching(OBJECT_ID, about.get("id")) or "",
            payment_intent_id=_matching(INTENT_ID, about.get("payment_intent")) or "",
            created_at=_instant(found["created"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, OSError) as exc:
        raise MalformedAnswerError("not a balance transaction") from exc
    if not (
        _is_of_form(TRANSACTION_ID, found["id"])
        and _is_text(found["type"])
        and _is_text(transaction.category)
        and type(found["amount"]) is int
        and type(found["fee"]) is int
    ):
        raise MalformedAnswerError("not a balance transaction")
    return transaction


def _instant(seconds: Any) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _is_of_form(pattern: re.Pattern[str], told: Any) -> bool:
    return isinstance(told, str) and pattern.fullmatch(told) is not None


def _is_text(told: Any) -> bool:
    return isinstance(told, str)


def _is_flag(told: Any) -> bool:
    return isinstance(told, bool)


def _is_whole(told: Any) -> bool:
    return type(told) is int and told >= 0


def _code(told: Any) -> str:
    """A code of the provider's that may be stored and shown; empty if it is none."""
    return told if _is_of_form(CODE, told) else ""


def _plain(told: Any) -> Any:
    """The SDK's object or response as plain dicts and lists."""
    if isinstance(told, stripe.StripeResponse):
        return told.data
    return told.to_dict() if isinstance(told, stripe.StripeObject) else told


def _was_replayed(headers: Mapping[str, str] | None) -> bool:
    return (headers or {}).get("idempotent-replayed", "").lower() == "true"


def _response_was_replayed(found: Any) -> bool:
    """Of a whole answer; an item of a list is no answer of its own."""
    response = getattr(found, "last_response", found)
    return _was_replayed(getattr(response, "headers", None))


class _SdkTransport(stripe.HTTPClient):
    """What the SDK sends through: our transport, within the deadline of the call."""

    name = "orderkeep"

    def __init__(self) -> None:
        super().__init__()
        self._transport = Transport(ca_file=stripe.ca_bundle_path)

    def request(  # type: ignore[override]  # as in the SDK's own clients
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            with server_timing.waiting_for("provider"):
                found = self._transport.exchange(
                    method.upper(),
                    url,
                    headers=headers or {},
                    body=post_data,
                    deadline=_deadline.get(),
                )
        except NoAnswerError as exc:
            raise stripe.APIConnectionError(str(exc)) from exc  # type: ignore[no-untyped-call]
        return found.body, found.status, cast("Mapping[str, str]", found.headers)


@lru_cache(maxsize=1)
def _client() -> stripe.StripeClient:
    return stripe.StripeClient(
        settings.STRIPE_SECRET_KEY,
        http_client=_SdkTransport(),
        base_addresses={"api": settings.STRIPE_API_BASE},
        max_network_retries=0,
    )
