"""Marketing: whom the tool knows, as what, and that nobody is kept who does not want to be."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit import outbox
from audit import services as audit
from audit.models import Delivery, OutboxMessage
from audit.outbox import DeliveryFailedError, ReceiverAwayError
from customers import services as customers
from customers import suppressions
from customers.models import Customer, CustomerMetrics, EmailSuppression
from integrations import tasks
from integrations.marketing import contacts, refresh, segments, selectors
from integrations.marketing.models import MarketingContact
from integrations.marketing.resync import resync
from integrations.marketing.segments import Bought
from orders.models import Cart, CartItem, Order
from orders.services import carts, privacy
from tests import factories
from tests.admin import rows
from tests.integrations.outbound import delivery, message, subscribe_anew, tell_all

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 11, 28, 9, 30, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def tool(sinks, settings, monkeypatch):
    """A marketing tool that takes what it is told."""
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.MARKETING_PER_SECOND = 1_000
    sinks.configure(settings, "marketing")
    subscribe_anew(monkeypatch)
    return sinks


@pytest.fixture
def ann():
    return person()


def person(**changes):
    wanted = {"marketing_consent": True, "email_verified": True, "first_name": "Ann", **changes}
    return factories.CustomerFactory(**wanted)


def consent(customer: Customer, *, to: bool) -> None:
    customer.refresh_from_db()
    customers.update_profile(
        customer_id=customer.pk, version=customer.version, changes={"marketing_consent": to}
    )


def told(tool, kind: str | None = None):
    bodies = tool.received("marketing").bodies
    return [body for body in bodies if kind in (None, body["type"])]


def there(tool) -> dict[str, str]:
    """The contacts that a tool would have which does what it is told, by their ids."""
    found = {}
    for body in told(tool):
        if body["type"] == "contact.upserted":
            found[body["data"]["contact_id"]] = body["data"]["email"]
        elif body["type"] == "contact.removed":
            found.pop(body["data"]["contact_id"], None)
    return found


def bought(customer: Customer, *, value: str, count: int = 1, currency: str = "USD") -> None:
    CustomerMetrics.objects.create(
        customer=customer, currency=currency, order_count=count, lifetime_value=Decimal(value)
    )


class TestAContact:
    def test_is_whoever_consents(self, tool, ann):
        consent(ann, to=True)

        tell_all("marketing")

        [body] = told(tool)
        data = body["data"]
        assert body["type"] == "contact.upserted"
        assert body["id"] == str(message("customer.marketing_consent_changed").uuid)
        assert data.pop("unsubscribe_url").startswith(
            f"https://shop.example.com/api/v1/unsubscribe/{ann.pk}."
        )
        assert data == {
            "contact_id": str(ann.pk),
            "email": ann.email,
            "first_name": "Ann",
            "last_name": "Lovelace",
            "marketing_consent": True,
            "bought": [],
            "last_order_date": None,
            "segments": {"orders": "none", "recency": "never"},
        }
        contact = MarketingContact.objects.get(pk=ann.pk)
        assert (contact.segments, contact.telling) == ("orders=none recency=never", None)

    def test_is_told_what_it_has_bought(self, tool, ann):
        order = rows.make_order(3, customer=ann, created_at=timezone.now())
        bought(ann, value="123.40", count=2)
        bought(ann, value="900", count=1, currency="JPY")
        consent(ann, to=True)

        tell_all("marketing")

        [body] = told(tool)
        assert body["data"]["bought"] == [
            {"currency": "JPY", "order_count": 1, "lifetime_value": "900"},
            {"currency": "USD", "order_count": 2, "lifetime_value": "123.40"},
        ]
        assert body["data"]["last_order_date"] == order.created_at.date().isoformat()
        assert body["data"]["segments"] == {
            "orders": "several",
            "recency": "active",
            "value_USD": "middle",
        }

    @pytest.mark.parametrize(
        "lacking",
        [
            {"email_verified": False},
            {"marketing_consent": False},
            {"status": "suspended"},
            {"status": "inactive"},
        ],
    )
    def test_is_nobody_who_lacks_something(self, tool, lacking):
        customer = person(**lacking)
        _state("customer.email_verified", customer)

        tell_all("marketing")

        assert told(tool) == []
        assert delivery("marketing").last_error == contacts.NOT_KNOWN
        assert not MarketingContact.objects.exists()

    def test_is_removed_when_consent_is_withdrawn(self, tool, ann):
        consent(ann, to=True)
        tell_all("marketing")
        consent(ann, to=False)

        tell_all("marketing")

        assert told(tool)[-1]["data"] == {"contact_id": str(ann.pk)}
        assert there(tool) == {}
        assert not MarketingContact.objects.exists()

    def test_is_removed_when_the_account_is_erased(self, tool, ann):
        consent(ann, to=True)
        tell_all("marketing")
        privacy.erase_customer(customer_id=ann.pk, now=NOW)

        tell_all("marketing")

        assert there(tool) == {}
        assert not MarketingContact.objects.exists()

    def test_that_the_tool_was_never_told_of_is_removed_all_the_same(self, tool, ann):
        privacy.erase_customer(customer_id=ann.pk, now=NOW)

        tell_all("marketing")

        assert [body["type"] for body in told(tool)] == ["contact.removed"]

    def test_has_its_new_address(self, tool, ann):
        consent(ann, to=True)
        tell_all("marketing")
        Customer.objects.filter(pk=ann.pk).update(email="new@example.com")
        _state("customer.email_verified", ann)

        tell_all("marketing")

        assert there(tool) == {str(ann.pk): "new@example.com"}

    def test_leaves_nothing_of_a_person_in_our_own_books(self, tool, ann):
        Customer.objects.filter(pk=ann.pk).update(email="canary@example.com", last_name="Canary")
        tool.fail("marketing", "status", status=400)
        consent(ann, to=True)

        outbox.relay()

        kept = [*Delivery.objects.values_list("last_error", flat=True)]
        kept += [json.dumps(payload) for payload in OutboxMessage.objects.values_list("payload")]
        assert delivery("marketing").status == "dead"
        assert "canary" not in " ".join(kept).lower()


def _state(fact: str, customer: Customer) -> None:
    audit.publish(
        fact,
        aggregate_type="customer",
        aggregate_id=customer.pk,
        dedupe_key=f"{fact}.{uuid.uuid4()}",
        payload={"customer_id": customer.pk},
    )


class TestWithdrawing:
    def test_while_the_contact_is_being_told_of_removes_it(self, tool, ann, monkeypatch):
        find = selectors.find_contact

        def withdrawn_after_the_first_look(**wanted):
            found = find(**wanted)
            if found is not None:
                Customer.objects.filter(pk=ann.pk).update(marketing_consent=False)
            return found

        monkeypatch.setattr(selectors, "find_contact", withdrawn_after_the_first_look)

        assert contacts.bring_up_to_date(
            customer_id=ann.pk, key=uuid.uuid4(), occurred_at=timezone.now()
        )

        assert [body["type"] for body in told(tool)] == ["contact.upserted", "contact.removed"]
        assert not MarketingContact.objects.exists()

    def test_leaves_a_relay_its_ten_seconds(self, tool, ann, monkeypatch):
        """A tool that is slow while its contact changes: what is left is told the next time."""
        monkeypatch.setattr(contacts, "HAND_OVER_SECONDS", 1.5)
        tool.fail("marketing", "latency", seconds=0.7, times=None)
        find = selectors.find_contact

        def another_each_time(**wanted):
            name = uuid.uuid4().hex
            Customer.objects.filter(pk=ann.pk).update(first_name=name)
            return find(**wanted)

        monkeypatch.setattr(selectors, "find_contact", another_each_time)

        with pytest.raises(DeliveryFailedError, match="changes faster"):
            contacts.bring_up_to_date(
                customer_id=ann.pk, key=uuid.uuid4(), occurred_at=timezone.now()
            )

        assert tool.received("marketing").calls == 1

    def test_between_two_tries_of_one_message_removes_it(self, tool, ann):
        """A tool that deduplicates would take a removal under the key of the upsert for that."""
        tool.fail("marketing", "answer_lost")
        consent(ann, to=True)
        outbox.relay()
        Customer.objects.filter(pk=ann.pk).update(marketing_consent=False)

        tell_all("marketing")

        assert [body["type"] for body in told(tool)] == ["contact.upserted", "contact.removed"]
        assert there(tool) == {}
        assert not MarketingContact.objects.exists()

    def test_between_two_tries_of_a_resync_removes_it(self, tool, ann):
        tool.fail("marketing", "answer_lost")

        def meanwhile(_seconds):
            Customer.objects.filter(pk=ann.pk).update(marketing_consent=False)

        resync(pause=meanwhile)

        assert there(tool) == {}
        assert [body["type"] for body in told(tool)] == ["contact.upserted", "contact.removed"]

    @pytest.mark.parametrize(
        ("kind", "more"),
        [
            ("status", {"status": 500}),
            ("status", {"status": 429, "retry_after": 1}),
            ("answer_lost", {}),
            ("drop", {"reset": True}),
        ],
    )
    def test_is_not_lost_to_a_tool_that_fails(self, tool, ann, kind, more):
        consent(ann, to=True)
        tool.fail("marketing", kind, times=2, **more)
        outbox.relay()
        consent(ann, to=False)

        tell_all("marketing")

        assert there(tool) == {}
        assert not MarketingContact.objects.exists()


class TestAStorm:
    """Whatever the tool does: in the end it has those who want to be written to, and no others."""

    FAULTS = (
        ("status", {"status": 500, "times": 4}),
        ("status", {"status": 503, "applied": True, "times": 3}),
        ("status", {"status": 429, "retry_after": 1, "times": 2}),
        ("answer_lost", {"times": 4}),
        ("drop", {"reset": True, "times": 3}),
        ("junk", {"status": 502, "form": "html", "times": 3}),
    )

    def test_leaves_both_sides_equal(self, tool):
        people = [person() for _ in range(12)]
        for kind, more in self.FAULTS:
            tool.fail("marketing", kind, **more)
        for turn in range(3):
            for number, one in enumerate(people):
                consent(one, to=(number + turn) % 3 != 0)
            outbox.relay()
        for one in people[:2]:
            privacy.erase_customer(customer_id=one.pk, now=NOW)

        tell_all("marketing")

        wanted = {
            str(one.pk): one.email
            for one in Customer.objects.filter(marketing_consent=True, erased_at=None)
        }
        assert wanted
        assert there(tool) == wanted
        assert {str(pk) for pk in MarketingContact.objects.values_list("pk", flat=True)} == {
            *wanted
        }
        received = tool.received("marketing")
        assert received.kept == len({item["key"] for item in received.items})
        assert received.calls > received.kept + 10  # it has struck
        assert not Delivery.objects.filter(status="dead").exists()

    def test_of_one_poisoned_contact_holds_up_no_other(self, tool):
        bad, good = person(last_name="Poison"), person()
        tool.fail("marketing", "status", status=422, contains="Poison", times=None)
        consent(bad, to=True)
        consent(good, to=True)

        outbox.relay()

        assert there(tool) == {str(good.pk): good.email}
        dead = Delivery.objects.get(status="dead")
        assert dead.message.aggregate_id == bad.pk
        assert dead.last_error.startswith("Marketing answered 422 to POST /events")


class TestSegments:
    @pytest.mark.parametrize(
        ("value", "word"),
        [("99.99", "low"), ("100", "middle"), ("499.99", "middle"), ("500", "high")],
    )
    def test_by_value_have_bounds_that_belong_to_the_upper_one(self, settings, value, word):
        settings.MARKETING_MIDDLE_VALUES = {"USD": Decimal(100)}
        settings.MARKETING_HIGH_VALUES = {"USD": Decimal(500)}

        found = self.of(Bought(currency="USD", order_count=1, lifetime_value=Decimal(value)))

        assert found["value_USD"] == word

    def test_by_value_are_of_each_currency_by_itself(self, settings):
        settings.MARKETING_MIDDLE_VALUES = {"USD": Decimal(100), "JPY": Decimal(10_000)}
        settings.MARKETING_HIGH_VALUES = {"USD": Decimal(500), "JPY": Decimal(50_000)}

        found = self.of(
            Bought(currency="USD", order_count=1, lifetime_value=Decimal(600)),
            Bought(currency="JPY", order_count=1, lifetime_value=Decimal(600)),
            Bought(currency="CHF", order_count=1, lifetime_value=Decimal(600)),
        )

        assert (found["value_USD"], found["value_JPY"]) == ("high", "low")
        assert "value_CHF" not in found  # nobody has said what is much there
        assert found["orders"] == "several"

    @pytest.mark.parametrize(
        ("count", "word"), [(0, "none"), (1, "one"), (2, "several"), (4, "several"), (5, "loyal")]
    )
    def test_by_orders(self, count, word):
        one = Bought(currency="USD", order_count=count, lifetime_value=Decimal(0))

        assert self.of(one)["orders"] == word

    @pytest.mark.parametrize(
        ("days", "word"),
        [(None, "never"), (0, "active"), (90, "active"), (91, "cooling"), (366, "lapsed")],
    )
    def test_by_recency(self, days, word):
        at = None if days is None else NOW - timedelta(days=days)

        assert segments.of(bought=[], last_order_at=at, now=NOW)["recency"] == word

    def of(self, *bought):
        return segments.of(bought=bought, last_order_at=None, now=NOW)


class TestTheNight:
    def test_tells_of_whoever_has_got_into_another_segment(self, tool, ann):
        other = person()
        for one in (ann, other):
            consent(one, to=True)
        tell_all("marketing")
        bought(ann, value="1000")

        assert refresh.refresh_segments(now=timezone.now()) == 1
        tell_all("marketing")

        assert told(tool)[-1]["data"]["contact_id"] == str(ann.pk)
        assert told(tool)[-1]["data"]["segments"]["value_USD"] == "high"
        assert refresh.refresh_segments(now=timezone.now()) == 0

    def test_tells_of_time_that_went_by(self, tool, ann):
        order = rows.make_order(3, customer=ann, created_at=timezone.now())
        Order.objects.filter(pk=order.pk).update(status="shipped")
        consent(ann, to=True)
        tell_all("marketing")

        assert refresh.refresh_segments(now=timezone.now() + timedelta(days=100)) == 1

    def test_finds_whoever_should_be_a_contact_and_whoever_should_not(self, tool, ann):
        consent(ann, to=True)
        tell_all("marketing")
        Customer.objects.filter(pk=ann.pk).update(status="suspended")
        missed = person()

        assert refresh.refresh_segments(now=timezone.now()) == 2
        tell_all("marketing")

        assert there(tool) == {str(missed.pk): missed.email}

    def test_has_an_address_removed_that_mail_came_back_from(self, tool, ann):
        consent(ann, to=True)
        tell_all("marketing")
        reason = EmailSuppression.Reason.BOUNCED
        suppressions.suppress(address=ann.email, reason=reason, provider="mail")

        assert refresh.refresh_segments(now=timezone.now()) == 1
        tell_all("marketing")

        assert there(tool) == {}

    def test_states_nothing_twice_a_day_and_no_more_than_it_may(self):
        for _ in range(3):
            person()

        assert refresh.refresh_segments(now=NOW, limit=2) == 2
        assert refresh.refresh_segments(now=NOW) == 1
        assert refresh.refresh_segments(now=NOW) == 0
        assert refresh.refresh_segments(now=NOW + timedelta(days=1)) == 3

    def test_leaves_out_of_whom_a_delivery_waits_or_was_given_up(self, tool):
        bad, good = person(last_name="Poison"), person()
        tool.fail("marketing", "status", status=422, contains="Poison", times=None)
        now = timezone.now()
        assert refresh.refresh_segments(now=now) == 2
        outbox.relay()
        assert there(tool) == {str(good.pk): good.email}

        assert refresh.refresh_segments(now=now + timedelta(days=1)) == 0

        tool.clear_faults()
        outbox.retry(include_dead=True)
        tell_all("marketing")
        bought(bad, value="1000")
        assert refresh.refresh_segments(now=now + timedelta(days=2)) == 1

    def test_leaves_out_nobody_for_what_others_were_not_told(self, tool, ann):
        now = timezone.now()
        refresh.refresh_segments(now=now)
        outbox.relay()
        Delivery.objects.update(subscriber="elsewhere", status="dead")
        bought(ann, value="1000")

        assert refresh.refresh_segments(now=now + timedelta(days=1)) == 1

    def test_begins_at_anybody_and_comes_to_everybody(self):
        people = [person() for _ in range(4)]

        refresh.refresh_segments(now=NOW, limit=3, behind=people[1].pk)

        stated = OutboxMessage.objects.filter(fact=contacts.SEGMENTS_CHANGED).order_by("pk")
        assert [*stated.values_list("aggregate_id", flat=True)] == [
            people[2].pk,
            people[3].pk,
            people[0].pk,
        ]
        assert refresh.refresh_segments(now=NOW) == 1

    def test_tells_once_more_of_what_had_no_answer_at_first(self, tool, ann):
        """Under the same key the first words count, and nobody knows which those were."""
        tool.fail("marketing", "answer_lost")
        consent(ann, to=True)
        tell_all("marketing")
        assert MarketingContact.objects.get(pk=ann.pk).segments == ""

        assert refresh.refresh_segments(now=timezone.now()) == 1
        tell_all("marketing")

        assert refresh.refresh_segments(now=timezone.now()) == 0
        assert MarketingContact.objects.get(pk=ann.pk).segments == "orders=none recency=never"

    def test_reads_in_a_constant_number_of_statements(self):
        for _ in range(2):
            person()
        first = self.statements(NOW)
        for _ in range(20):
            person()

        assert self.statements(NOW + timedelta(days=1)) - first <= 20  # the facts themselves

    def statements(self, now) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            refresh.refresh_segments(now=now, behind=0)
        return len(queries)

    def test_does_nothing_where_no_tool_is_named(self, settings, ann):
        settings.MARKETING_BASE_URL = ""

        tasks.refresh_segments()

        assert not OutboxMessage.objects.filter(fact=contacts.SEGMENTS_CHANGED).exists()


class TestAResync:
    def test_tells_of_everybody_and_removes_the_others(self, tool, ann):
        gone, nobody = person(marketing_consent=False), person(marketing_consent=False)
        MarketingContact.objects.create(pk=gone.pk)

        outcome = resync()

        assert (outcome.told, outcome.refused, outcome.problem) == (2, [], "")
        assert there(tool) == {str(ann.pk): ann.email}
        assert {body["data"]["contact_id"] for body in told(tool, "contact.removed")} == {
            str(gone.pk)
        }
        assert str(nobody.pk) not in {body["data"]["contact_id"] for body in told(tool)}

    def test_may_be_repeated(self, tool, ann):
        resync()
        resync()

        assert there(tool) == {str(ann.pk): ann.email}
        assert len(told(tool)) == 2  # a call of its own each time, with what holds then

    def test_goes_on_behind_whom_the_tool_refuses(self, tool):
        bad, good = person(last_name="Poison"), person()
        tool.fail("marketing", "status", status=422, contains="Poison", times=None)

        outcome = resync()

        assert [pk for pk, _ in outcome.refused] == [bad.pk]
        assert there(tool) == {str(good.pk): good.email}

    def test_lists_no_more_of_the_refused_than_anybody_reads(self, tool, monkeypatch):
        monkeypatch.setattr("integrations.marketing.resync.MOST_SHOWN", 2)
        for _ in range(3):
            person()
        tool.fail("marketing", "status", status=400, times=None)

        outcome = resync()

        assert (outcome.failed, len(outcome.refused)) == (3, 2)

    def test_waits_for_a_tool_that_is_away_and_then_ends(self, tool):
        first, second = person(), person()
        tool.fail("marketing", "status", status=503, retry_after=7, skip=1, times=None)
        pauses: list[float] = []

        outcome = resync(pause=pauses.append)

        assert outcome.done == first.pk
        assert "503" in outcome.problem
        assert pauses.count(7.0) == 3
        tool.clear_faults()
        assert resync(after=outcome.done).told == 1
        assert [*there(tool)] == [str(first.pk), str(second.pk)]

    def test_is_as_fast_as_the_tool_bears(self, settings, ann):
        settings.MARKETING_PER_SECOND = 1
        pauses: list[float] = []

        resync(pause=pauses.append)

        assert 0.5 < sum(pauses) <= 1

    def test_as_a_command_says_what_came_of_it(self, tool, ann, capsys):
        call_command("sync_marketing", "--json")

        assert json.loads(capsys.readouterr().out) == {
            "told": 1,
            "failed": 0,
            "refused": [],
            "done_up_to": ann.pk,
            "problem": "",
        }

    def test_as_a_command_ends_with_1_if_somebody_is_left(self, tool, ann, capsys):
        tool.fail("marketing", "status", status=400, times=None)

        with pytest.raises(SystemExit) as end:
            call_command("sync_marketing")

        assert end.value.code == 1
        assert f"Customer {ann.pk}: Marketing answered 400" in capsys.readouterr().out

    def test_as_a_command_wants_a_tool(self, settings):
        settings.MARKETING_BASE_URL = ""

        with pytest.raises(CommandError, match="MARKETING_BASE_URL") as refusal:
            call_command("sync_marketing")

        assert refusal.value.returncode == 2


class TestAnAbandonedCart:
    @pytest.fixture
    def cart(self, ann):
        left_at = timezone.now() - timedelta(hours=5)
        cart = Cart.objects.create(
            customer=ann, currency="USD", changed_at=left_at, expires_at=NOW + timedelta(days=300)
        )
        product = factories.ProductFactory(sku="APPLE", name="Apple")
        CartItem.objects.create(cart=cart, product=product, quantity=2)
        return cart

    def test_is_told_of_once_a_change(self, tool, ann, cart):
        carts.tell_abandoned(limit=10)
        carts.tell_abandoned(limit=10)

        tell_all("marketing")

        [body] = told(tool, "cart.abandoned")
        data = body["data"]
        assert data.pop("unsubscribe_url")
        assert data == {
            "contact_id": str(ann.pk),
            "email": ann.email,
            "first_name": "Ann",
            "currency": "USD",
            "items": [{"sku": "APPLE", "product_name": "Apple", "quantity": 2}],
            "cart_url": "https://shop.example.com/cart",
        }
        assert str(cart.public_id) not in json.dumps(told(tool))

    def test_is_told_of_by_nobody_who_has_not_agreed(self, tool, ann, cart):
        carts.tell_abandoned(limit=10)
        Customer.objects.filter(pk=ann.pk).update(marketing_consent=False)

        tell_all("marketing")

        assert told(tool) == []
        assert "not agreed" in delivery("marketing").last_error

    def test_is_not_told_of_once_it_was_ordered(self, tool, ann, cart):
        carts.tell_abandoned(limit=10)
        rows.make_order(3, customer=None, guest_email="x@example.com", cart_id=cart.public_id)

        tell_all("marketing")

        assert told(tool) == []
        assert "ordered meanwhile" in delivery("marketing").last_error

    def test_is_not_told_of_once_its_owner_has_ordered_otherwise(self, tool, ann, cart):
        carts.tell_abandoned(limit=10)
        rows.make_order(3, customer=ann, created_at=timezone.now())

        tell_all("marketing")

        assert told(tool) == []

    def test_is_told_of_if_that_order_was_cancelled(self, tool, ann, cart):
        carts.tell_abandoned(limit=10)
        order = rows.make_order(3, customer=ann, cart_id=cart.public_id)
        Order.objects.filter(pk=order.pk).update(status="cancelled")

        tell_all("marketing")

        assert len(told(tool)) == 1

    @pytest.mark.parametrize("change", ["touched", "gone", "left again"])
    def test_is_not_told_of_once_it_was_changed(self, tool, cart, change):
        carts.tell_abandoned(limit=10)
        if change == "gone":
            cart.delete()
        else:
            Cart.objects.filter(pk=cart.pk).update(
                changed_at=cart.changed_at + timedelta(minutes=5),
                abandoned_at=timezone.now() if change == "left again" else None,
            )

        tell_all("marketing")

        assert told(tool) == []

    def test_of_a_guest_is_nobodys(self, tool, cart):
        Cart.objects.filter(pk=cart.pk).update(customer=None)
        carts.tell_abandoned(limit=10)

        tell_all("marketing")

        assert told(tool) == []

    def test_is_told_of_again_until_the_tool_has_it(self, tool, cart):
        tool.fail("marketing", "answer_lost", times=2)
        carts.tell_abandoned(limit=10)

        tell_all("marketing")

        assert tool.received("marketing").kept == 1
        assert tool.received("marketing").duplicates == 2


def test_nobody_is_told_where_no_tool_is_named(settings, monkeypatch, tool, ann):
    settings.MARKETING_BASE_URL = ""
    monkeypatch.undo()

    consent(ann, to=True)
    outbox.relay()

    assert not Delivery.objects.filter(subscriber="marketing").exists()


def test_a_tool_that_is_away_says_so_without_a_person(settings, ann):
    settings.MARKETING_BASE_URL = "http://127.0.0.1:9"

    with pytest.raises(ReceiverAwayError) as away:
        contacts.bring_up_to_date(customer_id=ann.pk, key=uuid.uuid4(), occurred_at=NOW)

    assert str(away.value).startswith("Marketing did not answer POST /events")
    assert MarketingContact.objects.filter(pk=ann.pk).exists()  # for all we know
