"""Refunds never exceed what was captured, whoever asks at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest


def charge_of(api, intent):
    return api.get(f"/v1/charges/{intent['latest_charge']}").json()


class TestCreate:
    def test_gives_everything_back_unless_told(self, api):
        intent = api.paid()

        refund = api.refund(intent, reason="requested_by_customer", **{"metadata[r]": "1"}).json()

        assert refund["id"].startswith("re_")
        assert (refund["amount"], refund["currency"]) == (1999, "usd")
        assert (refund["status"], refund["object"]) == ("succeeded", "refund")
        assert (refund["reason"], refund["metadata"]) == ("requested_by_customer", {"r": "1"})
        assert refund["payment_intent"] == intent["id"]
        assert refund["charge"] == intent["latest_charge"]
        charge = charge_of(api, intent)
        assert (charge["amount_refunded"], charge["refunded"]) == (1999, True)
        assert api.get(f"/v1/refunds/{refund['id']}").json() == refund

    def test_takes_parts_until_nothing_is_left(self, api):
        intent = api.paid()

        assert api.refund(intent, amount=500).json()["amount"] == 500
        too_much = api.refund(intent, amount=1500)
        assert api.refund(intent).json()["amount"] == 1499
        nothing_left = api.refund(intent, amount=1)

        assert too_much.status_code == nothing_left.status_code == 400
        assert too_much.json()["error"]["code"] == "amount_too_large"
        assert "($15.00) is greater than" in too_much.json()["error"]["message"]
        assert nothing_left.json()["error"]["code"] == "charge_already_refunded"
        assert charge_of(api, intent)["amount_refunded"] == 1999

    def test_works_by_charge_too(self, api):
        intent = api.paid()

        answer = api.post("/v1/refunds", {"charge": intent["latest_charge"], "amount": 5})
        assert answer.json()["payment_intent"] == intent["id"]

    def test_stays_within_bounds_when_many_ask_at_once(self, api):
        intent = api.paid(amount=1000)

        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: api.refund(intent, amount=150), range(16)))

        given = [answer for answer in answers if answer.status_code == 200]
        assert len(given) == 6
        assert {answer.status_code for answer in answers} == {200, 400}
        assert charge_of(api, intent)["amount_refunded"] == 900
        assert len(api.get("/v1/refunds", payment_intent=intent["id"]).json()["data"]) == 6

    @pytest.mark.parametrize(
        "form",
        [
            {},
            {"payment_method": "pm_usBankAccount_success", "confirm": "true"},
            {"payment_method": "pm_card_threeDSecure2Required", "confirm": "true"},
            {"capture_method": "manual", "confirm": "true"},
        ],
    )
    def test_is_refused_before_the_money_has_come(self, api, form):
        intent = api.intent(**form)

        answer = api.refund(intent)

        assert answer.status_code == 400
        assert "does not have a successful charge to refund" in answer.text

    def test_is_refused_for_a_failed_charge_of_a_paid_intent(self, api):
        declined = api.create(payment_method="pm_card_chargeDeclined", confirm="true").json()
        intent = declined["error"]["payment_intent"]
        api.confirm(intent, payment_method="pm_card_visa")

        failed = api.post("/v1/refunds", {"charge": intent["latest_charge"]})
        assert failed.status_code == 400

    @pytest.mark.parametrize(
        ("form", "param"),
        [
            ({}, "payment_intent"),
            ({"payment_intent": "pi_unknown"}, "payment_intent"),
            ({"charge": "ch_unknown"}, "charge"),
            ({"payment_intent": "pi_x", "amount": "0"}, "amount"),
            ({"payment_intent": "pi_x", "reason": "mood"}, "reason"),
            ({"payment_intent": "pi_x", "wish": "1"}, "wish"),
        ],
    )
    def test_refuses_bad_requests(self, api, form, param):
        answer = api.post("/v1/refunds", form)

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


class TestLists:
    def test_are_filtered_by_intent_and_charge(self, api):
        theirs, other = api.paid(), api.paid()
        refund = api.refund(theirs, amount=5).json()
        api.refund(other, amount=5)

        by_intent = api.get("/v1/refunds", payment_intent=theirs["id"]).json()["data"]
        by_charge = api.get("/v1/refunds", charge=theirs["latest_charge"]).json()["data"]

        assert by_intent == by_charge == [refund]
        assert len(api.get("/v1/refunds").json()["data"]) == 2

    def test_page_and_filter_by_time(self, api):
        intent = api.paid()
        ids = [api.refund(intent, amount=1).json()["id"] for _ in range(3)][::-1]

        page = api.get("/v1/refunds", limit=1, starting_after=ids[0]).json()
        late = api.get("/v1/refunds", **{"created[gt]": intent["created"] + 3600}).json()

        assert ([refund["id"] for refund in page["data"]], page["has_more"]) == ([ids[1]], True)
        assert late["data"] == []

    def test_of_an_unknown_refund_is_404(self, api):
        answer = api.get("/v1/refunds/re_unknown")

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "resource_missing"
