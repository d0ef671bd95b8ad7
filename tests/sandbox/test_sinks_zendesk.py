"""Zendesk as its documentation tells it: tickets once a key, found again, commented, solved."""

import pytest

from tests.sandbox.sink_calls import http

TICKETS = "/api/v2/tickets.json"


def ask(sinks, method, path, body=None, key=None, auth=None):
    return http.request(
        method,
        f"{sinks.url}/zendesk{path}",
        json=body,
        headers={} if key is None else {"Idempotency-Key": key},
        auth=auth or ("agent@example.com/token", sinks.token),
    )


def wish(**changes):
    return {
        "ticket": {
            "subject": "Charge needs a look",
            "comment": {"body": "Order ABC was charged another amount."},
            "external_id": "order-ABC",
            "requester": {"name": "Ada", "email": "ada@example.com"},
            "priority": "high",
            "tags": ["orderkeep"],
            **changes,
        }
    }


def created(sinks, key=None, **changes):
    answer = ask(sinks, "POST", TICKETS, wish(**changes), key)
    assert answer.status_code == 201, answer.text
    return answer.json()["ticket"]


def tickets(sinks):
    return sinks.received("zendesk", kind="tickets").bodies


class TestCreating:
    def test_makes_a_ticket_with_its_first_comment(self, sinks):
        answer = ask(sinks, "POST", TICKETS, wish())

        ticket = answer.json()["ticket"]
        assert answer.headers["Location"] == ticket["url"]
        assert "x-idempotency-lookup" not in answer.headers
        assert (ticket["status"], ticket["priority"]) == ("new", "high")
        assert ticket["description"] == "Order ABC was charged another amount."
        assert tickets(sinks) == [ticket]
        comments = ask(sinks, "GET", f"/api/v2/tickets/{ticket['id']}/comments.json").json()
        assert [one["body"] for one in comments["comments"]] == [ticket["description"]]

    def test_twice_under_one_key_makes_one(self, sinks):
        answers = [ask(sinks, "POST", TICKETS, wish(), "k-1") for _ in range(3)]

        assert [answer.headers["x-idempotency-lookup"] for answer in answers] == [
            *("miss", "hit", "hit")
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 201]
        assert len({answer.json()["ticket"]["id"] for answer in answers}) == 1
        received = sinks.received("zendesk")
        assert received.kinds == {"tickets": 1, "comments": 1}
        assert received.duplicates == 2

    def test_under_one_key_is_the_same_request(self, sinks):
        created(sinks, "k-1")

        answer = ask(sinks, "POST", TICKETS, wish(subject="Another"), "k-1")

        assert answer.status_code == 400
        assert answer.json() == {
            "error": "IdempotentRequestError",
            "description": "Request parameters don't match the given idempotency key",
        }
        assert len(tickets(sinks)) == 1

    def test_without_or_under_another_key_makes_another(self, sinks):
        made = [created(sinks), created(sinks), created(sinks, "k-1"), created(sinks, "k-2")]

        assert len({ticket["id"] for ticket in made}) == 4

    def test_refused_under_a_key_is_a_fresh_try(self, sinks):
        assert ask(sinks, "POST", TICKETS, wish(comment={}), "k-1").status_code == 422
        assert created(sinks, "k-1")

    @pytest.mark.parametrize(
        ("changes", "field", "description"),
        [
            ({"comment": {}}, "base", "Description: cannot be blank"),
            ({"comment": None}, "base", "Description: cannot be blank"),
            ({"priority": "huge"}, "priority", "Priority: huge is not valid"),
            ({"status": "asleep"}, "status", "Status: asleep is not valid"),
            ({"requester": {"name": "A", "email": "no"}}, "requester", "Requester: Email:"),
            ({"requester": {"email": "a@b.cc"}}, "requester", "Requester: Name: is too short"),
        ],
    )
    def test_checks_the_ticket(self, sinks, changes, field, description):
        answer = ask(sinks, "POST", TICKETS, wish(**changes))

        assert answer.status_code == 422
        body = answer.json()
        assert (body["error"], body["description"]) == (
            *("RecordInvalid", "Record validation errors"),
        )
        assert body["details"][field][0]["description"].startswith(description)
        assert tickets(sinks) == []


