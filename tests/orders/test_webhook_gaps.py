"""Webhooks over a real connection, and none: then the provider's list of events fills the gap."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from audit import services as audit
from audit.models import AuditLog
from config.kernel.clock import Deadline
from orders import books, tasks
from orders.services import events
from payments import bookkeeping, gateway
from payments.errors import ProviderUnavailableError
from payments.models import Payment, ProviderEvent, Refund
from payments.selectors import EVENTS_BACKFILLED, events_read_until
from tests import factories
from tests.orders.mismatches import tamper
from tests.provider import PaymentServer
from tests.sandbox.conftest import ServerProcess, wait_until
from tests.shop import order_of
from tests.webhooks import SECRET

pytestmark = pytest.mark.django_db(transaction=True)

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


class TestHowFarBackfillReaches:
    """By what it asks the provider for: the list's `created[gte]`."""

    @pytest.fixture
    def asked(self, provider, business):
        def asked():
            [request] = provider.journal(path="/v1/events")
            provider.clear_journal()
            return timezone.now().timestamp() - int(request["params"]["created"]["gte"])

        provider.clear_journal()
        return asked

    def read_until(self, ago):
        until = timezone.now() - ago
        audit.record(EVENTS_BACKFILLED, data={"until": until.isoformat()})

    def test_is_three_hours_where_it_ran_an_hour_ago(self, asked):
        self.read_until(timedelta(hours=1))
        tasks.backfill_events()
        assert asked() == pytest.approx(tasks.BACKFILL.total_seconds(), abs=30)

    def test_is_the_whole_outage_with_an_overlap(self, asked):
        self.read_until(timedelta(days=6))
        tasks.backfill_events()
        expected = timedelta(days=6) + events.OVERLAP
        assert asked() == pytest.approx(expected.total_seconds(), abs=30)

    def test_is_short_again_once_the_gap_is_read(self, asked):
        self.read_until(timedelta(days=6))
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
        self.read_until(timedelta(days=40))
        tasks.backfill_events()
        assert asked() == pytest.approx(events.KEPT.total_seconds(), abs=30)
        assert "events_forgotten" in caplog.text

    def test_a_list_that_broke_off_is_read_again(self, asked, provider):
        self.read_until(timedelta(days=6))
        before = events_read_until()
        provider.fail("drop", path="/v1/events", method="GET", times=None)
        with pytest.raises(ProviderUnavailableError):
            tasks.backfill_events()
        provider.clear_faults()
        provider.clear_journal()
        assert events_read_until() == before

        tasks.backfill_events()

        assert asked() > timedelta(days=6).total_seconds()
        assert AuditLog.objects.filter(event_type=EVENTS_BACKFILLED).count() == 2
