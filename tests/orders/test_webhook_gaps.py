"""Webhooks over a real connection, and none: then the provider's list of events fills the gap."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from audit import services as audit
from config.kernel.clock import Deadline
from orders import books, tasks
from orders.services import events
from payments import bookkeeping, gateway
from payments.errors import ProviderUnavailableError
from payments.models import Payment, ProviderEvent, Refund
from payments.selectors import EVENTS_BACKFILLED, events_read_until
from tests import factories
from tests.orders.mismatches import intent_form, tamper
from tests.provider import PaymentServer
from tests.sandbox.conftest import ServerProcess, wait_until
from tests.shop import order_of
from tests.webhooks import SECRET

pytestmark = pytest.mark.django_db(transaction=True)

HANDLED = sorted(events.events.HANDLED)
TRUE_ENDS = {
    "approved": ("confirmed", "succeeded"),
    "abandoned": ("cancelled", "failed"),
    "debited": ("confirmed", "succeeded"),
    "bounced": ("cancelled", "failed"),
    "paypal": ("confirmed", "succeeded"),
    "refunded": ("cancelled", "refunded"),
    "partly": ("confirmed", "partially_refunded"),
    "returned": ("confirmed", "succeeded"),
    "disputed": ("confirmed", "disputed"),
    "won": ("confirmed", "succeeded"),
    "lost": ("confirmed", "disputed"),
    "asked": ("confirmed", "succeeded"),
}
METHODS = {
    "approved": "pm_card_threeDSecure2Required",
    "abandoned": "pm_card_threeDSecure2Required",
    "debited": "pm_usBankAccount_success",
    "bounced": "pm_usBankAccount_success",
    "paypal": "pm_paypal",
}


@pytest.fixture
def provider(live_server, settings, tmp_path):
    """A payment server that tells this shop of everything by webhook."""
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    settings.THROTTLE = False
    hook = f"{live_server.url}/api/v1/webhooks/stripe"
    server = ServerProcess(
        state=tmp_path / "state.sqlite3",
        options=(
            *("--webhook-url", hook, "--webhook-secret", SECRET),
            *("--webhook-events", ",".join(sorted(events.events.HANDLED))),
        ),
    )
    settings.STRIPE_API_BASE = server.url
    gateway._client.cache_clear()
    try:
        yield PaymentServer(server.url)
    finally:
        gateway._client.cache_clear()
        server.stop()


def drop_webhooks(provider):
    """From now on nobody is told of anything."""
    provider._post("/_test/faults", {"kind": "webhook_drop", "event": "*", "times": None})


def told(provider):
    """What the provider has to tell of is told, or dropped."""
    wait_until(
        lambda: all(each["done"] for each in provider._get("/_test/deliveries")["deliveries"]),
        seconds=30,
    )


@pytest.fixture
def business(provider, shopper):
    """One order for each end, placed; what has happened so far is told and worked off."""
    product = factories.ProductFactory(on_hand=100)
    orders = {}
    for name in TRUE_ENDS:
        changes = {"payment_method_id": METHODS[name]} if name in METHODS else {}
        orders[name] = order_of(shopper.order((product.sku, 1), **changes))
    told(provider)
    work_off()
    return orders


def ends(provider, business):
    """The shopper, the bank and somebody at the provider's own site; we only hear of it."""
    intents = {name: order.payments.get().payment_intent_id for name, order in business.items()}
    for name in ("approved", "debited", "paypal"):
        provider.act(intents[name], "succeed")
    for name in ("abandoned", "bounced"):
        provider.act(intents[name], "fail")
    provider.refund(intents["refunded"])
    provider.refund(intents["partly"], amount=100)
    returned = provider.refund(intents["returned"], amount=200)
    provider.decide_refund(returned["id"], "fail")
    provider.dispute(intents["disputed"])
    for name, outcome in (("won", "win"), ("lost", "lose")):
        dispute = provider.dispute(intents[name])
        provider.decide_dispute(dispute["id"], outcome)
    provider.dispute(intents["asked"], inquiry=True)


