"""The real gateway with the real SDK against the local payment server: every call, every fault."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import threading
import time
import uuid

import pytest
import structlog
from django.conf import settings

from config.kernel import transport
from config.kernel.clock import Deadline
from payments import gateway
from payments.errors import ProviderUnavailableError
from payments.gateway import (
    Failure,
    Intent,
    PaymentMethod,
    ProviderCustomer,
    ProviderRefund,
    Refused,
    Unknown,
)
from sandbox.payments.methods import CATALOGUE, Step

CREATE = "/v1/payment_intents"
RETRIEVE = "/v1/payment_intents/*"
CONFIRM = "/v1/payment_intents/*/confirm"
CANCEL = "/v1/payment_intents/*/cancel"
REFUNDS = "/v1/refunds"
ATTACH = "/v1/payment_methods/*/attach"
# Stripe's sentences about a payment method that may not pay, or not be kept.
BLAME = """
The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, \
shared with a connected account without Customer attachment, or was detached from a Customer. It \
may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer \
first.
This PaymentMethod was previously used without being attached to a Customer or was detached from \
a Customer, and may not be used again.
The `payment_method` parameter supplied pm_1 belongs to the Customer cus_1. Please include the \
Customer in the `customer` parameter on the PaymentIntent.
The PaymentMethod pm_1 does not belong to the Customer you supplied cus_1. Please use this \
PaymentMethod with the Customer that it belongs to instead.
The customer does not have a payment method with the ID pm_1. The payment method must be attached \
to the customer.
The payment method you provided has already been attached to a customer.
No such PaymentMethod: 'pm_1'
"""
RETURN_URL = "http://127.0.0.1:8000/orders/K7M2"


@pytest.fixture(autouse=True)
def _healthy(provider):
    """Every test begins with a provider without faults and leaves none behind."""
    gateway._client.cache_clear()
    yield
    gateway._client.cache_clear()


@pytest.fixture
def impatient(monkeypatch):
    """Deadlines of half a second are worth beginning, so that hanging is found out quickly."""
    monkeypatch.setattr(gateway, "LEAST_SECONDS", 0.05)


def plenty() -> Deadline:
    return Deadline(12)


def new_key() -> str:
    return f"contract-{uuid.uuid4()}"


def params(**changes):
    return {
        "amount": 4852,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "automatic_payment_methods": {"enabled": True},
        "metadata": {"app": "orderkeep", "payment": "p-1"},
        **changes,
    }


def create(*, key=None, deadline=None, **changes):
    return gateway.create_intent(
        params=params(**changes), idempotency_key=key or new_key(), deadline=deadline or plenty()
    )


def created(**changes) -> Intent:
    intent = create(**changes)
    assert isinstance(intent, Intent)
    return intent


def confirm(intent, *, key=None, deadline=None):
    return gateway.confirm_intent(
        intent_id=intent.id,
        params={"return_url": RETURN_URL},
        idempotency_key=key or new_key(),
        deadline=deadline or plenty(),
    )


def paid(**changes) -> Intent:
    intent = confirm(created(**changes))
    assert isinstance(intent, Intent)
    assert intent.status == "succeeded"
    return intent


def retrieve(intent, *, deadline=None):
    return gateway.retrieve_intent(intent_id=intent.id, deadline=deadline or plenty())


def cancel(intent, *, key=None):
    return gateway.cancel_intent(
        intent_id=intent.id, idempotency_key=key or new_key(), deadline=plenty()
    )


def refund(intent, *, key=None, deadline=None, **changes):
    return gateway.create_refund(
        params={"payment_intent": intent.id, "metadata": {"refund": "r-1"}, **changes},
        idempotency_key=key or new_key(),
        deadline=deadline or plenty(),
    )


def create_customer(*, key=None):
    return gateway.create_customer(
        params={"metadata": {"app": "orderkeep", "customer": "7"}},
        idempotency_key=key or new_key(),
        deadline=plenty(),
    )


@pytest.fixture
def customer():
    made = create_customer()
    assert isinstance(made, ProviderCustomer)
    return made.id


def attach(customer, method="pm_card_visa"):
    return gateway.attach_payment_method(method_id=method, customer_id=customer, deadline=plenty())


def attached(customer, method="pm_card_visa") -> str:
    kept = attach(customer, method)
    assert isinstance(kept, PaymentMethod)
    return kept.id


def detach(method):
    return gateway.detach_payment_method(method_id=method, deadline=plenty())


def methods_of(customer):
    return gateway.list_payment_methods(customer_id=customer, deadline=plenty())


def journal_of(provider, intent_id):
    found = provider._get("/_test/journal", {"payment_intent": intent_id, "limit": "1000"})
    return found["requests"]


class TestCreateIntent:
    def test_makes_an_unconfirmed_intent_and_moves_no_money(self):
        intent = create()

        assert isinstance(intent, Intent)
        assert gateway.INTENT_ID.fullmatch(intent.id)
        assert intent.status == "requires_confirmation"
        assert (intent.amount_minor, intent.amount_received_minor) == (4852, 0)
        assert intent.currency == "USD"
        assert intent.metadata == {"app": "orderkeep", "payment": "p-1"}
        assert intent.client_secret.startswith(f"{intent.id}_secret_")
        assert (intent.next_action, intent.failure, intent.replayed) == (None, None, False)

    def test_under_the_same_key_answers_the_same_intent_as_a_replay(self):
        first = created(key=(key := new_key()))

        second = create(key=key)

        assert isinstance(second, Intent)
        assert (second.id, second.replayed) == (first.id, True)

    def test_under_the_same_key_with_other_parameters_is_refused(self):
        created(key=(key := new_key()))

        answer = create(key=key, amount=1)

        assert isinstance(answer, Refused)
        assert answer.code == "IdempotencyError"
        assert answer.intent is None

    @pytest.mark.parametrize(
        ("changes", "code", "param"),
        [
            ({"payment_method": "pm_of_nobody"}, "resource_missing", "payment_method"),
            ({"amount": 0}, "parameter_invalid_integer", "amount"),
            ({"amount": 1_000_000_000_000}, "amount_too_large", "amount"),
            ({"currency": "xxx"}, "InvalidRequestError", "currency"),
            ({"nonsense": "1"}, "parameter_unknown", "nonsense"),
            ({"customer": "cus_of_nobody"}, "resource_missing", "customer"),
        ],
    )
    def test_tells_what_is_refused_and_why(self, changes, code, param):
        assert create(**changes) == Refused(
            code=code, param=param, blames_method=param == "payment_method"
        )

    def test_is_refused_with_a_wrong_key(self, settings):
        settings.STRIPE_SECRET_KEY = "sk_nonsense"

        answer = create()

        assert isinstance(answer, Refused)
        assert answer.code == "AuthenticationError"


def ids_of(wanted):
    return [name for name, method in CATALOGUE.items() if wanted(method)]


class TestConfirmIntent:
    @pytest.mark.parametrize(
        "method_id", ids_of(lambda m: m.step is Step.CHARGE and m.decline is None)
    )
    def test_takes_the_money(self, method_id):
        answer = confirm(created(payment_method=method_id))

        assert isinstance(answer, Intent)
        assert (answer.status, answer.amount_received_minor) == ("succeeded", 4852)
        assert (answer.failure, answer.replayed) == (None, False)

    @pytest.mark.parametrize(
        "method_id", ids_of(lambda m: m.step is Step.CHARGE and m.decline is not None)
    )
    def test_brings_a_decline_back_as_the_intent_with_its_failure(self, method_id):
        decline = CATALOGUE[method_id].decline

        answer = confirm(created(payment_method=method_id))

        assert isinstance(answer, Intent)
        assert (answer.status, answer.amount_received_minor) == ("requires_payment_method", 0)
        assert answer.failure == Failure(
            code=decline.code, decline_code=decline.decline_code, is_decline=True
        )

    @pytest.mark.parametrize("method_id", ids_of(lambda m: m.step is Step.AUTHENTICATE))
    def test_asks_for_three_d_secure_and_hears_how_it_ended(self, provider, method_id):
        decline = CATALOGUE[method_id].decline
        asked, refused = (confirm(created(payment_method=method_id)) for _ in range(2))
        assert isinstance(asked, Intent)
        assert isinstance(refused, Intent)
        assert asked.status == "requires_action"
        assert asked.next_action["type"] == "redirect_to_url"

        provider.act(asked.id, "succeed")
        provider.act(refused.id, "fail")

        done, failed = retrieve(asked), retrieve(refused)
        if decline is None:
            assert (done.status, done.failure) == ("succeeded", None)
        else:
            assert done.status == "requires_payment_method"
            assert done.failure == Failure(
                code=decline.code, decline_code=decline.decline_code, is_decline=True
            )
        assert failed.status == "requires_payment_method"
        assert failed.failure == Failure(code="payment_intent_authentication_failure")

    @pytest.mark.parametrize("method_id", ids_of(lambda m: m.step is Step.DEBIT))
    def test_of_a_bank_debit_takes_days(self, provider, method_id):
        decline = CATALOGUE[method_id].decline
        waiting = confirm(created(payment_method=method_id))
        assert isinstance(waiting, Intent)
        assert (waiting.status, waiting.amount_received_minor) == ("processing", 0)

        provider.act(waiting.id, "fail" if decline else "succeed")

        done = retrieve(waiting)
        if decline is None:
            assert (done.status, done.amount_received_minor) == ("succeeded", 4852)
        else:
            assert done.status == "requires_payment_method"
            assert done.failure == Failure(code=decline.code)

    @pytest.mark.parametrize("method_id", ids_of(lambda m: m.step is Step.REDIRECT))
    def test_of_a_wallet_sends_the_shopper_away_and_back(self, provider, method_id):
        asked, refused = (confirm(created(payment_method=method_id)) for _ in range(2))
        assert asked.status == "requires_action"
        assert asked.next_action["redirect_to_url"]["return_url"] == RETURN_URL

        provider.act(asked.id, "succeed")
        provider.act(refused.id, "fail")

        assert retrieve(asked).status == "succeeded"
        failed = retrieve(refused)
        assert failed.failure == Failure(code="payment_intent_payment_attempt_failed")

    def test_says_when_a_decline_is_an_old_one(self):
        intent = created(payment_method="pm_card_visa_chargeDeclined")
        first = confirm(intent, key=(key := new_key()))

        second = confirm(intent, key=key)

        assert (first.replayed, second.replayed) == (False, True)
        assert second.failure == first.failure

    def test_of_a_paid_intent_is_refused_with_its_state(self):
        intent = paid()

        answer = confirm(intent)

        assert isinstance(answer, Refused)
        assert answer.code == "payment_intent_unexpected_state"
        assert answer.intent.status == "succeeded"

    def test_of_another_ones_intent_is_not_believed(self, provider):
        mine, other = created(), created()
        provider.fail("altered", path=CONFIRM, fields={"id": other.id})

        assert confirm(mine) == Unknown(reason="malformed answer")


class TestRetrieveIntent:
    def test_tells_the_state_of_now(self):
        intent = created()
        confirm(intent)

        answer = retrieve(intent)

        assert isinstance(answer, Intent)
        assert (answer.status, answer.amount_received_minor) == ("succeeded", 4852)

    def test_of_an_unknown_one_is_refused(self):
        answer = gateway.retrieve_intent(intent_id="pi_of_nobody", deadline=plenty())

        assert answer == Refused(code="resource_missing", param="intent")


class TestCancelIntent:
    def test_ends_it_for_good(self):
        intent = created()

        answer = cancel(intent)

        assert isinstance(answer, Intent)
        assert answer.status == "canceled"
        assert isinstance(confirm(intent), Refused)

    def test_of_a_paid_one_tells_that_it_is_paid(self):
        intent = paid()

        answer = cancel(intent)

        assert isinstance(answer, Intent)
        assert (answer.status, answer.amount_received_minor) == ("succeeded", 4852)

    def test_repeated_tells_the_state_again(self):
        intent = created()
        cancel(intent)

        answer = cancel(intent)

        assert isinstance(answer, Intent)
        assert answer.status == "canceled"

    def test_of_an_unknown_one_is_refused(self):
        answer = gateway.cancel_intent(
            intent_id="pi_of_nobody", idempotency_key=new_key(), deadline=plenty()
        )

        assert isinstance(answer, Refused)
        assert (answer.code, answer.intent) == ("resource_missing", None)


class TestCreateRefund:
    def test_gives_a_part_back(self):
        intent = paid()

        answer = refund(intent, amount=100)

        assert isinstance(answer, ProviderRefund)
        assert gateway.REFUND_ID.fullmatch(answer.id)
        assert (answer.status, answer.amount_minor, answer.currency) == ("succeeded", 100, "USD")
        assert answer.payment_intent_id == intent.id
        assert answer.metadata == {"refund": "r-1"}

    def test_under_the_same_key_is_one_refund(self, provider):
        intent = paid()
        first = refund(intent, amount=100, key=(key := new_key()))

        second = refund(intent, amount=100, key=key)

        assert second == first
        assert len(provider.refunds_of(intent.id)) == 1

    def test_above_the_charge_is_refused(self, provider):
        intent = paid()

        answer = refund(intent, amount=4853)

        assert isinstance(answer, Refused)
        assert provider.refunds_of(intent.id) == []

    def test_of_an_unpaid_intent_is_refused(self):
        assert isinstance(refund(created(), amount=1), Refused)


class TestLists:
    def test_every_refund_of_an_intent_over_several_pages(self):
        intent = paid()
        for _ in range(3):
            refund(intent, amount=1)

        listed = gateway.list_refunds(intent_id=intent.id, deadline=plenty())

        assert [found.amount_minor for found in listed] == [1, 1, 1]
        assert {found.payment_intent_id for found in listed} == {intent.id}
        assert gateway.list_refunds(intent_id=created().id, deadline=plenty()) == []

    def test_a_refund_list_that_cannot_be_read_is_no_list(self, provider, settings):
        intent = paid()
        provider.fail("drop", path=REFUNDS, method="GET")

        unread = gateway.list_refunds(intent_id=intent.id, deadline=plenty())
        settings.STRIPE_SECRET_KEY = "sk_nonsense"
        gateway._client.cache_clear()
        refused = gateway.list_refunds(intent_id=intent.id, deadline=plenty())

        assert unread == Unknown(reason="APIConnectionError no answer")
        assert isinstance(refused, Refused)

    def test_all_intents_and_refunds_of_the_last_minute_page_by_page(self):
        since = int(time.time()) - 1
        made = {created().id for _ in range(101)}
        intent = paid()
        refunds = {refund(intent, amount=1).id for _ in range(101)}

        intents = [found.id for found in gateway.list_intents(created_since=since)]
        listed = [found.id for found in gateway.list_all_refunds(created_since=since)]

        assert made <= set(intents)
        assert refunds <= set(listed)
        assert len(intents) == len(set(intents))
        assert len(listed) == len(set(listed))

    def test_are_read_on_after_questions_with_deadlines_of_their_own(self, provider):
        since = int(time.time())
        intent = paid()
        made = {created().id for _ in range(101)}
        seen = set()

        for found in gateway.list_intents(created_since=since):
            if not seen:
                provider.fail("latency", path=CREATE, method="GET", seconds=0.3)
                retrieve(intent, deadline=Deadline(2.01))  # as good as over afterwards
                gateway._deadline.set(Deadline(0))
            seen.add(found.id)

        assert made <= seen

    @pytest.mark.parametrize("kind", ["drop", "error_before", "rate_limit"])
    def test_are_asked_for_again_where_one_answer_is_lost(self, provider, kind):
        since = int(time.time())
        made = paid().id
        provider.fail(kind, path=CREATE, method="GET", times=2)

        assert made in {found.id for found in gateway.list_intents(created_since=since)}

    def test_of_a_provider_that_does_not_answer_raise(self, provider):
        provider.fail("drop", path=CREATE, method="GET", times=None)
        provider.fail("drop", path=REFUNDS, method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            list(gateway.list_intents(created_since=0))
        with pytest.raises(ProviderUnavailableError):
            list(gateway.list_all_refunds(created_since=0))


class TestNoAnswer:
    @pytest.mark.parametrize("reset", [False, True])
    @pytest.mark.parametrize(("kind", "happened"), [("drop", False), ("answer_lost", True)])
    def test_is_unknown_and_the_same_key_finds_out(self, provider, kind, happened, reset):
        provider.fail(kind, path=CREATE, reset=reset)

        first = create(key=(key := new_key()))
        second = create(key=key)

        assert first == Unknown(reason="APIConnectionError no answer")
        assert isinstance(second, Intent)
        assert second.replayed is happened

    def test_to_a_refund_is_unknown_and_the_same_key_finds_out(self, provider):
        intent = paid()
        provider.fail("answer_lost", path=REFUNDS)

        first = refund(intent, amount=100, key=(key := new_key()))
        second = refund(intent, amount=100, key=key)

        assert first == Unknown(reason="APIConnectionError no answer")
        assert isinstance(second, ProviderRefund)
        assert len(provider.refunds_of(intent.id)) == 1

    def test_from_a_closed_port_is_unknown_at_once(self, settings):
        settings.STRIPE_API_BASE = "http://127.0.0.1:9"
        began = time.monotonic()

        answer = create()

        assert answer == Unknown(reason="APIConnectionError no answer")
        assert time.monotonic() - began < 3

    def test_from_a_host_that_is_none_is_unknown(self, settings):
        settings.STRIPE_API_BASE = "http://no-such-host.invalid"

        assert create() == Unknown(reason="APIConnectionError no answer")

    def test_from_a_server_that_speaks_no_tls_is_unknown(self, settings):
        settings.STRIPE_API_BASE = settings.STRIPE_API_BASE.replace("http:", "https:")

        assert create() == Unknown(reason="APIConnectionError no answer")


class TestAServerError:
    @pytest.mark.parametrize("status", [500, 502, 503])
    @pytest.mark.parametrize("kind", ["error_before", "error_after"])
    def test_is_unknown_and_replayed_for_ever(self, provider, kind, status):
        provider.fail(kind, path=CREATE, status=status)

        first = create(key=(key := new_key()))
        second = create(key=key)

        assert first == Unknown(reason=f"APIError {status}")
        assert second == Unknown(reason=f"APIError {status}", replayed=True)

    def test_of_a_refund_says_whether_it_is_a_stored_one(self, provider):
        intent = paid()
        provider.fail("error_before", path=REFUNDS)

        first = refund(intent, amount=1, key=(key := new_key()))
        second = refund(intent, amount=1, key=key)

        assert isinstance(first, Unknown)
        assert isinstance(second, Unknown)
        assert (first.replayed, second.replayed) == (False, True)

    def test_that_is_not_stored_is_over_with_the_next_try(self, provider):
        provider.fail("unavailable", path=CREATE)

        first = create(key=(key := new_key()))

        assert first == Unknown(reason="APIError 503")
        assert isinstance(create(key=key), Intent)

    def test_counts_for_the_breaker_unless_it_is_an_old_one(self, provider):
        provider.fail("error_before", path=CREATE)
        create(key=(key := new_key()))
        assert gateway.breaker()._failures == 1

        create(key=key)

        assert gateway.breaker()._failures == 1


class TestAConflict:
    def test_is_unknown_for_another_request_may_be_doing_it(self, provider):
        provider.fail("conflict", path=CREATE)

        first = create(key=(key := new_key()))

        assert first == Unknown(reason="APIError 409")
        assert gateway.breaker()._failures == 0
        assert isinstance(create(key=key), Intent)

    def test_with_a_request_in_flight_makes_one_intent(self, provider):
        provider.fail("latency", path=CREATE, seconds=0.5)
        key, slow = new_key(), []
        first = threading.Thread(target=lambda: slow.append(create(key=key)))
        first.start()
        wait_for_request(provider, key)

        second = create(key=key)
        first.join(timeout=10)

        assert second == Unknown(reason="APIError 409")
        assert create(key=key).id == slow[0].id


def wait_for_request(provider, key):
    """Until the server has the first request with this key in its hands."""
    give_up_at = time.monotonic() + 5
    after = 0
    while time.monotonic() < give_up_at:
        found = provider._get("/_test/journal", {"after": str(after), "limit": "1000"})["requests"]
        if any(entry["idempotency_key"] == key for entry in found):
            return
        after = found[-1]["id"] if len(found) == 1000 else after
    raise AssertionError("the request never arrived")


class TestARateLimit:
    def test_is_waited_for_with_jitter(self, provider, monkeypatch):
        pauses = []
        monkeypatch.setattr(gateway.time, "sleep", pauses.append)
        provider.fail("rate_limit", path=CREATE, times=3)
        monkeypatch.setattr(gateway.random, "uniform", lambda _least, most: most)

        answer = create()

        assert isinstance(answer, Intent)
        assert pauses == [0.5, 1.0, 2.0]

    def test_of_more_tries_than_four_is_unknown(self, provider, monkeypatch):
        monkeypatch.setattr(gateway.time, "sleep", lambda _seconds: None)
        provider.fail("rate_limit", path=CREATE, times=4, idempotency_key=(key := new_key()))

        answer = create(key=key)

        assert answer == Unknown(reason="rate limited")
        assert isinstance(create(key=key), Intent)  # it was asked four times, not five
        assert gateway.breaker()._failures == 0

    def test_is_not_waited_for_beyond_the_deadline(self, provider, monkeypatch):
        pauses = []
        monkeypatch.setattr(gateway.time, "sleep", pauses.append)
        monkeypatch.setattr(gateway.random, "uniform", lambda _least, most: most)
        provider.fail("rate_limit", path=CREATE, times=None)

        answer = create(deadline=Deadline(2.3))  # a pause of 0.5 s would leave less than 2 s

        assert answer == Unknown(reason="rate limited")
        assert pauses == []


class TestTheDeadline:
    def test_lets_no_call_begin_with_less_than_two_seconds_left(self, provider):
        provider.fail("drop", path="*", method="*", times=None)
        intent = Intent(
            id="pi_1",
            status="requires_confirmation",
            amount_minor=1,
            amount_received_minor=0,
            currency="USD",
            metadata={},
            client_secret="",
        )
        no_time = Unknown(reason="no time left to ask")

        assert create(deadline=Deadline(1.9)) == no_time
        assert confirm(intent, deadline=Deadline(1.9)) == no_time
        assert retrieve(intent, deadline=Deadline(1.9)) == no_time
        assert refund(intent, deadline=Deadline(1.9)) == no_time
        assert gateway.list_refunds(intent_id="pi_1", deadline=Deadline(1.9)) == no_time
        assert [fault["hits"] for fault in provider._get("/_test/faults")["faults"]] == [0]

    def test_lets_a_slow_answer_come(self, provider):
        provider.fail("latency", path=CREATE, seconds=0.5)

        assert isinstance(create(), Intent)

    @pytest.mark.parametrize("applied", [True, False])
    def test_ends_a_call_that_hangs(self, provider, impatient, applied):
        provider.fail("hang", path=CREATE, seconds=10, applied=applied)
        key = new_key()

        answer, seconds = timed(lambda: create(key=key, deadline=Deadline(0.5)))

        assert answer == Unknown(reason="APIConnectionError no answer")
        assert 0.4 < seconds < 3
        assert create(key=key).replayed is applied

    def test_ends_an_answer_that_comes_byte_by_byte(self, provider, impatient):
        provider.fail("drip", path=CREATE, seconds=0.05)  # ~1,500 bytes: more than a minute

        answer, seconds = timed(lambda: create(deadline=Deadline(0.6)))

        assert answer == Unknown(reason="APIConnectionError no answer")
        assert 0.5 < seconds < 3

    @pytest.mark.parametrize(("kind", "pause"), [("drip", 0.05), ("hang", 10)])
    def test_is_never_longer_than_the_time_for_one_answer(self, provider, monkeypatch, kind, pause):
        monkeypatch.setattr(transport, "READ_SECONDS", 0.5)
        provider.fail(kind, path=CREATE, seconds=pause)

        answer, seconds = timed(create)

        assert answer == Unknown(reason="APIConnectionError no answer")
        assert 0.4 < seconds < 3

    def test_ends_headers_that_come_byte_by_byte(self, hostile, impatient):
        def drip(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            for number in range(1000):
                client.sendall(b"X-%d: x\r\n" % number)
                if hostile.stopped.wait(0.05):
                    return

        hostile.answer = drip

        answer, seconds = timed(lambda: create(deadline=Deadline(0.6)))

        assert answer == Unknown(reason="APIConnectionError no answer")
        assert 0.5 < seconds < 3

    def test_holds_for_the_next_call_on_the_same_connection_too(self, provider, impatient):
        """A kept connection starts every answer with time of its own."""
        for _ in range(3):
            assert isinstance(create(deadline=Deadline(3)), Intent)
        provider.fail("hang", path=CREATE, seconds=10)

        answer, seconds = timed(lambda: create(deadline=Deadline(0.5)))

        assert isinstance(answer, Unknown)
        assert 0.4 < seconds < 3
        assert isinstance(create(), Intent)


def timed(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


class TestNonsense:
    @pytest.mark.parametrize("form", ["truncated", "html", "empty", "short", "error_200", "list"])
    def test_of_any_form_is_unknown(self, provider, form):
        intent = paid()
        provider.fail("malformed", path="/v1/**", method="*", form=form, times=None)

        answers = [
            create(),
            confirm(intent),
            retrieve(intent),
            cancel(intent),
            refund(intent, amount=1),
            gateway.list_refunds(intent_id=intent.id, deadline=plenty()),
        ]

        assert {type(answer) for answer in answers} == {Unknown}
        with pytest.raises(ProviderUnavailableError):
            list(gateway.list_intents(created_since=0))

    @pytest.mark.parametrize(
        "fields",
        [
            {"id": None},
            {"id": 5},
            {"id": ["pi_1"]},
            {"id": "ch_1"},
            {"id": "pi_" + "x" * 300},
            {"id": "pi_\u0000"},
            {"status": None},
            {"status": "paid"},
            {"status": []},
            {"status": {"a": 1}},
            {"amount": None},
            {"amount": "4852"},
            {"amount": 4852.0},
            {"amount": True},
            {"amount": [4852]},
            {"amount": -1},
            {"amount_received": "4852"},
            {"amount_received": {"usd": 1}},
            {"currency": None},
            {"currency": 840},
            {"metadata": [1, 2]},
            {"metadata": "text"},
            {"client_secret": 5},
            {"next_action": "text"},
            {"last_payment_error": "text"},
            {"last_payment_error": [1]},
        ],
    )
    def test_in_the_fields_of_an_intent_is_unknown(self, provider, fields):
        provider.fail("altered", path=CREATE, fields=fields)

        assert create() == Unknown(reason="malformed answer")

    @pytest.mark.parametrize(
        "fields",
        [
            {"id": None},
            {"id": "ch_1"},
            {"id": "re_" + "x" * 300},
            {"status": None},
            {"status": []},
            {"amount": "100"},
            {"amount": True},
            {"amount": -100},
            {"currency": None},
            {"payment_intent": {"id": "pi_1"}},
            {"metadata": 5},
        ],
    )
    def test_in_the_fields_of_a_refund_is_unknown(self, provider, fields):
        intent = paid()
        provider.fail("altered", path=REFUNDS, fields=fields)

        assert refund(intent, amount=100) == Unknown(reason="malformed answer")

    def test_in_a_failure_is_no_code_to_be_stored_or_shown(self, provider):
        intent = created(payment_method="pm_card_visa_chargeDeclined")
        confirm(intent)
        error = {"type": "card_error", "code": "x" * 61, "decline_code": "<script>\u0000"}
        provider.fail("altered", path=RETRIEVE, method="GET", fields={"last_payment_error": error})

        answer = retrieve(intent)

        assert isinstance(answer, Intent)
        assert answer.failure == Failure(code="payment_failed", is_decline=True)

    def test_of_another_amount_is_told_as_it_is_for_settlement_to_judge(self, provider):
        intent = created()
        provider.fail("wrong_amount", path=CONFIRM, amount=1)

        answer = confirm(intent)

        assert isinstance(answer, Intent)
        assert (answer.amount_minor, answer.amount_received_minor) == (1, 1)

    def test_says_nothing_about_whether_the_provider_is_up(self, provider):
        provider.fail("altered", path=CREATE, fields={"id": None})

        create()

        assert gateway.breaker()._failures == 0


class TestARedirect:
    def test_is_not_followed(self, provider, hostile, settings):
        target = settings.STRIPE_API_BASE
        settings.STRIPE_API_BASE = provider.base_url
        provider.fail("redirect", path=CREATE, location=f"{target}/v1/payment_intents")

        answer = create()

        assert isinstance(answer, Unknown)
        assert hostile.visits == 0


class Hostile:
    """A server that answers as a test tells it to, byte for byte."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer = lambda client: None
        self.visits = 0
        self.hung_up = threading.Semaphore(0)  # once for each connection that is closed
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.visits += 1
                with client, contextlib.suppress(OSError):
                    read_request(client)
                    self.answer(client)
                self.hung_up.release()

    def stop(self):
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


