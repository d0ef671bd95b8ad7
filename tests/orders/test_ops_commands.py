"""`refund_order`, `release_expired`, `backfill_events`: what ops run by hand."""

from __future__ import annotations

import json

import pytest
from django.contrib.postgres.functions import TransactionNow
from django.core.management import CommandError, call_command

from orders.models import Order
from orders.services import recovery
from payments.models import ProviderEvent, Refund
from tests import factories
from tests.shop import order_of
from tests.webhooks import SECRET, event, send

pytestmark = pytest.mark.django_db

ASKS_FOR_3DS = "pm_card_threeDSecure2Required"


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=50)


@pytest.fixture
def paid(shopper, product):
    return order_of(shopper.order((product.sku, 2)))


@pytest.fixture
def waiting(shopper, product):
    return order_of(shopper.order((product.sku, 1), payment_method_id=ASKS_FOR_3DS))


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = 0
        try:
            call_command(*arguments)
        except SystemExit as exc:
            code = exc.code
        return code, capsys.readouterr().out.strip()

    return run


class TestRefundOrder:
    def test_gives_everything_back_and_says_so(self, run, paid):
        code, said = run("refund_order", paid.order_number)
        total = paid.total_amount
        assert (code, said) == (
            0,
            f"{paid.order_number}: {total} USD succeeded, the order is cancelled",
        )

    def test_gives_a_part_back(self, run, paid):
        code, said = run("refund_order", paid.order_number.lower(), "--amount", "1.50", "--json")
        told = json.loads(said)
        assert (code, told["amount"], told["status"]) == (0, "1.50", "succeeded")
        assert told["order_status"] == "confirmed"

    def test_gives_units_back(self, run, paid, product):
        code, _ = run("refund_order", paid.order_number, "--line", f"{product.sku}=1")
        line = paid.items.get()
        paid_for_it = line.total_price - line.discount_amount + line.tax_amount
        assert code == 0
        assert abs(Refund.objects.get().amount * 2 - paid_for_it) <= 1

    def test_may_be_repeated_with_a_key(self, run, paid):
        for _ in range(2):
            arguments = (paid.order_number, "--amount", "1.50", "--key", "desk-7")
            assert run("refund_order", *arguments)[0] == 0
        assert Refund.objects.count() == 1

    def test_takes_an_interrupted_one_up_again(self, run, paid, provider):
        provider.fail("drop", path="/v1/refunds", method="POST")
        code, said = run("refund_order", paid.order_number, "--amount", "1.50")
        assert code == 1
        assert "APIConnectionError" in said
        assert run("refund_order", paid.order_number, "--amount", "1.50")[0] == 0
        assert Refund.objects.count() == 1

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["--amount", "1e3"], "--amount"),
            (["--amount", "-1"], "--amount"),
            (["--amount", "99999.00"], "higher than what is left"),
            (["--line", "NOPE=1"], "no such line"),
            (["--line", "NOPE"], "SKU=QUANTITY"),
            (["--key", ""], "--key"),
        ],
    )
    def test_refuses_with_a_sentence(self, paid, arguments, problem):
        with pytest.raises(CommandError, match=problem):
            call_command("refund_order", paid.order_number, *arguments)
        assert not Refund.objects.exists()

    def test_knows_no_order_that_is_none(self, shop):
        with pytest.raises(CommandError, match="there is no order NOPE"):
            call_command("refund_order", "NOPE")

    def test_of_an_unpaid_order_is_none(self, waiting):
        with pytest.raises(CommandError, match="Nothing has been paid"):
            call_command("refund_order", waiting.order_number)


class TestReleaseExpired:
    def test_ends_those_alone_whose_hold_is_over(self, run, waiting, shopper, product):
        other = order_of(shopper.order((product.sku, 1), payment_method_id=ASKS_FOR_3DS))
        Order.objects.filter(pk=waiting.pk).update(hold_expires_at=TransactionNow())

        code, said = run("release_expired", "--json")

        assert (code, json.loads(said)) == (0, {"ended": 1, "waiting": 0, "left": 0})
        waiting.refresh_from_db()
        other.refresh_from_db()
        assert (waiting.status, other.status) == ("cancelled", "pending")

    def test_keeps_what_was_paid_after_all(self, run, waiting, provider):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")
        Order.objects.update(hold_expires_at=TransactionNow())
        assert run("release_expired")[0] == 0
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"

    def test_says_so_where_the_provider_is_away(self, run, waiting, provider):
        Order.objects.update(hold_expires_at=TransactionNow())
        provider.fail("drop", path="/v1/payment_intents/*", method="*", times=None)

        code, said = run("release_expired", "--json")

        assert (code, json.loads(said)) == (1, {"ended": 0, "waiting": 0, "left": 1})

    def test_leaves_to_its_bank_what_a_bank_decides(self, run, shopper, product):
        shopper.order((product.sku, 1), payment_method_id="pm_usBankAccount_success")
        Order.objects.update(hold_expires_at=TransactionNow())

        code, said = run("release_expired", "--json")

        assert (code, json.loads(said)) == (0, {"ended": 0, "waiting": 1, "left": 0})

    def test_goes_on_until_all_are_ended(self, run, shopper, product, monkeypatch, settings):
        settings.THROTTLE = False
        monkeypatch.setattr(recovery, "BATCH", 2)
        for _ in range(5):
            shopper.order((product.sku, 1), payment_method_id=ASKS_FOR_3DS)
        Order.objects.update(hold_expires_at=TransactionNow())

        code, said = run("release_expired", "--json")

        assert (code, json.loads(said)) == (0, {"ended": 5, "waiting": 0, "left": 0})


class TestBackfillEvents:
    def test_fetches_what_no_webhook_brought(self, run, waiting, provider):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")

        code, said = run("backfill_events", "--json")

        waiting.refresh_from_db()
        assert code == 0
        assert waiting.status == "confirmed"
        assert json.loads(said)["new"] >= 1

    def test_keeps_each_once(self, run, paid, provider):
        run("backfill_events")
        kept = ProviderEvent.objects.count()
        code, said = run("backfill_events", "--json")
        assert (code, json.loads(said)["new"]) == (0, 0)
        assert ProviderEvent.objects.count() == kept

    def test_works_off_what_waits(self, run, settings, waiting, provider):
        settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
        intent_id = waiting.payments.get().payment_intent_id
        provider.act(intent_id, "succeed")
        send(event("payment_intent.succeeded", provider.intent(intent_id)))
        run("backfill_events", "--hours", "0.01")
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"

    @pytest.mark.parametrize("hours", ["0", "-1", "721", "nan"])
    def test_refuses_what_the_provider_no_longer_has(self, hours):
        with pytest.raises(CommandError, match="--hours"):
            call_command("backfill_events", "--hours", hours)

    def test_says_when_the_provider_is_away(self, shop, provider):
        provider.fail("drop", path="/v1/events", method="GET", times=None)
        with pytest.raises(CommandError) as refused:
            call_command("backfill_events")
        assert refused.value.returncode == 2
