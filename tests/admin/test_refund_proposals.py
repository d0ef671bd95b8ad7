"""Large refunds in the admin: proposed by one, decided by another, each by a button."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from audit.models import AuditLog
from config.kernel.clock import Deadline
from orders.models import RefundProposal
from orders.services import refund_approval
from orders.services.refunds import RefundWish
from orders.services.returns import accept_return, receive_return, request_return
from orders.services.shipping import Parcel, ship_order
from payments.models import Refund
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _limits(settings):
    settings.REFUND_LIMITS = {"USD": Decimal("5.00")}


@pytest.fixture
def wish(shopper):
    """Units worth 21.77 each came back."""
    factories.ProductFactory(sku="TEA", on_hand=5)
    order = order_of(shopper.order(("TEA", 2)))
    ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
    wish = request_return(order_id=order.pk, units={"TEA": 1}, reason="x")
    accept_return(return_id=wish.pk)
    receive_return(return_id=wish.pk)
    return wish


def staff(role):
    user = factories.CustomerFactory(is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def propose(client, who, wish):
    client.force_login(who)
    page = client.post(
        reverse("admin:orders_return_do", args=[wish.pk, "refund"]),
        {"request_key": uuid4()},
        follow=True,
    ).content.decode()
    return page, RefundProposal.objects.first()


def press(client, who, name, proposal, **said):
    client.force_login(who)
    answer = client.post(
        reverse("admin:orders_refundproposal_do", args=[proposal.pk, name]),
        {"request_key": uuid4(), **said},
        follow=True,
    )
    proposal.refresh_from_db()
    return answer


def test_one_proposes_and_another_approves(client, wish, provider):
    page, proposal = propose(client, staff("Support"), wish)
    assert "takes a second person" in page
    assert not Refund.objects.exists()

    answer = press(client, staff("Finance"), "approve", proposal)

    assert "Approved: the money is back" in answer.content.decode()
    assert proposal.status == "approved"
    assert Refund.objects.get().status == "succeeded"
    rows = AuditLog.objects.filter(event_type="STAFF_ACTION_DONE", entity_type="refund_proposal")
    assert rows.get().data["state"]["status"] == "approved"


@pytest.mark.parametrize("what", ["all", "amount"])
def test_the_second_person_is_told_whether_the_order_ends(client, shopper, provider, what):
    factories.ProductFactory(sku="TEA", on_hand=5)
    order = order_of(shopper.order(("TEA", 2)))
    refund_approval.refund(
        order_id=order.pk,
        wish=RefundWish(reason="x", amount=None if what == "all" else Decimal("6.00")),
        user_id=staff("Support").pk,
        deadline=Deadline(10),
    )
    client.force_login(staff("Finance"))

    page = client.get(
        reverse("admin:orders_refundproposal_do", args=[order.refund_proposals.get().pk, "approve"])
    ).content.decode()

    amount = order.total_amount if what == "all" else "6.00"
    assert f"This gives {amount} USD back." in page
    assert ("the order is cancelled" in page) is (what == "all")
    assert ("The order is not cancelled" in page) is (what == "amount")


def test_their_own_is_refused_in_words(client, wish, provider):
    boss = staff("Manager")
    _, proposal = propose(client, boss, wish)

    answer = press(client, boss, "approve", proposal)

    assert "somebody else has to decide" in answer.content.decode()
    assert proposal.status == "waiting"
    assert not Refund.objects.exists()


def test_support_may_not_approve_its_colleagues(client, wish, provider):
    _, proposal = propose(client, staff("Support"), wish)

    for name in ("approve", "refuse"):
        assert press(client, staff("Support"), name, proposal, reason="x").status_code == 403
    assert proposal.status == "waiting"


def test_refusing_asks_why(client, wish, provider):
    _, proposal = propose(client, staff("Support"), wish)
    boss = staff("Manager")

    press(client, boss, "refuse", proposal)
    assert proposal.status == "waiting"

    press(client, boss, "refuse", proposal, reason="It was worn.")
    assert (proposal.status, proposal.refusal) == ("refused", "It was worn.")


def test_withdrawing_is_for_who_proposed(client, wish, provider):
    clerk = staff("Support")
    _, proposal = propose(client, clerk, wish)

    press(client, staff("Support"), "withdraw", proposal)
    assert proposal.status == "waiting"

    press(client, clerk, "withdraw", proposal)
    assert proposal.status == "withdrawn"


def test_the_navigation_leads_to_what_waits(client, wish, provider):
    propose(client, staff("Support"), wish)
    client.force_login(staff("Finance"))

    page = client.get(reverse("admin:index")).content.decode()

    assert f"{reverse('admin:orders_refundproposal_changelist')}?status__exact=waiting" in page


GIVES_BACK = {
    *("decide_refund", "cancel_order", "end_quarantined", "refund_return", "give_back"),
    *("cancel_paid", "request_refund", "request_refund_of_rest", "create_refund"),
}


def _calls(source: str) -> set[str]:
    """What gives money back, as an attribute of some module or imported from it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in GIVES_BACK:
            found.add(ast.unparse(node))
        if isinstance(node, ast.ImportFrom):
            found |= {
                f"{node.module}.{name.name}" for name in node.names if name.name in GIVES_BACK
            }
    return found


def test_staff_gives_money_back_through_the_one_door_only():
    found = set()
    for app in ("audit", "customers", "inventory", "orders", "payments", "integrations", "config"):
        for file in Path(app).rglob("*.py"):
            source = file.read_text(encoding="utf-8")
            if "django.contrib import admin" in source or "StaffAction" in source:
                found |= _calls(source)

    assert found >= {"refund_approval.end_quarantined", "refund_approval.refund_return"}
    assert {name for name in found if not name.startswith("refund_approval.")} == set()
