"""`/_test/`: the journal, the shopper's actions, a reset; nobody needs a key for them."""

import httpx
import pytest


class TestJournal:
    def test_tells_what_was_asked_and_answered_in_order(self, api):
        intent = api.create(key="pi-1", **{"metadata[order_id]": "7"}).json()
        api.confirm(intent, key="cf-1")
        api.confirm(intent, key="cf-1")
        api.create(amount=0)

        journal = api.journal()

        create, confirm, replay, refused = journal
        assert [entry["id"] for entry in journal] == sorted(entry["id"] for entry in journal)
        assert (create["method"], create["path"]) == ("POST", "/v1/payment_intents")
        assert create["idempotency_key"] == "pi-1"
        assert create["params"]["metadata"] == {"order_id": "7"}
        assert create["params"]["amount"] == "1999"
        assert (create["status"], create["fault"], create["replayed"]) == (200, None, False)
        assert {entry["payment_intent"] for entry in (create, confirm)} == {intent["id"]}
        assert {entry["order_id"] for entry in (create, confirm)} == {"7"}
        assert (confirm["executed"], confirm["replayed"]) == (True, False)
        assert (replay["executed"], replay["replayed"]) == (False, True)
        assert (refused["status"], refused["executed"]) == (400, False)

    def test_knows_the_intent_of_declines_refunds_and_replays(self, api):
        declined = api.create(payment_method="pm_card_chargeDeclined", confirm="true", key="k")
        api.create(payment_method="pm_card_chargeDeclined", confirm="true", key="k")
        paid = api.paid()
        api.refund(paid)
        declined_id = declined.json()["error"]["payment_intent"]["id"]

        ids = [entry["payment_intent"] for entry in api.journal()]
        assert ids == [declined_id, declined_id, paid["id"], paid["id"]]

    def test_can_be_filtered_and_paged(self, api):
        first, second = api.intent(**{"metadata[order_id]": "a"}), api.intent()
        api.confirm(second)
        everything = api.journal()

        assert len(everything) == 3
        assert api.journal(payment_intent=second["id"]) == everything[1:]
        assert api.journal(order_id="a") == everything[:1]
        assert api.journal(path="/v1/payment_intents") == everything[:2]
        assert api.journal(after=everything[0]["id"]) == everything[1:]
        assert api.journal(limit=1) == everything[:1]
        assert first["id"] != second["id"]

    def test_says_what_a_fault_did(self, api):
        api.break_next("answer_lost")
        with pytest.raises(httpx.TransportError):
            api.create(confirm="true")
        api.break_next("drop")
        with pytest.raises(httpx.TransportError):
            api.create(confirm="true")
        api.break_next("error_after")
        api.create(confirm="true")

        told = [(entry["fault"], entry["status"], entry["executed"]) for entry in api.journal()]
        assert told == [
            ("answer_lost", None, True),
            ("drop", None, False),
            ("error_after", 500, True),
        ]

    def test_holds_no_secrets(self, api):
        intent = api.intent()
        api.get(f"/v1/payment_intents/{intent['id']}", client_secret=intent["client_secret"])

        text = api.get("/_test/journal").text
        assert intent["client_secret"] not in text
        assert "sk_test" not in text

    def test_can_be_emptied_without_reusing_numbers(self, api):
        api.intent()
        before = api.journal()[0]["id"]

        assert api.http.delete("/_test/journal").json() == {"requests": []}
        assert api.journal() == []
        api.intent()
        assert api.journal()[0]["id"] == before + 1

    @pytest.mark.parametrize("query", [{"since": 1}, {"after": "x"}, {"limit": -1}])
    def test_refuses_what_it_does_not_understand(self, api, query):
        assert api.get("/_test/journal", **query).status_code == 400


class TestActions:
    @pytest.mark.parametrize("form", [{}, {"confirm": "true"}])
    def test_need_somebody_waiting(self, api, form):
        intent = api.intent(**form)

        answer = api.act(intent, "succeed")

        assert answer.status_code == 409
        assert "waits for nobody" in answer.json()["error"]["message"]
        assert api.read(intent) == intent

    def test_happen_once(self, api):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")

        assert api.act(intent, "succeed").status_code == 200
        assert api.act(intent, "fail").status_code == 409
        assert api.read(intent)["status"] == "succeeded"

    @pytest.mark.parametrize("body", [{}, {"outcome": "perhaps"}, [], {"outcome": "fail", "x": 1}])
    def test_have_two_outcomes(self, api, body):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")

        answer = api.http.post(f"/_test/payment_intents/{intent['id']}/action", json=body)
        assert answer.status_code == 400
        assert api.read(intent)["status"] == "requires_action"

    def test_need_an_intent(self, api):
        assert api.act({"id": "pi_unknown"}, "succeed").status_code == 404


class TestRest:
    def test_health_and_everything_else_here_needs_no_key(self, stranger):
        assert stranger.get("/_test/health").json() == {"status": "ok"}
        assert stranger.get("/_test/journal").status_code == 200
        assert stranger.post("/_test/faults", json={"kind": "drop"}).status_code == 201
        assert stranger.post("/_test/reset").json() == {"reset": True}

    def test_reset_forgets_everything(self, api):
        api.paid(**{"metadata[a]": "1"})
        key = api.create(key="k").json()["id"]
        api.break_next("drop", times=None)

        api.http.post("/_test/reset")

        assert api.journal() == []
        assert api.intents() == []
        assert api.create(key="k").json()["id"] != key

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/_test/", 404),
            ("GET", "/_test/nothing", 404),
            ("PUT", "/_test/faults", 405),
            ("GET", "/_test/reset", 405),
            ("DELETE", "/_test/faults/99", 404),
            ("DELETE", "/_test/faults/x", 404),
            ("DELETE", f"/_test/faults/{'9' * 5000}", 404),
            ("POST", "/_test/disputes", 400),
            ("POST", "/_test/disputes/dp_none/action", 400),
            ("POST", "/_test/nothing", 404),
        ],
    )
    def test_unknown_addresses_say_so(self, api, method, path, status):
        assert api.http.request(method, path).status_code == status