def read_request(client: socket.socket) -> None:
    """To its end: closing over what was not read would take the answer along."""
    told = b""
    while b"\r\n\r\n" not in told:
        if not (piece := client.recv(64 * 1024)):
            return
        told += piece
    head, _, body = told.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    left = int(length[1]) - len(body) if length else 0
    while left > 0 and (piece := client.recv(64 * 1024)):
        left -= len(piece)


@pytest.fixture
def hostile(settings):
    """The provider's address is in the wrong hands."""
    server = Hostile()
    settings.STRIPE_API_BASE = server.url
    yield server
    server.stop()


def json_answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class TestAHostileAnswer:
    def test_above_a_megabyte_is_refused(self, hostile):
        body = b'{"id": "pi_1", "padding": "' + b"x" * transport.MAX_ANSWER_BYTES + b'"}'
        hostile.answer = lambda client: client.sendall(json_answer(body))

        assert create() == Unknown(reason="APIConnectionError no answer")

    def test_without_an_end_is_refused_at_a_megabyte(self, hostile):
        def flood(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while not hostile.stopped.is_set():
                client.sendall(b"x" * 64 * 1024)

        hostile.answer = flood

        answer, seconds = timed(create)

        assert answer == Unknown(reason="APIConnectionError no answer")
        assert seconds < 5  # it did not wait for the deadline

    @pytest.mark.parametrize(
        "body",
        [
            b'{"error": null}',
            b'{"error": []}',
            b'{"error": 5}',
            b'{"error": "text"}',
            b'{"error": {"type": [], "code": {}, "param": 5}}',
            b'{"error": {"code": "x", "payment_intent": 5}}',
            b'{"error": {"type": "card_error", "code": 5, "payment_intent": {"id": []}}}',
            b"[" * 100_000,
            b"\xff\xfe",
            b"null",
            b"5",
            b'"text"',
        ],
        ids=lambda body: body[:40].decode("latin-1"),
    )
    @pytest.mark.parametrize("status", ["200 OK", "402 No", "400 No", "500 No", "429 Slow down"])
    def test_of_any_shape_is_an_answer_like_the_others(self, hostile, monkeypatch, status, body):
        monkeypatch.setattr(gateway, "RATE_LIMIT_TRIES", 1)
        hostile.answer = lambda client: client.sendall(json_answer(body, status=status))

        answer = create()

        is_a_no = status.startswith(("400", "402")) and body.startswith(b'{"error": {')
        assert isinstance(answer, Refused if is_a_no else Unknown)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 999 x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        ],
        ids=lambda raw: raw[:60].decode("latin-1"),
    )
    def test_that_is_hardly_http_is_unknown(self, hostile, raw):
        hostile.answer = lambda client: client.sendall(raw)

        assert isinstance(create(), Unknown)


