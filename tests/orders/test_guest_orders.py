"""Guests' orders become their account's: by themselves under a verified address, or by token."""

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.errors import NotFoundError
from customers import services as customers
from customers.models import CustomerMetrics
from orders import books
from orders.models import CouponRedemption, IdempotencyKey, Order
from orders.services import privacy
from orders.services.guest_orders import claim_order
from tests import factories
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db
GRACE = "grace@example.com"


@pytest.fixture
def tea(shop):
    return factories.ProductFactory(sku="TEA", price="20.00", on_hand=50)


def buy(shopper, *, email=GRACE, **changes):
    guest = {"email": email, "first_name": "Grace", "last_name": "Hopper"}
    answer = shopper.order(("TEA", 1), customer=guest, **changes)
    assert answer.status_code == 201, answer.content
    return answer


def sign_up(email=GRACE):
    """An account whose address is not verified yet."""
    customer = factories.CustomerFactory(email=email)
    EmailAddress.objects.create(user=customer, email=email, primary=True)
    return Shopper(customer)


def verify(shopper):
    """What following the link in the letter comes to."""
    address = EmailAddress.objects.get(user=shopper.customer)
    address.verified = True
    address.save()
    customers.note_verified_email(
        customer_id=shopper.customer.pk, email_address_id=address.pk, email=address.email
    )


def orders_of(shopper):
    return [order["order_number"] for order in shopper.get("/orders").json()["results"]]


class TestAnAddressThatIsVerified:
    def test_brings_what_was_ordered_under_it_before(self, guest, tea):
        first, second = buy(guest, email="Grace@Example.com"), buy(guest)
        elsewhere = buy(guest, email="mallory@example.com")
        grace = sign_up()
        outbox.relay()
        assert orders_of(grace) == []

        verify(grace)
        outbox.relay()

        assert orders_of(grace) == [
            second.json()["order_number"],
            first.json()["order_number"],
        ]
        order = order_of(first)
        assert (order.customer, order.guest_email) == (grace.customer, GRACE)
        assert order_of(elsewhere).customer is None
        claims = AuditLog.objects.filter(event_type="ORDER_CLAIMED")
        assert {claim.entity_id for claim in claims} == {order.pk, order_of(second).pk}
        assert {claim.data["customer_id"] for claim in claims} == {grace.customer.pk}
        assert GRACE not in str([claim.data for claim in claims])

    def test_brings_what_is_ordered_under_it_later(self, guest, tea):
        grace = sign_up()
        verify(grace)
        outbox.relay()

        answer = buy(guest)
        assert orders_of(grace) == []
        outbox.relay()

        assert orders_of(grace) == [answer.json()["order_number"]]

    def test_that_is_removed_again_brings_nothing(self, guest, tea):
        buy(guest)
        grace = sign_up()
        verify(grace)
        EmailAddress.objects.all().delete()

        outbox.relay()

        assert orders_of(grace) == []
        told = Delivery.objects.get(message__fact="customer.email_verified")
        assert (told.status, told.last_error) == (
            "delivered",
            "nothing to claim: the address was removed",
        )

    def test_counts_what_it_brings(self, guest, tea):
        total = Decimal(buy(guest).json()["total_amount"])
        grace = sign_up()
        verify(grace)

        outbox.relay()
        outbox.relay()

        figures = CustomerMetrics.objects.get(customer=grace.customer)
        assert (figures.order_count, figures.lifetime_value) == (1, total)

    def test_told_of_twice_claims_once(self, guest, tea):
        buy(guest)
        grace = sign_up()
        verify(grace)
        verify(grace)

        outbox.relay()

        assert AuditLog.objects.filter(event_type="ORDER_CLAIMED").count() == 1
        assert OutboxMessage.objects.filter(fact="order.claimed").count() == 1