def work_off():
    deadline = Deadline(60)
    while events.process_due(deadline=deadline, ignore_backoff=True):
        pass


def shown(business):
    for order in business.values():
        order.refresh_from_db()
    return {name: (order.status, order.payment_status) for name, order in business.items()}


def all_agree():
    bookkeeping.book_balance_transactions()
    found = books.check(with_provider=True)
    assert [f"{each.name} {each.examples}" for each in found.findings if each.violations] == []


class TestWebhooks:
    def test_bring_every_order_to_its_end(self, provider, business):
        ends(provider, business)
        told(provider)
        work_off()

        assert shown(business) == TRUE_ENDS
        all_agree()

    def test_that_are_all_dropped_leave_the_shop_ignorant(self, provider, business):
        """Or the next test would prove nothing."""
        before, kept = shown(business), ProviderEvent.objects.count()
        drop_webhooks(provider)

        ends(provider, business)
        told(provider)
        work_off()

        assert ProviderEvent.objects.count() == kept
        assert shown(business) == before


class TestBackfill:
    def test_fills_what_dropped_webhooks_left_open(self, provider, business):
        drop_webhooks(provider)
        ends(provider, business)
        told(provider)

        tasks.backfill_events()
        work_off()

        assert shown(business) == TRUE_ENDS
        assert not ProviderEvent.objects.exclude(status__in=["processed", "ignored"]).exists()
        all_agree()

    def test_together_with_late_webhooks_changes_nothing(self, provider, business):
        ends(provider, business)
        tasks.backfill_events()
        work_off()
        told(provider)
        tasks.backfill_events()
        work_off()

        assert shown(business) == TRUE_ENDS
        assert Refund.objects.filter(status="succeeded").count() == 2
        all_agree()


def read_until(ago, *, types=HANDLED):
    until = timezone.now() - ago
    audit.record(EVENTS_BACKFILLED, data={"until": until.isoformat(), "types": [*types]})


def unread():
    """How much is not surely read by now."""
    return timezone.now() - events_read_until(types=HANDLED)


@pytest.fixture
def windows(provider, business):
    """Asked for since the last call, oldest first; from when to when, in seconds ago."""

    def windows():
        now = timezone.now().timestamp()
        asked = [request["params"]["created"] for request in provider.journal(path="/v1/events")]
        provider.clear_journal()
        found = {(int(each["gte"]), int(each.get("lt", now))) for each in asked}
        return [(now - begin, now - end) for begin, end in sorted(found)]

    provider.clear_journal()
    return windows