class TestSecrets:
    def test_are_not_in_what_is_logged(self, provider, caplog):
        caplog.set_level(logging.DEBUG)
        with structlog.testing.capture_logs() as records:
            intent = confirm(created(payment_method="pm_card_threeDSecure2Required"))
            declined = confirm(created(payment_method="pm_card_visa_chargeDeclined"))
            create(payment_method="pm_of_nobody")
            cancel(paid())
            for kind in ("drop", "error_before", "malformed", "rate_limit"):
                provider.fail(kind, path=CREATE)
                create()

        logged = caplog.text + repr(records)
        assert "provider_refused" in logged
        assert settings.STRIPE_SECRET_KEY not in logged
        assert intent.client_secret not in logged
        assert declined.client_secret not in logged

    def test_are_not_in_the_repr_of_an_intent(self):
        intent = confirm(created(payment_method="pm_card_threeDSecure2Required"))

        assert intent.client_secret
        assert intent.client_secret not in repr(intent)
        assert intent.next_action["redirect_to_url"]["url"] not in repr(intent)

    def test_are_sent_to_the_provider_alone(self, monkeypatch, tmp_path):
        """Neither ~/.netrc nor a proxy of the environment gets into the way."""
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login evil password evil\n")
        with monkeypatch.context() as environment:
            environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
            environment.setenv("NETRC", str(tmp_path / "netrc"))

            assert isinstance(create(), Intent)


