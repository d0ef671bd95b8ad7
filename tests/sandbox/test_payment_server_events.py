"""Events: one for every change, in the change's own transaction, listed like everything else."""

import sqlite3

import pytest
import stripe


def types(api, **filters):
    """What happened, the first thing first."""
    return [event["type"] for event in api.get("/v1/events", limit=100, **filters).json()["data"]][
        ::-1
    ]


class TestWhatIsTold:
    def test_of_a_payment(self, api):
        api.paid()
        assert types(api) == [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
        ]

    def test_of_a_decline(self, api):
        intent = api.intent(payment_method="pm_card_visa_chargeDeclined")
        api.confirm(intent)
        assert types(api)[1:] == ["charge.failed", "payment_intent.payment_failed"]

    @pytest.mark.parametrize(
        ("outcome", "told"),
        [
            ("succeed", ["charge.succeeded", "payment_intent.succeeded"]),
            ("fail", ["payment_intent.payment_failed"]),
        ],
    )
    def test_of_3d_secure(self, api, outcome, told):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required")
        api.confirm(intent)
        api.act(intent, outcome)
        assert types(api)[1:] == ["payment_intent.requires_action", *told]

    @pytest.mark.parametrize(
        ("outcome", "told"),
        [
            ("succeed", ["charge.succeeded", "payment_intent.succeeded"]),
            ("fail", ["charge.failed", "payment_intent.payment_failed"]),
        ],
    )
    def test_of_a_bank_debit(self, api, outcome, told):
        intent = api.intent(payment_method="pm_usBankAccount_success")
        api.confirm(intent)
        api.act(intent, outcome)
        assert types(api)[1:] == ["charge.pending", "payment_intent.processing", *told]

    def test_of_a_cancellation(self, api):
        api.cancel(api.intent())
        assert types(api)[1:] == ["payment_intent.canceled"]

    def test_of_a_capture(self, api):
        intent = api.intent(capture_method="manual", confirm="true")
        api.post(f"/v1/payment_intents/{intent['id']}/capture")
        assert types(api)[2:] == [
            "payment_intent.amount_capturable_updated",
            "charge.captured",
            "payment_intent.succeeded",
        ]

    def test_of_a_refund(self, api):
        api.refund(api.paid(), amount=5)
        assert types(api)[3:] == ["refund.created", "charge.refunded"]

    def test_of_a_customer(self, api):
        customer = api.post("/v1/customers", {"email": "a@example.com"}).json()
        api.post(f"/v1/customers/{customer['id']}", {"name": "Ada"})
        assert types(api) == ["customer.created", "customer.updated"]

    def test_not_of_what_was_refused_or_replayed(self, api):
        api.create(amount=-1)
        api.create(key="k")
        api.create(key="k")
        assert types(api) == ["payment_intent.created"]

    def test_not_of_what_was_not_applied(self, api):
        api.break_next("error_before")
        api.create()
        assert types(api) == []


class TestAnEvent:
    def test_shows_the_object_as_it_was(self, api):
        intent = api.paid(description="first")
        api.post(f"/v1/payment_intents/{intent['id']}", {"description": "later"})
        event = api.get("/v1/events", type="payment_intent.succeeded").json()["data"][0]
        about = event["data"]["object"]
        assert (about["id"], about["status"]) == (intent["id"], "succeeded")
        assert about["description"] == "first"
        assert (event["object"], event["livemode"], event["pending_webhooks"]) == (
            "event",
            False,
            0,
        )

    def test_names_the_request_behind_it(self, api):
        answer = api.create(key="pi-7")
        event = api.get("/v1/events").json()["data"][0]
        assert event["request"] == {
            "id": answer.headers["Request-Id"],
            "idempotency_key": "pi-7",
        }

    def test_names_one_version_whoever_is_behind_it(self, api):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")
        api.act(intent, "succeed")
        api.http.post("/v1/customers", headers={"Stripe-Version": "2026-06-24.dahlia"})
        versions = {event["api_version"] for event in api.get("/v1/events").json()["data"]}
        assert versions == {stripe.api_version}

    def test_is_read_by_its_id(self, api):
        api.intent()
        event = api.get("/v1/events").json()["data"][0]
        path = f"/v1/events/{event['id']}"
        assert api.get(path).json() == event
        assert api.get(path, **{"expand[]": "data.source"}).status_code == 400
        assert api.get("/v1/events/evt_none").status_code == 404


class TestLists:
    def test_are_filtered_by_type_or_types(self, api):
        api.refund(api.paid())
        assert types(api, type="charge.refunded") == ["charge.refunded"]
        wanted = {"types[0]": "charge.refunded", "types[1]": "payment_intent.created"}
        assert types(api, **wanted) == ["payment_intent.created", "charge.refunded"]
        both = api.get("/v1/events", type="x", **wanted)
        assert both.status_code == 400

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("payment_intent.*", ["payment_intent.created", "payment_intent.succeeded"]),
            ("*.created", ["payment_intent.created", "refund.created"]),
            ("charge.*ed", ["charge.succeeded", "charge.refunded"]),
            ("*.nothing", []),
            ("charge.[r]*", []),
            ("charge.refunde?*", []),
        ],
    )
    def test_are_filtered_by_a_group_of_types(self, api, pattern, found):
        api.refund(api.paid())
        assert types(api, type=pattern) == found

    def test_take_no_group_among_types(self, api):
        api.paid()
        assert types(api, **{"types[]": "payment_intent.*"}) == []

    def test_are_walked_by_the_sdk(self, api):
        for _ in range(4):
            api.paid()
        client = stripe.StripeClient(
            "sk_test_of_the_sdk", base_addresses={"api": api.url}, max_network_retries=0
        )
        wanted = {"types": ["payment_intent.succeeded"], "limit": 3, "created": {"gte": 1}}
        events = list(client.v1.events.list(wanted).auto_paging_iter())
        assert [event.type for event in events] == ["payment_intent.succeeded"] * 4
        assert events[0].data.object.status == "succeeded"

    def test_refuse_what_they_do_not_know(self, api):
        assert api.get("/v1/events", colour="red").status_code == 400


def test_a_state_file_of_the_first_version_goes_on(start_server, client_of, tmp_path):
    first = start_server(name="old")
    paid = client_of(first).paid()
    first.stop()
    with sqlite3.connect(tmp_path / "old.sqlite3") as old:
        old.executescript(
            "DROP INDEX objects_of_type; DROP INDEX objects_of_source; DROP TABLE deliveries;"
            "DROP TABLE journal_numbers;"
            "ALTER TABLE objects DROP COLUMN type; ALTER TABLE objects DROP COLUMN source;"
            "ALTER TABLE objects DROP COLUMN currency; DELETE FROM objects WHERE kind = 'event';"
            "PRAGMA user_version = 1;"
        )
    old.close()

    again = client_of(start_server(name="old"))

    assert again.read(paid)["status"] == "succeeded"
    assert again.paid()["status"] == "succeeded"
    assert len(types(again)) == 3