class TestHowFarBackfillReaches:
    """By what it asks the provider for: the list's `created[gte]`."""

    @pytest.fixture
    def asked(self, windows):
        def asked():
            [(oldest, _), *_more] = windows()
            return oldest

        return asked

    def test_is_three_hours_where_it_ran_an_hour_ago(self, asked):
        read_until(timedelta(hours=1))
        tasks.backfill_events()
        assert asked() == pytest.approx(tasks.BACKFILL.total_seconds(), abs=30)

    def test_is_the_whole_outage(self, asked):
        read_until(timedelta(days=6))
        tasks.backfill_events()
        assert asked() == pytest.approx(timedelta(days=6).total_seconds(), abs=30)

    def test_is_a_little_before_the_last_look(self, business):
        """Clocks differ, and the list may show an event a little later."""
        tasks.backfill_events()
        assert unread() == pytest.approx(events.OVERLAP, abs=timedelta(seconds=30))

    def test_is_the_first_payment_for_a_type_that_was_not_read_before(self, asked, business):
        first = Payment.objects.order_by("id").first()
        tamper(first, created_at=timezone.now() - timedelta(days=9))
        read_until(timedelta(hours=1), types=HANDLED[1:])
        tasks.backfill_events()
        expected = timedelta(days=9) + events.OVERLAP
        assert asked() == pytest.approx(expected.total_seconds(), abs=30)

    def test_is_not_longer_for_a_type_that_is_read_no_more(self, asked):
        read_until(timedelta(hours=1), types=[*HANDLED, "payout.paid"])
        tasks.backfill_events()
        assert asked() == pytest.approx(tasks.BACKFILL.total_seconds(), abs=30)

    def test_is_short_again_once_the_gap_is_read(self, asked):
        read_until(timedelta(days=6))
        tasks.backfill_events()
        asked()

        tasks.backfill_events()

        assert asked() == pytest.approx(tasks.BACKFILL.total_seconds(), abs=30)

    def test_is_the_first_payment_where_it_never_ran(self, asked, business):
        tamper(
            Payment.objects.order_by("id").first(), created_at=timezone.now() - timedelta(days=9)
        )
        tasks.backfill_events()
        expected = timedelta(days=9) + events.OVERLAP
        assert asked() == pytest.approx(expected.total_seconds(), abs=30)

    def test_ends_where_the_provider_forgets_and_says_so(self, asked, caplog):
        read_until(timedelta(days=40))
        tasks.backfill_events()
        assert asked() == pytest.approx(events.KEPT.total_seconds(), abs=30)
        assert "events_forgotten" in caplog.text

    def test_a_list_that_broke_off_is_read_again(self, asked, provider):
        read_until(timedelta(days=6))
        before = events_read_until(types=HANDLED)
        provider.fail("drop", path="/v1/events", method="GET", times=None)
        with pytest.raises(ProviderUnavailableError):
            tasks.backfill_events()
        provider.clear_faults()
        provider.clear_journal()
        assert events_read_until(types=HANDLED) == before

        tasks.backfill_events()

        assert asked() >= timedelta(days=6).total_seconds()
        assert unread() < timedelta(hours=2)


class TestAGapThatIsTooLongForOneGo:
    """Read window by window, the oldest first; whoever is stopped has got on."""

    def stopped_at(self, monkeypatch, *, window):
        """A task's time limit, before that window."""
        listed = gateway.list_events
        windows = iter(range(window))

        def stops(**wanted):
            if next(windows, None) is None:
                raise SoftTimeLimitExceeded
            return listed(**wanted)

        with monkeypatch.context() as limited:
            limited.setattr(gateway, "list_events", stops)
            with pytest.raises(SoftTimeLimitExceeded):
                tasks.backfill_events()

    def test_is_read_without_a_hole(self, windows):
        read_until(timedelta(days=6))

        tasks.backfill_events()

        asked = windows()
        assert len(asked) > 20
        for (_, end), (begin, _) in itertools.pairwise(asked):
            assert begin == end
        assert asked[-1][1] == pytest.approx(0, abs=30)

    def test_goes_on_where_it_was_stopped(self, monkeypatch, windows):
        read_until(timedelta(days=6))

        left = []
        for _ in range(4):
            self.stopped_at(monkeypatch, window=3)
            left.append(unread())

        assert left == sorted(left, reverse=True)
        an_eighth = 7 * events.FIRST_WINDOW  # of three windows, each twice the one before
        assert left[-1] == pytest.approx(
            timedelta(days=6) - 4 * an_eighth, abs=timedelta(seconds=30)
        )
        windows()
        tasks.backfill_events()
        assert windows()[0][0] == pytest.approx(left[-1].total_seconds(), abs=30)
        assert unread() < timedelta(hours=2)

    def test_is_never_longer_for_having_looked(self, monkeypatch):
        """What was read again says nothing of what comes after it."""
        read_until(timedelta(hours=1))

        self.stopped_at(monkeypatch, window=1)

        assert unread() < timedelta(hours=1, minutes=1)

    def test_does_not_keep_the_night_from_comparing(self, provider, business, stripe):
        orphan = stripe("/v1/payment_intents", **intent_form())
        provider.fail("drop", path="/v1/events", method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            tasks.reconcile_payments()

        assert provider.intent(orphan["id"])["status"] == "canceled"

    def test_is_read_by_a_night_that_could_not_compare(self, provider, business):
        provider.fail("drop", path="/v1/refunds", method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            tasks.reconcile_payments()

        assert unread() < timedelta(hours=2)
