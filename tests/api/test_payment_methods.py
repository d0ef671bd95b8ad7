"""Saved cards, over HTTP against the payment server: who keeps them, and who may pay with them."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.utils import timezone
from structlog.testing import capture_logs

from audit import outbox
from audit.models import AuditLog, Delivery
from config.kernel.clock import Deadline
from customers import services as customers
from customers.models import Customer
from inventory.models import Reservation
from orders.services import privacy, saved_cards
from payments import gateway
from payments.models import LedgerEntry
from tests import factories
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/me/payment-methods"
ATTACH = "/v1/payment_methods/*/attach"
CUSTOMERS = "/v1/customers"


@pytest.fixture(autouse=True)
def _own_files(settings, tmp_path):
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
    settings.MAIL_DIR = tmp_path / "mail"


@pytest.fixture(autouse=True)
def _journal(provider):
    provider.clear_journal()


@pytest.fixture
def stranger(shop):
    return Shopper(factories.CustomerFactory())


def erase(shopper):
    privacy.erase_customer(customer_id=shopper.customer.pk, now=timezone.now())


def save(shopper, method="pm_card_visa"):
    return shopper.post(PATH, {"payment_method_id": method})


def saved(shopper, method="pm_card_visa") -> str:
    answer = save(shopper, method)
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


def remove(shopper, method):
    return shopper.client.delete(f"/api/v1{PATH}/{method}", headers=shopper.headers)


def listed(shopper):
    answer = shopper.get(PATH)
    assert answer.status_code == 200, answer.content
    return [card["id"] for card in answer.json()["results"]]


def provider_id(shopper):
    return Customer.objects.values_list("stripe_customer_id", flat=True).get(pk=shopper.customer.pk)


def error_of(answer):
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["details"]


def asked(provider):
    """What was asked of the provider since the journal was cleared."""
    found = provider._get("/_test/journal", {"limit": "1000"})["requests"]
    return [(entry["method"], entry["path"]) for entry in found]


def audited(shopper):
    rows = AuditLog.objects.filter(entity_type="customer", entity_id=shopper.customer.pk)
    return list(rows.order_by("id").values_list("event_type", flat=True))


class TestSavingACard:
    def test_keeps_it_at_the_provider_alone(self, shopper, provider):
        answer = save(shopper)

        card = answer.json()
        assert answer.status_code == 201
        assert card == {
            "id": card["id"],
            "type": "card",
            "brand": "visa",
            "last4": "4242",
            "exp_month": 12,
            "exp_year": 2034,
        }
        assert shopper.get(PATH).json() == {"next": None, "previous": None, "results": [card]}
        about = provider._get(f"/v1/customers/{provider_id(shopper)}")
        assert about["metadata"] == {"app": "orderkeep", "customer": str(shopper.customer.pk)}
        assert (about["email"], about["name"], about["phone"]) == (None, None, None)
        assert audited(shopper) == ["PROVIDER_CUSTOMER_NOTED", "PAYMENT_METHOD_SAVED"]

    def test_makes_one_customer_for_many_cards(self, shopper, provider):
        cards = [saved(shopper, method) for method in ("pm_card_visa", "pm_card_amex")]

        assert listed(shopper) == cards[::-1]
        assert asked(provider).count(("POST", CUSTOMERS)) == 1

    def test_never_finds_the_cards_of_who_had_the_number_before_a_restore(self, shopper):
        saved(shopper)
        before = provider_id(shopper)
        Customer.objects.filter(pk=shopper.customer.pk).update(
            stripe_customer_id=None, created_at=timezone.now()
        )

        card = saved(shopper)

        assert provider_id(shopper) not in {None, before}
        assert listed(shopper) == [card]

    def test_again_tells_of_the_same_card(self, shopper, provider):
        card = save(shopper)

        again = save(shopper, card.json()["id"])

        assert (again.status_code, again.json()) == (201, card.json())
        assert listed(shopper) == [card.json()["id"]]
        assert audited(shopper).count("PAYMENT_METHOD_SAVED") == 1

    @pytest.mark.parametrize(
        ("method", "decline_code"),
        [
            ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ],
    )
    def test_is_declined_by_its_bank(self, shopper, method, decline_code):
        answer = save(shopper, method)

        assert error_of(answer) == (402, "CARD_DECLINED", {"decline_code": decline_code})
        assert listed(shopper) == []
        assert "PAYMENT_METHOD_SAVED" not in audited(shopper)

    def test_of_nobody_or_of_somebody_else_is_refused_in_the_same_words(self, shopper, stranger):
        theirs = saved(stranger)
        gone = saved(shopper)
        remove(shopper, gone)

        refusals = [error_of(save(shopper, method)) for method in ("pm_nobody", theirs, gone)]

        problem = {"payment_method_id": ["This payment method cannot be saved."]}
        assert refusals == [(400, "VALIDATION_FAILED", problem)] * 3
        assert listed(shopper) == []
        assert listed(stranger) == [theirs]

    @pytest.mark.parametrize(
        "body",
        [{}, {"payment_method_id": "card_1"}, {"payment_method_id": 1}, {"payment_method": "pm_1"}],
    )
    def test_without_an_id_asks_nobody(self, shopper, provider, body):
        answer = shopper.post(PATH, body)

        assert error_of(answer)[:2] == (400, "VALIDATION_FAILED")
        assert asked(provider) == []

    def test_beyond_the_twentieth_is_refused(self, shopper, provider):
        saved(shopper)
        for _ in range(19):
            gateway.attach_payment_method(
                method_id="pm_card_visa", customer_id=provider_id(shopper), deadline=Deadline(12)
            )

        answer = save(shopper)

        assert error_of(answer) == (
            400,
            "VALIDATION_FAILED",
            {"payment_method_id": ["No more than 20 cards are kept; remove one first."]},
        )
        assert len(listed(shopper)) == 20

    def test_is_for_customers_alone(self, guest, provider):
        assert guest.post(PATH, {"payment_method_id": "pm_card_visa"}).status_code == 401
        assert guest.get(PATH).status_code == 401
        assert remove(guest, "pm_1").status_code == 401
        assert asked(provider) == []

    def test_is_not_for_the_suspended_who_may_still_look(self, shopper):
        card = saved(shopper)
        Customer.objects.filter(pk=shopper.customer.pk).update(status="suspended")

        assert error_of(save(shopper))[:2] == (403, "INACTIVE_CUSTOMER")
        assert remove(shopper, card).status_code == 403
        assert listed(shopper) == [card]


class TestTryingOutCards:
    @pytest.fixture(autouse=True)
    def _limits(self, settings):
        settings.THROTTLE = True
        settings.THROTTLE_RATES = {**settings.THROTTLE_RATES, "declines": (2, 3_600)}

    def test_stops_at_the_fourth_in_a_minute(self, shopper, stranger, monkeypatch):
        monkeypatch.setattr("config.kernel.api.throttles.time.time", lambda: 1_800_000_000.0)
        cards = [saved(shopper) for _ in range(3)]

        answer = save(shopper)

        assert error_of(answer)[:2] == (429, "RATE_LIMIT_EXCEEDED")
        assert 0 < int(answer["Retry-After"]) <= 61
        assert listed(shopper) == cards[::-1]
        assert save(stranger).status_code == 201

    def test_counts_declines_as_those_of_orders(self, shopper, provider):
        product = factories.ProductFactory(on_hand=5)
        declined = "pm_card_visa_chargeDeclined"
        assert shopper.order((product.sku, 1), payment_method_id=declined).status_code == 402
        assert save(shopper, declined).status_code == 402
        provider.clear_journal()

        assert save(shopper).status_code == 429
        assert shopper.order((product.sku, 1)).status_code == 429
        assert asked(provider) == []


class TestTheProviderAway:
    def test_is_503_for_what_needs_it(self, shopper, provider):
        card = saved(shopper)
        provider.fail("drop", path="/v1/**", method="*", times=None)

        answers = [shopper.get(PATH), save(shopper), remove(shopper, card)]

        assert [error_of(answer)[:2] for answer in answers] == [(503, "SERVICE_UNAVAILABLE")] * 3
        assert all(int(answer["Retry-After"]) > 0 for answer in answers)
        provider.clear_faults()
        assert listed(shopper) == [card]

    def test_is_no_matter_for_who_never_saved_a_card(self, shopper, provider):
        provider.fail("drop", path="/v1/**", method="*", times=None)

        assert listed(shopper) == []
        assert remove(shopper, "pm_1").status_code == 404
        assert asked(provider) == []

    def test_leaves_no_second_customer_behind(self, shopper, provider):
        provider.fail("answer_lost", path=CUSTOMERS)

        assert save(shopper).status_code == 503
        assert provider_id(shopper) is None
        assert save(shopper).status_code == 201
        assert self.customers_of(shopper, provider) == [provider_id(shopper)]

    def test_with_an_error_that_it_keeps_for_a_day_does_not_last_that_long(self, shopper, provider):
        provider.fail("error_before", path=CUSTOMERS)

        assert save(shopper).status_code == 503
        assert save(shopper).status_code == 201
        assert self.customers_of(shopper, provider) == [provider_id(shopper)]

    def test_after_it_has_kept_the_card_shows_it_all_the_same(self, shopper, provider):
        provider.fail("answer_lost", path=ATTACH)

        assert save(shopper).status_code == 503
        (card,) = listed(shopper)
        assert save(shopper, card).json()["id"] == card

    def test_is_not_waited_for_without_a_place(self, shopper, provider):
        card = saved(shopper)
        places = [gateway.bulkhead().place() for _ in range(settings.PROVIDER_SLOTS)]
        gateway.bulkhead()._wait_seconds = 0.01
        for place in places:
            assert place.__enter__()
        provider.clear_journal()

        answers = [shopper.get(PATH), save(shopper), remove(shopper, card)]

        for place in places:
            place.__exit__(None, None, None)
        assert [answer.status_code for answer in answers] == [503] * 3
        assert asked(provider) == []
        assert listed(shopper) == [card]

    def test_for_good_as_our_key_is_refused_is_told_to_staff(self, shopper, settings):
        saved(shopper)
        settings.STRIPE_SECRET_KEY = "sk_nonsense"
        gateway._client.cache_clear()

        with capture_logs() as logs:
            answer = shopper.get(PATH)

        gateway._client.cache_clear()
        assert error_of(answer)[:2] == (503, "SERVICE_UNAVAILABLE")
        assert [log["event"] for log in logs if log["log_level"] == "error"] == [
            "saved_cards_refused_by_provider"
        ]

    def customers_of(self, shopper, provider):
        found = provider._get("/v1/customers", {"limit": "100"})["data"]
        wanted = str(shopper.customer.pk)
        return [one["id"] for one in found if one["metadata"].get("customer") == wanted]


class TestACustomerGoneAtTheProvider:
    def test_has_no_cards_and_may_save_new_ones(self, shopper, provider):
        saved(shopper)
        gone = provider_id(shopper)
        self.delete(gone)

        assert listed(shopper) == []
        assert provider_id(shopper) is None
        card = saved(shopper)

        assert provider_id(shopper) not in {None, gone}
        assert listed(shopper) == [card]
        assert audited(shopper) == [
            *["PROVIDER_CUSTOMER_NOTED", "PAYMENT_METHOD_SAVED", "PROVIDER_CUSTOMER_FORGOTTEN"],
            # What the key of the first repeats is gone, which the next call finds out.
            *["PROVIDER_CUSTOMER_NOTED", "PROVIDER_CUSTOMER_FORGOTTEN"],
            *["PROVIDER_CUSTOMER_NOTED", "PAYMENT_METHOD_SAVED"],
        ]

    def test_orders_again_once_the_cards_were_looked_at(self, shopper):
        product = factories.ProductFactory(on_hand=5)
        saved(shopper)
        self.delete(provider_id(shopper))
        shopper.get(PATH)

        assert shopper.order((product.sku, 1)).status_code == 201

    def delete(self, customer_id):
        gateway.delete_customer(customer_id=customer_id, deadline=Deadline(12))


class TestTwoRequestsAtOnce:
    def test_end_with_one_customer_at_the_provider(self, shopper, provider, monkeypatch):
        """The other one notes its customer between our call and our note of it."""
        theirs = gateway.create_customer(
            params={}, idempotency_key="of-the-other-request", deadline=Deadline(12)
        )
        make = gateway.create_customer

        def make_and_be_overtaken(**call):
            made = make(**call)
            customers.note_stripe_customer(
                customer_id=shopper.customer.pk, stripe_customer_id=theirs.id
            )
            return made

        monkeypatch.setattr(gateway, "create_customer", make_and_be_overtaken)
        card = saved(shopper)

        assert provider_id(shopper) == theirs.id
        assert listed(shopper) == [card]
        assert TestTheProviderAway().customers_of(shopper, provider) == []

    def test_of_which_one_is_an_erasure_leave_nothing_at_the_provider(
        self, shopper, provider, monkeypatch
    ):
        make = gateway.create_customer

        def make_and_be_erased(**call):
            made = make(**call)
            erase(shopper)
            return made

        monkeypatch.setattr(gateway, "create_customer", make_and_be_erased)

        assert error_of(save(shopper))[:2] == (403, "INACTIVE_CUSTOMER")
        assert provider_id(shopper) is None
        assert TestTheProviderAway().customers_of(shopper, provider) == []


class TestRemovingACard:
    def test_makes_it_useless(self, shopper, provider):
        product = factories.ProductFactory(on_hand=5)
        card, kept = saved(shopper), saved(shopper, "pm_card_amex")

        answer = remove(shopper, card)

        assert (answer.status_code, answer.content) == (204, b"")
        assert listed(shopper) == [kept]
        assert shopper.order((product.sku, 1), payment_method_id=card).status_code == 402
        assert audited(shopper)[-1] == "PAYMENT_METHOD_REMOVED"

    def test_that_is_none_somebody_elses_or_gone_looks_the_same(self, shopper, stranger):
        gone, theirs = saved(shopper), saved(stranger)
        remove(shopper, gone)
        words = ["pm_nobody", theirs, gone, "pm_card_visa", "card_1", "pm_%2e%2e", "x" * 300]

        answers = [remove(shopper, word) for word in words]

        assert [error_of(answer) for answer in answers] == [(404, "NOT_FOUND", None)] * 7
        assert listed(stranger) == [theirs]

    def test_twice_at_once_removes_it_once(self, shopper, monkeypatch):
        card = saved(shopper)
        detach = gateway.detach_payment_method

        def detach_and_again(**call):
            detach(**call)
            return detach(**call)

        monkeypatch.setattr(gateway, "detach_payment_method", detach_and_again)

        assert remove(shopper, card).status_code == 404
        assert listed(shopper) == []


class TestPayingWithASavedCard:
    def test_works_as_often_as_one_likes(self, shopper, provider):
        product = factories.ProductFactory(on_hand=5)
        card = saved(shopper)
        provider.clear_journal()

        answers = [shopper.order((product.sku, 1), payment_method_id=card) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [201, 201]
        assert len(asked(provider)) == 4  # an intent and its confirmation each, as with any card
        for answer in answers:
            (intent,) = provider.intents_of(answer.json()["id"])
            assert (intent["status"], intent["payment_method"]) == ("succeeded", card)
            assert intent["customer"] == provider_id(shopper)

    def test_asks_for_3d_secure_each_time(self, shopper, provider):
        product = factories.ProductFactory(on_hand=5)
        card = saved(shopper, "pm_card_authenticationRequired")

        for _ in range(2):
            first = shopper.order((product.sku, 1), payment_method_id=card)
            status, code, details = error_of(first)
            assert (status, code) == (402, "PAYMENT_REQUIRES_ACTION")
            provider.act(details["payment_intent_id"], "succeed")
            paid = shopper.post(f"/orders/{details['order_number']}/confirm")
            assert (paid.status_code, paid.json()["status"]) == (200, "confirmed")
        assert listed(shopper) == [card]

    def test_that_declines_later_is_a_decline_and_stays_saved(self, shopper):
        product = factories.ProductFactory(on_hand=5)
        card = saved(shopper, "pm_card_chargeCustomerFail")

        answer = shopper.order((product.sku, 1), payment_method_id=card)

        assert error_of(answer)[:2] == (402, "CARD_DECLINED")
        assert listed(shopper) == [card]

    def test_with_another_card_beside_it_does_not_keep_that_one(self, shopper):
        product = factories.ProductFactory(on_hand=5)
        card = saved(shopper)

        assert shopper.order((product.sku, 1)).status_code == 201
        assert listed(shopper) == [card]

    def test_of_a_customer_deleted_at_the_provider_fails_once(self, shopper):
        product = factories.ProductFactory(on_hand=5)
        saved(shopper)
        gateway.delete_customer(customer_id=provider_id(shopper), deadline=Deadline(12))

        first = shopper.order((product.sku, 1))

        assert error_of(first)[:2] == (502, "PAYMENT_ERROR")
        assert order_of(first).status == "cancelled"
        assert provider_id(shopper) is None
        assert audited(shopper)[-1] == "PROVIDER_CUSTOMER_FORGOTTEN"
        assert shopper.order((product.sku, 1)).status_code == 201

    @pytest.mark.parametrize("who", ["a guest", "who saved none", "who saved another"])
    def test_of_somebody_else_fails_cleanly(self, who, guest, shopper, stranger, provider):
        product = factories.ProductFactory(on_hand=3)
        theirs = saved(stranger)
        thief = guest if who == "a guest" else shopper
        if who == "who saved another":
            saved(shopper)

        with capture_logs() as logs:
            answer = thief.order((product.sku, 2), payment_method_id=theirs)

        status, code, details = error_of(answer)
        assert (status, code) == (402, "PAYMENT_FAILED")
        assert details.keys() == {"order_number"}
        order = order_of(answer)
        assert (order.status, order.payment_status) == ("cancelled", "failed")
        assert product.stock_levels.get().allocated == 0
        assert order.reservations.get().status == Reservation.Status.RELEASED
        assert not LedgerEntry.objects.exists()
        intents = provider.intents_of(str(order.public_id))
        assert {intent["status"] for intent in intents} <= {"canceled"}
        assert [log for log in logs if log["log_level"] in {"error", "critical"}] == []
        assert listed(stranger) == [theirs]


class TestAnErasure:
    def test_takes_the_cards_from_the_provider(self, shopper, provider):
        card = saved(shopper)
        known_as = provider_id(shopper)
        shopper.client.delete("/api/v1/me", headers=shopper.headers)

        outbox.relay()

        assert self.delivery().delivered_at is not None
        answer = gateway.list_payment_methods(customer_id=known_as, deadline=Deadline(12))
        assert answer.code == "resource_missing"
        found = gateway.retrieve_payment_method(method_id=card, deadline=Deadline(12))
        assert found.customer_id == ""

    def test_is_tried_again_while_the_provider_is_away(self, shopper, provider):
        saved(shopper)
        shopper.client.delete("/api/v1/me", headers=shopper.headers)
        provider.fail("unavailable", path="/v1/customers/*", method="*")

        outbox.relay()
        waiting = self.delivery()
        Delivery.objects.filter(pk=waiting.pk).update(next_attempt_at=timezone.now())
        outbox.relay()

        assert (waiting.delivered_at, waiting.attempts) == (None, 1)
        assert waiting.last_error == "APIError 503"
        assert self.delivery().delivered_at is not None

    def test_may_be_told_twice(self, shopper):
        saved(shopper)
        erase(shopper)
        outbox.relay()

        assert saved_cards.follow(self.delivery().message) == (
            "the provider has forgotten the customer already"
        )

    def test_of_who_saved_no_card_asks_nobody(self, shopper, provider):
        erase(shopper)

        outbox.relay()

        assert self.delivery().delivered_at is not None
        assert asked(provider) == []

    def delivery(self):
        return Delivery.objects.select_related("message").get(subscriber=saved_cards.SUBSCRIBER)