class TestACustomer:
    def test_is_made_once_under_a_key(self):
        first = create_customer(key=(key := new_key()))

        assert create_customer(key=key) == first
        assert gateway.CUSTOMER_ID.fullmatch(first.id)

    def test_is_deleted_once(self, customer):
        kept = attached(customer)

        deleted = gateway.delete_customer(customer_id=customer, deadline=plenty())
        again = gateway.delete_customer(customer_id=customer, deadline=plenty())

        assert deleted == ProviderCustomer(id=customer)
        assert again == Refused(code="resource_missing", param="id")
        assert methods_of(customer).code == "resource_missing"
        assert attach(customer, kept) == Refused(code="resource_missing", param="customer")

    @pytest.mark.parametrize("kind", ["drop", "unavailable", "error_before", "malformed"])
    def test_is_not_known_where_the_answer_is_none(self, provider, kind):
        provider.fail(kind, path="/v1/customers")

        assert isinstance(create_customer(), Unknown)

    @pytest.mark.parametrize("fields", [{"id": "x" * 101}, {"id": 7}, {"object": "payment_intent"}])
    def test_is_not_taken_from_nonsense(self, provider, fields):
        provider.fail("altered", path="/v1/customers", fields=fields)

        assert create_customer() == Unknown(reason="malformed answer")


