"""Customer service: one ticket a matter, whatever fails on the way, and told to it alone."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from django.conf import settings as project
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client

from audit import outbox
from audit import services as audit
from audit.models import Delivery, OutboxMessage
from audit.outbox import DeliveryFailedError
from integrations.support import matters, texts, tickets
from integrations.support.models import SupportTicket
from orders.models import Return
from tests import factories
from tests.admin import rows
from tests.integrations.outbound import delivery, subscribe_anew, tell_all

pytestmark = pytest.mark.django_db

DISPUTE = {"dispute": "dp_1", "status": "needs_response", "amount": "25.66", "currency": "USD"}


@pytest.fixture(autouse=True)
def _shop(settings):
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.SUPPORT_PER_SECOND = 1_000


@pytest.fixture
def desk(sinks, settings, monkeypatch):
    """Any support system: it takes events."""
    sinks.configure(settings, "support")
    subscribe_anew(monkeypatch)
    return sinks


@pytest.fixture
def zendesk(sinks, settings, monkeypatch):
    """Zendesk, as it is documented."""
    settings.SUPPORT_ADAPTER = "zendesk"
    settings.SUPPORT_BASE_URL = sinks.base_url("zendesk")
    settings.SUPPORT_TOKEN = f"agent@shop.example/token:{sinks.token}"
    subscribe_anew(monkeypatch)
    return sinks


@pytest.fixture
def order():
    return rows.make_order(7)


def state(fact: str, order, **payload) -> OutboxMessage:
    """A fact about an order, as its service states it."""
    key = f"{fact}.{uuid.uuid4()}"
    audit.publish(
        fact,
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=key,
        payload={"order_id": order.pk, "order_number": order.order_number, **payload},
    )
    return OutboxMessage.objects.get(dedupe_key=key)


def tickets_of(sinks):
    return sinks.received("zendesk", kind="tickets").bodies


def comments_of(sinks, ticket=None):
    """The texts without their last line, which names the message."""
    return [
        comment["body"].rpartition("\n\nOrderkeep ")[0]
        for comment in sinks.received("zendesk", kind="comments").bodies
        if ticket in (None, comment["ticket_id"])
    ]


class TestAGenericSystem:
    def test_is_told_of_a_dispute_and_all_that_follows(self, desk, order):
        opened = state("order.disputed", order, **DISPUTE)
        due = state("order.dispute_due", order, **DISPUTE, evidence_due_at="2026-12-05T00:00:00Z")
        closed = state("order.dispute_closed", order, **{**DISPUTE, "status": "won"})

        tell_all("support")

        bodies = desk.received("support").bodies
        assert [(body["id"], body["type"]) for body in bodies] == [
            (str(opened.uuid), "ticket.opened"),
            (str(due.uuid), "ticket.commented"),
            (str(closed.uuid), "ticket.settled"),
        ]
        url = f"https://shop.example.com/admin/orders/order/{order.pk}/change/"
        assert bodies[0]["data"] == {
            "matter": "dispute.dp_1",
            "kind": "dispute",
            "order_number": "ABCD-0007",
            "order_url": url,
            "context_url": None,
            "subject": "Order ABCD-0007: payment disputed",
            "text": "The customer's bank disputes 25.66 USD. Ask the customer what is wrong before"
            f" you answer the bank.\n\nOrder: {url}",
            "requester": {"email": "ann7@example.com", "name": "Ann Lee 7"},
        }
        assert "2026-12-05" in bodies[1]["data"]["text"]
        assert {body["data"].get("ticket_id", "dispute.dp_1") for body in bodies} == {
            "dispute.dp_1"
        }
        ticket = SupportTicket.objects.get()
        assert (ticket.order_id, ticket.matter, ticket.is_settled) == (
            order.pk,
            "dispute.dp_1",
            True,
        )
        assert ticket.told == [opened.uuid, due.uuid, closed.uuid]

    def test_speaks_of_matters_one_by_one(self, desk, order):
        state("order.disputed", order, **DISPUTE)
        state("order.disputed", order, **{**DISPUTE, "dispute": "dp_2"})
        state("order.refund_failed", order, refund="r1", amount="5.00", currency="USD")
        state("payment.quarantined", order, payment="p1")

        tell_all("support")

        assert sorted(SupportTicket.objects.values_list("matter", flat=True)) == [
            "dispute.dp_1",
            "dispute.dp_2",
            "quarantine.p1",
            "refund.r1",
        ]
        assert desk.received("support").types == ["ticket.opened"] * 4

    def test_hears_a_guest_by_name(self, desk):
        placed = rows.make_order(
            8, guest_email="gus@example.com", guest_first_name="Gus", guest_last_name="Guest"
        )
        state("payment.quarantined", placed, payment="p1")

        tell_all("support")

        [body] = desk.received("support").bodies
        assert body["data"]["requester"] == {"email": "gus@example.com", "name": "Gus Guest"}

    def test_is_told_why_something_comes_back(self, desk, order):
        wish = Return.objects.create(order=order, reason="Too <b>small</b>\n{order_url}")
        state("return.requested", order, **{"return": str(wish.public_id)})
        state("return.refused", order, **{"return": str(wish.public_id)})

        tell_all("support")

        first, second = desk.received("support").bodies
        assert "In the customer's words: Too <b>small</b>\n{order_url}" in first["data"]["text"]
        assert first["data"]["matter"] == second["data"]["matter"] == f"return.{wish.public_id}"
        assert second["type"] == "ticket.settled"

    def test_is_told_nothing_more_where_there_is_no_ticket(self, desk, order):
        """Of matters from before there was a support system, for one."""
        state("return.accepted", order, **{"return": str(uuid.uuid4())})

        tell_all("support")

        assert desk.received("support").calls == 0
        assert delivery("support").last_error == tickets.NO_TICKET
        assert not SupportTicket.objects.exists()

    def test_may_say_what_it_calls_a_ticket(self, desk, order):
        body = {"ticket_id": 4711, "ticket_url": "https://desk.example.com/4711"}
        desk.fail("support", "status", status=201, body=body, applied=True)
        state("order.disputed", order, **DISPUTE)

        tell_all("support")

        ticket = SupportTicket.objects.get()
        assert (ticket.ticket_id, ticket.url) == ("4711", "https://desk.example.com/4711")

    @pytest.mark.parametrize(
        "url", ["javascript:alert(1)", "/x", 'https://a.example/"><script>', 7]
    )
    def test_has_no_other_than_links_of_the_web_kept(self, desk, order, url):
        body = {"ticket_id": "1", "ticket_url": url}
        desk.fail("support", "status", status=201, body=body, applied=True)
        state("order.disputed", order, **DISPUTE)

        tell_all("support")

        assert SupportTicket.objects.get().url == ""

    def test_is_given_the_way_to_the_context_where_that_is_offered(self, desk, order, settings):
        settings.SUPPORT_CONTEXT_TOKENS = ["a-token-of-the-chat-tool-here"]
        state("order.disputed", order, **DISPUTE)

        tell_all("support")

        link = desk.received("support").bodies[0]["data"]["context_url"]
        answer = Client().get(link.removeprefix("https://shop.example.com"))
        assert [one["order_number"] for one in answer.json()["orders"]] == ["ABCD-0007"]

    def test_deletes_the_tickets_of_whoever_was_erased(self, desk, order):
        state("order.disputed", order, **DISPUTE)
        tell_all("support")
        state("order.erased", order)

        tell_all("support")

        assert desk.received("support").types == ["ticket.opened", "ticket.erased"]
        last = desk.received("support").bodies[-1]
        assert last["data"] == {"matter": "dispute.dp_1", "ticket_id": "dispute.dp_1"}
        state("order.dispute_due", order, **DISPUTE, evidence_due_at="2026-12-05T00:00:00Z")
        tell_all("support")
        assert delivery("support").last_error == tickets.ERASED

    def test_is_told_of_nobody_who_was_erased(self, desk):
        placed = rows.make_order(8, guest_email="erased-order-8@erased.invalid")
        state("order.disputed", placed, **DISPUTE)

        tell_all("support")

        assert desk.received("support").bodies[0]["data"]["requester"] is None


class TestZendesk:
    def test_gets_a_ticket_that_the_customer_does_not_read(self, zendesk, order):
        message = state("order.disputed", order, **DISPUTE)

        tell_all("support")

        [ticket] = tickets_of(zendesk)
        assert ticket["external_id"] == "dispute.dp_1"
        assert ticket["subject"] == "Order ABCD-0007: payment disputed"
        assert ticket["tags"] == ["orderkeep", "orderkeep_dispute"]
        assert ticket["is_public"] is False
        assert ticket["description"].endswith(f"Orderkeep {message.uuid}")
        assert ticket["requester_id"] == ticket["submitter_id"] != 1  # Ann, not our agent
        kept = SupportTicket.objects.get()
        assert kept.ticket_id == str(ticket["id"])
        assert kept.url == f"{zendesk.base_url('zendesk')}/agent/tickets/{ticket['id']}"
        [call] = zendesk.journal(receiver="zendesk")
        assert call["idempotency_key"] == str(message.uuid)

    def test_gets_comments_and_has_it_solved(self, zendesk, order):
        state("order.disputed", order, **DISPUTE)
        state("order.dispute_due", order, **DISPUTE, evidence_due_at="2026-12-05T00:00:00Z")
        state("order.dispute_closed", order, **{**DISPUTE, "status": "lost"})

        tell_all("support")

        [ticket] = tickets_of(zendesk)
        assert ticket["status"] == "solved"
        comments = comments_of(zendesk, ticket["id"])
        assert [re.split(r"[.:]", text)[0] for text in comments] == [
            "The customer's bank disputes 25",
            "Evidence in the dispute over 25",
            "The dispute over 25",
        ]
        assert all(
            comment["public"] is False
            for comment in zendesk.received("zendesk", kind="comments").bodies
        )

    @pytest.mark.parametrize(
        ("kind", "more"),
        [
            ("answer_lost", {"times": 2}),
            ("status", {"status": 500, "applied": True, "times": 2}),
            ("junk", {"status": 201, "form": "html", "times": 2}),
            ("junk", {"status": 201, "form": "truncated", "times": 1}),
            ("junk", {"status": 200, "form": "html", "applied": False, "times": 2}),
            ("drop", {"reset": True, "times": 2}),
            ("status", {"status": 429, "retry_after": 1, "times": 2}),
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "PUT", "*"])
    def test_has_one_ticket_whatever_its_answers(self, zendesk, order, kind, more, method):
        zendesk.fail("zendesk", kind, method=method, **more)
        state("order.disputed", order, **DISPUTE)
        state("order.dispute_due", order, **DISPUTE, evidence_due_at="2026-12-05T00:00:00Z")

        tell_all("support")

        assert len(tickets_of(zendesk)) == 1
        assert len(comments_of(zendesk)) == 2
        assert SupportTicket.objects.get().ticket_id == str(tickets_of(zendesk)[0]["id"])

    def test_is_searched_before_a_ticket_whose_key_it_forgot_is_opened_again(self, zendesk, order):
        """Keys live for two hours, and a delivery that was given up is retried days later."""
        zendesk.fail("zendesk", "answer_lost", method="POST")
        message = state("order.disputed", order, **DISPUTE)
        outbox.relay()

        tell_all("support")

        methods = [(call["method"], call["status"]) for call in zendesk.journal(receiver="zendesk")]
        assert [method for method, _ in methods] == ["POST", "GET", "GET"]
        assert len(tickets_of(zendesk)) == len(comments_of(zendesk)) == 1
        assert SupportTicket.objects.get().told == [message.uuid]

    def test_has_the_first_ticket_of_a_matter_taken_up_by_its_second_fact(self, zendesk, order):
        """The first was given up without an answer, though it had arrived."""
        zendesk.fail("zendesk", "answer_lost", method="POST")
        first = state("order.disputed", order, **DISPUTE)
        outbox.relay()
        Delivery.objects.filter(message=first).update(status="dead")
        state("order.dispute_due", order, **DISPUTE, evidence_due_at="2026-12-05T00:00:00Z")
        tell_all("support")
        assert len(tickets_of(zendesk)) == 1
        assert len(comments_of(zendesk)) == 2

        outbox.retry(include_dead=True)
        tell_all("support")

        assert len(tickets_of(zendesk)) == 1
        assert len(comments_of(zendesk)) == 2

    def test_is_told_a_message_once_however_often_it_is_handed_over(self, zendesk, order):
        message = state("order.disputed", order, **DISPUTE)

        assert tickets.tell(message) is None
        assert tickets.tell(message) == tickets.TOLD_ALREADY

        assert len(tickets_of(zendesk)) == len(comments_of(zendesk)) == 1

    def test_tells_staff_which_field_it_refuses_and_not_what_stood_there(self, zendesk):
        placed = rows.make_order(8, guest_email="canary@localhost.x", guest_first_name="Canary")
        zendesk.fail(
            "zendesk",
            "status",
            status=422,
            body={
                "error": "RecordInvalid",
                "description": "Record validation errors",
                "details": {"requester": [{"description": "canary@localhost.x is bad"}]},
            },
        )
        state("order.disputed", placed, **DISPUTE)

        outbox.relay()

        told = delivery("support")
        assert told.status == "dead"
        assert (
            told.last_error == "Zendesk answered 422 to POST /tickets.json: RecordInvalid requester"
        )

    def test_whose_ticket_was_deleted_says_so_at_once(self, zendesk, order):
        state("order.disputed", order, **DISPUTE)
        tell_all("support")
        SupportTicket.objects.update(ticket_id="999999")
        state("order.dispute_due", order, **DISPUTE, evidence_due_at="2026-12-05T00:00:00Z")

        outbox.relay()

        told = delivery("support")
        assert (told.status, told.last_error) == (
            "dead",
            "Zendesk: the ticket is not there any more",
        )

    def test_leaves_a_relay_its_ten_seconds(self, zendesk, order, monkeypatch):
        """A ticket after the other is deleted, as many hand-overs as that may take."""
        for number in range(2):
            state("order.disputed", order, **{**DISPUTE, "dispute": f"dp_{number}"})
        tell_all("support")
        seconds = tickets.LOOK_SECONDS + tickets.TELL_SECONDS + 0.2
        monkeypatch.setattr(tickets, "HAND_OVER_SECONDS", seconds)
        zendesk.fail("zendesk", "latency", method="DELETE", seconds=0.3, times=None)
        message = state("order.erased", order)

        with pytest.raises(DeliveryFailedError, match="still to be deleted"):
            tickets.erase(message)
        assert tickets.erase(message) is None

        deleted = [
            call for call in zendesk.journal(receiver="zendesk") if call["method"] == "DELETE"
        ]
        assert len({call["path"] for call in deleted}) == len(deleted) == 2
        assert tickets.erase(message) == "no ticket was opened for it"

    def test_deletes_the_tickets_of_whoever_was_erased(self, zendesk, order):
        state("order.disputed", order, **DISPUTE)
        tell_all("support")
        number = SupportTicket.objects.get().ticket_id
        state("order.erased", order)

        tell_all("support")

        last = zendesk.journal(receiver="zendesk")[-1]
        assert (last["method"], last["path"]) == ("DELETE", f"/api/v2/tickets/{number}.json")
        ticket = SupportTicket.objects.get()
        assert ticket.erased_at
        assert ticket.url == ""

    def test_in_a_storm_has_one_ticket_a_matter_and_one_comment_a_fact(self, zendesk):
        for kind, more in (
            ("answer_lost", {"times": 5}),
            ("status", {"status": 503, "applied": True, "times": 4}),
            ("status", {"status": 429, "retry_after": 1, "times": 3}),
            ("junk", {"status": 200, "form": "html", "times": 4}),
            ("drop", {"reset": True, "times": 4}),
        ):
            zendesk.fail("zendesk", kind, skip=2, **more)
        placed = [rows.make_order(n) for n in range(1, 9)]
        for order in placed:
            about = {**DISPUTE, "dispute": f"dp_{order.pk}"}
            state("order.disputed", order, **about)
            state("order.dispute_due", order, **about, evidence_due_at="2026-12-05T00:00:00Z")
            state("order.dispute_closed", order, **about)

        tell_all("support")

        found = tickets_of(zendesk)
        assert sorted(ticket["external_id"] for ticket in found) == sorted(
            f"dispute.dp_{order.pk}" for order in placed
        )
        assert all(ticket["status"] == "solved" for ticket in found)
        for ticket in found:
            assert len(comments_of(zendesk, ticket["id"])) == 3
        assert SupportTicket.objects.filter(is_settled=True, told__len=3).count() == 8
        assert not Delivery.objects.filter(status="dead").exists()
        assert len(zendesk.journal(receiver="zendesk")) > 24 + 10  # it has struck


class TestWhatATicketSays:
    @pytest.mark.parametrize("language", sorted(texts.SENTENCES))
    def test_is_there_for_every_fact_with_all_it_needs(self, language):
        english = texts.SENTENCES["en"]
        assert texts.SENTENCES[language].keys() == english.keys()
        assert {*matters.FACTS, "reason", "order"} == english.keys()
        assert {how.kind for how in matters.KINDS.values()} == texts.SUBJECTS[language].keys()
        for name, text in texts.SENTENCES[language].items():
            assert _places(text) == _places(english[name]), name
        for kind, text in texts.SUBJECTS[language].items():
            assert _places(text) == {"order_number"}, kind

    def test_is_in_the_language_of_staff(self, desk, order, settings):
        settings.SUPPORT_LANGUAGE = "de"
        state("order.disputed", order, **DISPUTE)

        tell_all("support")

        [body] = desk.received("support").bodies
        assert body["data"]["subject"] == "Bestellung ABCD-0007: Zahlung angefochten"

    def test_speaks_every_language_that_may_be_set(self):
        source = (project.BASE_DIR / "config/settings/base.py").read_text()
        [listed] = re.findall(r'"SUPPORT_LANGUAGE", "en", \((.*?)\)', source)
        assert set(re.findall(r'"(\w+)"', listed)) == texts.SENTENCES.keys()

    def test_holds_no_card(self, desk, order):
        state("order.disputed", order, **DISPUTE)

        tell_all("support")

        assert "4242" not in json.dumps(desk.received("support").bodies)


def _places(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


class TestTheOrdersPage:
    @pytest.fixture
    def ticket(self, order):
        return SupportTicket.objects.create(
            order=order,
            matter="dispute.dp_1",
            ticket_id="4711",
            url="https://desk.example.com/4711",
        )

    def page(self, order, client, **rights):
        clerk = factories.CustomerFactory(is_staff=True, **rights)
        client.force_login(clerk)
        return client.get(f"/admin/orders/order/{order.pk}/change/")

    def test_leads_to_the_ticket(self, order, ticket, client):
        page = self.page(order, client, is_superuser=True).content.decode()

        assert 'href="https://desk.example.com/4711"' in page
        assert "Support ticket 4711" in page

    def test_leads_there_only_who_may_see_tickets(self, order, ticket, client):
        clerk = factories.CustomerFactory(is_staff=True)
        clerk.user_permissions.add(Permission.objects.get(codename="view_order"))
        client.force_login(clerk)

        page = client.get(f"/admin/orders/order/{order.pk}/change/")

        assert page.status_code == 200
        assert "4711" not in page.content.decode()


class TestATicket:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"told": [uuid.uuid4()], "ticket_id": "1"},
            {"url": "javascript:alert(1)"},
            {"matter": "dispute.dp_1"},
        ],
    )
    def test_is_kept_soundly_by_the_database(self, order, wrong):
        SupportTicket.objects.create(order=order, matter="dispute.dp_1")

        with pytest.raises(IntegrityError), transaction.atomic():
            SupportTicket.objects.create(**{"order": order, "matter": "dispute.dp_2", **wrong})

    def test_that_was_told_of_is_known(self, order):
        one = uuid.uuid4()

        with pytest.raises(IntegrityError), transaction.atomic():
            SupportTicket.objects.create(order=order, matter="x", begun=[one], told=[one])