class TestTheRoute:
    def claim(self, shopper, answer, token=None):
        body = {"guest_token": token or answer.json()["guest_token"]}
        return shopper.post(f"/orders/{answer.json()['order_number']}/claim", body)

    def test_takes_the_guest_token_whatever_the_address(self, guest, tea):
        bought = buy(guest, email="other@example.com")
        grace = sign_up()

        answer = self.claim(grace, bought)

        assert answer.status_code == 200
        assert answer.json()["order_number"] == bought.json()["order_number"]
        assert "guest_token" not in answer.json()
        assert orders_of(grace) == [bought.json()["order_number"]]

    def test_may_be_repeated(self, guest, tea):
        bought = buy(guest)
        grace = sign_up()

        again = [self.claim(grace, bought).status_code for _ in range(2)]

        assert again == [200, 200]
        assert AuditLog.objects.filter(event_type="ORDER_CLAIMED").count() == 1

    def test_refuses_other_tokens_as_if_there_were_no_such_order(self, guest, tea):
        bought, other = buy(guest), buy(guest)
        grace = sign_up()

        wrong = self.claim(grace, bought, token=other.json()["guest_token"])
        missing = grace.post("/orders/NOTHING/claim", {"guest_token": "x"})

        assert wrong.status_code == missing.status_code == 404
        assert wrong.json()["error"] == missing.json()["error"]
        assert order_of(bought).customer is None

    def test_takes_nothing_from_another_account(self, guest, tea):
        bought = buy(guest)
        self.claim(sign_up(), bought)
        stranger = sign_up("mallory@example.com")

        assert self.claim(stranger, bought).status_code == 404
        assert orders_of(stranger) == []

    def test_takes_nothing_of_an_erased_guest(self, guest, tea, settings, tmp_path):
        settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
        bought = buy(guest)
        guest.post(
            f"/orders/{bought.json()['order_number']}/cancel?token={bought.json()['guest_token']}"
        )
        privacy.erase_guest(email=GRACE, now=timezone.now())
        assert order_of(bought).erased_at is not None
        grace = sign_up()

        assert self.claim(grace, bought).status_code == 404
        assert orders_of(grace) == []

    def test_takes_no_customer_s_order(self, guest, tea):
        owner, stranger = sign_up(), sign_up("mallory@example.com")
        answer = owner.order(("TEA", 1))

        assert self.claim(stranger, answer, token="x").status_code == 404
        assert order_of(answer).customer == owner.customer

    def test_is_for_customers_who_are_active(self, guest, tea):
        bought = buy(guest)
        suspended = Shopper(factories.CustomerFactory(status="suspended"))

        assert self.claim(guest, bought).status_code == 401
        assert self.claim(suspended, bought).status_code == 403
        assert order_of(bought).customer is None


class TestAClaimedOrder:
    @pytest.fixture
    def bought(self, guest, tea):
        factories.CouponFactory(code="WELCOME10")
        answer = buy(guest, key="claimed", coupon_code="WELCOME10")
        claim_order(order_id=order_of(answer).pk, customer_id=sign_up().customer.pk)
        return answer

    def test_is_still_read_by_its_guest_s_link(self, guest, bought):
        number, token = bought.json()["order_number"], bought.json()["guest_token"]

        assert guest.get(f"/orders/{number}", token=token).status_code == 200
        assert guest.get(f"/orders/{number}", token="x").status_code == 404

    def test_is_replayed_to_its_guest(self, guest, bought):
        again = buy(guest, key="claimed", coupon_code="WELCOME10")

        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json() == bought.json()
        assert Order.objects.count() == 1

    def test_keeps_its_key_and_its_coupon(self, bought):
        assert IdempotencyKey.objects.get().scope == f"guest:{GRACE}"
        assert CouponRedemption.objects.get().redeemed_by == f"guest:{GRACE}"

    def test_can_be_cancelled_by_either(self, guest, bought):
        order = order_of(bought)
        shopper = Shopper(order.customer)

        assert shopper.post(f"/orders/{order.order_number}/cancel").status_code == 200
        order.refresh_from_db()
        assert order.status == "cancelled"

    def test_leaves_the_books_true(self, bought):
        outbox.relay()

        with connection.cursor() as cursor:
            found = books.check_invariants(cursor)
        assert [finding.name for finding in found if finding.violations] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
class TestTwoClaimsAtOnce:
    def test_are_won_by_one(self):
        factories.open_shop()
        factories.ProductFactory(sku="TEA", price="20.00", on_hand=50)
        order_id = order_of(buy(Shopper())).pk
        ids = [factories.CustomerFactory().pk for _ in range(2)]
        barrier = threading.Barrier(2)

        def claim(customer_id):
            try:
                barrier.wait(timeout=30)
                claim_order(order_id=order_id, customer_id=customer_id)
            except NotFoundError:
                return "not found"
            finally:
                connection.close()
            return "claimed"

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(claim, ids))

        assert sorted(answers) == ["claimed", "not found"]
        assert Order.objects.get().customer_id == ids[answers.index("claimed")]