class TestAPaymentMethod:
    def test_is_kept_read_listed_and_let_go(self, customer):
        kept = attach(customer)

        assert kept == PaymentMethod(
            id=kept.id,
            type="card",
            customer_id=customer,
            brand="visa",
            last4="4242",
            exp_month=12,
            exp_year=2034,
        )
        assert gateway.retrieve_payment_method(method_id=kept.id, deadline=plenty()) == kept
        assert methods_of(customer) == [kept]
        assert detach(kept.id).customer_id == ""
        assert methods_of(customer) == []

    def test_that_is_no_card_says_so(self, customer):
        kept = attach(customer, "pm_paypal")

        assert (kept.type, kept.brand, kept.last4, kept.exp_year) == ("paypal", "", "", None)

    def test_is_told_as_declined_with_its_reason(self, customer):
        answer = attach(customer, "pm_card_visa_chargeDeclinedInsufficientFunds")

        assert answer.decline == Failure(
            code="card_declined", decline_code="insufficient_funds", is_decline=True
        )
        assert methods_of(customer) == []

    def test_takes_the_blame_for_what_is_wrong_with_it(self, customer):
        kept = attached(customer)
        stranger = create_customer().id
        detach(gone := attached(customer))

        refusals = [
            attach(stranger, kept),
            attach(customer, gone),
            attach(customer, "pm_of_nobody"),
            detach(gone),
            create(payment_method=kept),
            create(payment_method=kept, customer=stranger),
            create(payment_method=gone, customer=customer),
        ]

        assert [type(answer) for answer in refusals] == [Refused] * 7
        assert [answer.blames_method for answer in refusals] == [True] * 7
        assert {answer.decline for answer in refusals} == {None}

    @pytest.mark.parametrize(
        ("message", "is_blamed"),
        [
            *((message, True) for message in BLAME.strip().splitlines()),
            ("No such customer: 'cus_1'", False),
            ("Received unknown parameter: payment_method_kind", False),
            ("You must provide a `return_url` when confirming a PaymentIntent.", False),
            (7, False),
            (None, False),
        ],
    )
    def test_is_blamed_by_the_sentence_where_no_param_is_named(self, hostile, message, is_blamed):
        error = {"error": {"type": "invalid_request_error", "message": message}}
        hostile.answer = lambda client: client.sendall(
            json_answer(json.dumps(error).encode(), status="400 Bad Request")
        )

        assert create() == Refused(code="InvalidRequestError", blames_method=is_blamed)

    def test_of_somebody_else_is_no_answer(self, provider, customer):
        provider.fail("altered", path=ATTACH, fields={"customer": "cus_of_somebody"})

        assert attach(customer) == Unknown(reason="malformed answer")

    @pytest.mark.parametrize(
        "fields",
        [
            {"id": "pi_1"},
            {"type": None},
            {"card": "4242"},
            {"card": {"exp_month": "12"}},
            {"card": {"exp_year": -1}},
            {"customer": {}},
        ],
    )
    def test_is_not_taken_from_nonsense(self, provider, customer, fields):
        provider.fail("altered", path=ATTACH, fields=fields)

        assert attach(customer) == Unknown(reason="malformed answer")

    def test_is_attached_by_a_second_try_whose_first_answer_was_lost(self, provider, customer):
        kept = attached(customer)
        provider.fail("answer_lost", path=ATTACH)

        assert isinstance(attach(customer, kept), Unknown)
        assert attached(customer, kept) == kept
        assert [method.id for method in methods_of(customer)] == [kept]


class TestTheSdk:
    def test_repeats_nothing_by_itself(self, provider):
        provider.fail("unavailable", path=RETRIEVE, method="GET", times=2)
        intent = created()

        answer = retrieve(intent)

        assert isinstance(answer, Unknown)
        assert [fault["hits"] for fault in provider._get("/_test/faults")["faults"]] == [1]

    def test_replaces_a_connection_that_the_provider_has_closed_meanwhile(self, hostile):
        """An idle connection that ended is no lost answer: nothing was sent through it."""
        body = b'{"id": "pi_1", "object": "payment_intent", "status": "requires_confirmation",'
        body += b' "amount": 4852, "currency": "usd"}'
        hostile.answer = lambda client: client.sendall(json_answer(body))

        answers = []
        for _ in range(3):
            answers.append(create())
            assert hostile.hung_up.acquire(timeout=5)

        assert [type(answer) for answer in answers] == [Intent] * 3
        assert hostile.visits == 3

    def test_speaks_to_the_configured_address_alone(self, hostile):
        paid_elsewhere = create()

        assert hostile.visits == 1
        assert paid_elsewhere == Unknown(reason="APIConnectionError no answer")
