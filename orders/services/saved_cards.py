"""Cards that customers keep to pay with again: kept by the payment provider, never here.

All that is kept here is the id under which the provider knows a customer. Whose card it is, the
provider is asked each time. No transaction is open while it is asked.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from audit import outbox
from audit import services as audit
from audit.outbox import DeliveryFailedError
from config.kernel.api import throttles
from config.kernel.clock import Deadline
from config.kernel.db import short_transaction
from config.kernel.errors import NotFoundError, ValidationFailedError
from config.kernel.models import new_uuid
from customers import services as customers
from customers.errors import InactiveCustomerError
from orders.errors import CardDeclinedError
from payments import gateway
from payments.errors import ProviderUnavailableError
from payments.gateway import PaymentMethod, ProviderCustomer, Refused, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit.models import OutboxMessage
    from customers.models import Customer
    from payments.gateway import CustomerAnswer, MethodAnswer

MAX_CARDS: Final = 20
SUBSCRIBER: Final = "provider"
DELIVERY_SECONDS: Final = 12.0  # of one try to have the provider forget somebody
CANNOT_BE_SAVED: Final = "This payment method cannot be saved."
TOO_MANY: Final = f"No more than {MAX_CARDS} cards are kept; remove one first."

log = structlog.get_logger(__name__)
_Told = TypeVar("_Told", PaymentMethod, ProviderCustomer, list[PaymentMethod])


def subscribe() -> None:
    """Follow the facts; called once the app is ready."""
    outbox.subscribe("customer.erased", SUBSCRIBER, follow)


def list_cards(*, customer: Customer, deadline: Deadline) -> list[PaymentMethod]:
    """What the customer keeps, the newest first; who never kept any is not asked about.

    Must not be called inside a transaction.

    Raises:
        ProviderUnavailableError: it does not answer, or too many ask it already.
    """
    if customer.stripe_customer_id is None:
        return []
    with _place_at_provider():
        return _kept(customer, deadline)


def save_card(*, customer: Customer, method_id: str, deadline: Deadline) -> PaymentMethod:
    """Keep a payment method for a customer, whom the provider gets to know if it must.

    Must not be called inside a transaction. Repeating is harmless: what is kept already is told.
    Two requests at once may go past `MAX_CARDS` by one: nothing depends on the number.

    Raises:
        CardDeclinedError: the card's bank wants nothing of it.
        ValidationFailedError: it is none, somebody else's, used up, or one too many.
        RateLimitExceededError: saving tells whether a card is good: so do thieves with stolen ones.
        InactiveCustomerError: the account was erased meanwhile.
        ProviderUnavailableError: it does not answer, or too many ask it already.
    """
    buyer = f"customer:{customer.pk}"  # as for declined payments: cards are tried out either way
    throttles.refuse_if_used_up(scope="declines", identity=buyer)
    throttles.check(scope="saved_cards", identity=buyer)
    with _place_at_provider():
        kept = _kept(customer, deadline)
        known = next((method for method in kept if method.id == method_id), None)
        if known is not None:
            return known
        if len(kept) >= MAX_CARDS:
            raise _refusal(TOO_MANY)
        answer = _attach(customer, method_id, deadline)
    if isinstance(answer, Refused):
        if answer.decline is None:
            # Not our request's fault: the provider has just answered another one of ours.
            raise _refusal(CANNOT_BE_SAVED)
        throttles.note(scope="declines", identity=buyer)
        reason = answer.decline.decline_code or answer.decline.code
        raise CardDeclinedError(details={"decline_code": reason})
    saved = _told(answer)
    _record("PAYMENT_METHOD_SAVED", customer, saved)
    return saved


def remove_card(*, customer: Customer, method_id: str, deadline: Deadline) -> None:
    """Have the provider forget a card of this customer: nobody can pay with it any more.

    Must not be called inside a transaction.

    Raises:
        NotFoundError: it is none, somebody else's, or gone already: the three look alike.
        ProviderUnavailableError: it does not answer, or too many ask it already.
    """
    if customer.stripe_customer_id is None or not gateway.METHOD_ID.fullmatch(method_id):
        raise NotFoundError
    with _place_at_provider():
        found = gateway.retrieve_payment_method(method_id=method_id, deadline=deadline)
        if _is_none(found) or _told(found).customer_id != customer.stripe_customer_id:
            raise NotFoundError
        removed = gateway.detach_payment_method(method_id=method_id, deadline=deadline)
        if _is_none(removed):  # another request was faster
            raise NotFoundError
        _record("PAYMENT_METHOD_REMOVED", customer, _told(removed))


def follow(message: OutboxMessage) -> str | None:
    """An account was erased: the provider forgets the customer, too. Repeating is harmless.

    Raises:
        DeliveryFailedError: the provider is away, or will not.
    """
    stripe_customer_id = message.payload["stripe_customer_id"]
    if not stripe_customer_id:
        return "the provider does not know the customer"
    answer = gateway.delete_customer(
        customer_id=stripe_customer_id, deadline=Deadline(DELIVERY_SECONDS)
    )
    if isinstance(answer, ProviderCustomer):
        return None
    if isinstance(answer, Refused) and answer.code == gateway.MISSING:
        return "the provider has forgotten the customer already"
    raise DeliveryFailedError(
        f"refused: {answer.code}" if isinstance(answer, Refused) else answer.reason
    )


@contextlib.contextmanager
def _place_at_provider() -> Iterator[None]:
    """One of the places of this process's requests that are busy with the provider.

    Raises:
        ProviderUnavailableError: there is none, or nobody would answer.
    """
    with gateway.bulkhead().place() as has_place:
        if not has_place or gateway.breaker().is_open():
            raise ProviderUnavailableError
        yield


def _kept(customer: Customer, deadline: Deadline) -> list[PaymentMethod]:
    if customer.stripe_customer_id is None:
        return []
    answer = gateway.list_payment_methods(
        customer_id=customer.stripe_customer_id, deadline=deadline
    )
    if isinstance(answer, Refused) and answer.code == gateway.MISSING:
        _forget(customer)
        return []
    return _told(answer)


def _attach(customer: Customer, method_id: str, deadline: Deadline) -> MethodAnswer:
    """Have the provider keep it for the customer, whom it may have to get to know first.

    The key under which it does repeats for a day whom it got to know before, even one who was
    deleted at the provider's own site since then: then once more, under another key.
    """
    # A number may come again, after a restore or in another database of the same account at the
    # provider: by the number alone a new customer would be given somebody else's cards.
    key = f"cu-{customer.pk}-{customer.created_at:%Y%m%d%H%M%S%f}"
    stripe_customer_id = customer.stripe_customer_id or _introduce(customer, key, deadline)
    answer = gateway.attach_payment_method(
        method_id=method_id, customer_id=stripe_customer_id, deadline=deadline
    )
    if not (
        isinstance(answer, Refused) and (answer.code, answer.param) == (gateway.MISSING, "customer")
    ):
        return answer
    _forget(customer)
    return gateway.attach_payment_method(
        method_id=method_id,
        customer_id=_introduce(customer, f"{key}-after-{stripe_customer_id}", deadline),
        deadline=deadline,
    )


def _introduce(customer: Customer, key: str, deadline: Deadline) -> str:
    """Let the provider know the customer, by number alone: there is less to be erased.

    Returns:
        The id that is noted: another request may have been faster.
    """
    made = _make(customer, key, deadline)
    if isinstance(made, Unknown) and made.replayed:  # a stored 5xx, which `key` repeats for a day
        made = _make(customer, f"{key}-{new_uuid()}", deadline)
    new_id = _told(made).id
    noted = customers.note_stripe_customer(customer_id=customer.pk, stripe_customer_id=new_id)
    if noted != new_id:
        gateway.delete_customer(customer_id=new_id, deadline=deadline)
    if noted is None:
        raise InactiveCustomerError
    customer.stripe_customer_id = noted
    return noted


def _make(customer: Customer, key: str, deadline: Deadline) -> CustomerAnswer:
    about: dict[str, Any] = {"metadata": {"app": gateway.MARK, "customer": str(customer.pk)}}
    return gateway.create_customer(params=about, idempotency_key=key, deadline=deadline)


def _forget(customer: Customer) -> None:
    """The provider knows the customer no longer."""
    if customer.stripe_customer_id is not None:
        with short_transaction():
            customers.forget_stripe_customer(
                customer_id=customer.pk, stripe_customer_id=customer.stripe_customer_id
            )
        customer.stripe_customer_id = None


def _is_none(answer: MethodAnswer) -> bool:
    """Whether there is no such payment method, or nobody keeps it."""
    return isinstance(answer, Refused) and (answer.code == gateway.MISSING or answer.blames_method)


def _told(answer: _Told | Refused | Unknown) -> _Told:
    """What the provider says, if it says what was asked for.

    Raises:
        ProviderUnavailableError: it does not answer, or refuses us, of which staff is told.
    """
    if isinstance(answer, Unknown):
        raise ProviderUnavailableError
    if isinstance(answer, Refused):
        log.error("saved_cards_refused_by_provider", code=answer.code, param=answer.param)
        raise ProviderUnavailableError
    return answer


def _refusal(problem: str) -> ValidationFailedError:
    return ValidationFailedError(details={"payment_method_id": [problem]})


def _record(event_type: str, customer: Customer, method: PaymentMethod) -> None:
    with short_transaction():
        audit.record(
            event_type,
            entity_type="customer",
            entity_id=customer.pk,
            data={"payment_method": method.id},
        )