class TestFinding:
    def test_by_id_and_by_external_id(self, sinks):
        ticket = created(sinks)
        created(sinks, external_id="order-XYZ")

        by_id = ask(sinks, "GET", f"/api/v2/tickets/{ticket['id']}.json").json()["ticket"]
        by_external = ask(sinks, "GET", f"{TICKETS}?external_id=order-ABC").json()
        nothing = ask(sinks, "GET", f"{TICKETS}?external_id=order-NONE").json()

        assert by_id == ticket
        assert (by_external["tickets"], by_external["count"]) == ([ticket], 1)
        assert nothing["tickets"] == []

    def test_by_search_which_may_lag(self, sinks):
        ticket = created(sinks)
        created(sinks, external_id="order-XYZ")
        path = "/api/v2/search.json?query=type:ticket external_id:order-ABC"

        assert [one["id"] for one in ask(sinks, "GET", path).json()["results"]] == [ticket["id"]]
        sinks.tell("zendesk", search_lag_seconds=60)
        assert ask(sinks, "GET", path).json()["count"] == 0

    def test_what_is_not_there(self, sinks):
        answer = ask(sinks, "GET", "/api/v2/tickets/999.json")

        assert answer.status_code == 404
        assert answer.json() == {"error": "RecordNotFound", "description": "Not found"}


class TestChanging:
    def test_comments_and_solves(self, sinks):
        ticket = created(sinks)
        path = f"/api/v2/tickets/{ticket['id']}.json"
        change = {"comment": {"body": "Refunded.", "public": False}, "status": "solved"}

        answer = ask(sinks, "PUT", path, {"ticket": {**change, "additional_tags": ["done"]}})

        changed = answer.json()["ticket"]
        assert (changed["status"], changed["tags"]) == ("solved", ["done", "orderkeep"])
        assert tickets(sinks) == [changed]
        comments = sinks.received("zendesk", kind="comments").bodies
        assert [(one["body"], one["public"]) for one in comments][1] == ("Refunded.", False)

    def test_is_over_when_closed(self, sinks):
        ticket = created(sinks, status="closed")
        path = f"/api/v2/tickets/{ticket['id']}.json"

        answer = ask(sinks, "PUT", path, {"ticket": {"comment": {"body": "More"}}})

        assert answer.status_code == 422
        assert "closed prevents ticket update" in answer.text


class TestAccess:
    @pytest.mark.parametrize(
        "auth",
        [("agent@example.com/token", "wrong"), ("agent@example.com", "orderkeep_sinks"), ("", "")],
    )
    def test_needs_the_token(self, sinks, auth):
        answer = ask(sinks, "GET", TICKETS, auth=auth)

        assert answer.status_code == 401
        assert answer.json() == {"error": "Couldn't authenticate you"}

    def test_is_granted_by_oauth_too(self, sinks):
        headers = {"Authorization": f"Bearer {sinks.token}"}

        assert http.get(f"{sinks.url}/zendesk{TICKETS}", headers=headers).status_code == 200

    def test_too_many_calls_in_the_documented_form(self, sinks):
        sinks.fail("zendesk", "status", status=429, retry_after=12)

        answer = ask(sinks, "POST", TICKETS, wish())

        assert answer.headers["Retry-After"] == "12"
        assert answer.json()["error"] == "APIRateLimitExceeded"

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", TICKETS, {}, 400),
            ("POST", TICKETS, [], 400),
            ("POST", TICKETS, wish(tags="x"), 400),
            ("POST", TICKETS, wish(requester="Ada"), 400),
            ("GET", "/api/v2/search.json", None, 422),
            ("GET", "/api/v3/tickets.json", None, 404),
        ],
    )
    def test_says_what_is_wrong(self, sinks, method, path, body, status):
        answer = ask(sinks, method, path, body)

        assert answer.status_code == status
        assert answer.json()["error"]
