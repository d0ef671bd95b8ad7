"""Balance, disputes and the fates of refunds: every movement of money is one transaction."""

import pytest
import stripe


def transactions(api, **filters):
    """The movements, the first one first."""
    return api.get("/v1/balance_transactions", limit=100, **filters).json()["data"][::-1]


def movements(api, **filters):
    return [(t["type"], t["reporting_category"], t["net"]) for t in transactions(api, **filters)]


def balance(api):
    return {b["currency"]: b["amount"] for b in api.get("/v1/balance").json()["available"]}


def dispute(api, intent, **wish):
    answer = api.http.post("/_test/disputes", json={"payment_intent": intent["id"], **wish})
    assert answer.status_code == 201, answer.text
    return answer.json()


def decide(api, what, made, outcome):
    return api.http.post(f"/_test/{what}/{made['id']}/action", json={"outcome": outcome})


def debit(api, method="pm_usBankAccount_success", **form):
    intent = api.intent(payment_method=method, confirm="true", **form)
    api.act(intent, "succeed")
    return api.read(intent)


class TestFees:
    @pytest.mark.parametrize(
        ("amount", "fee"),
        # 2.9 % + 30, half a cent up: 50 -> 1.45 + 30; 1999 -> 57.971 + 30; never above the amount.
        [(50, 31), (1999, 88), (10_000, 320), (25, 25), (1, 1)],
    )
    def test_of_cards(self, api, amount, fee):
        intent = api.paid(amount=amount)
        (made,) = transactions(api)
        assert (made["amount"], made["fee"], made["net"]) == (amount, fee, amount - fee)
        assert (made["type"], made["source"]) == ("charge", intent["latest_charge"])
        assert sum(part["amount"] for part in made["fee_details"]) == fee

    @pytest.mark.parametrize(("amount", "fee"), [(1999, 16), (62_500, 500), (90_000, 500)])
    def test_of_bank_debits(self, api, amount, fee):
        debit(api, amount=amount)
        (made,) = transactions(api)
        assert (made["type"], made["fee"]) == ("payment", fee)

    def test_come_with_the_money_not_before(self, api):
        intent = api.intent(payment_method="pm_usBankAccount_success", confirm="true")
        assert transactions(api) == []
        held = api.intent(capture_method="manual", confirm="true")
        assert transactions(api) == []
        api.post(f"/v1/payment_intents/{held['id']}/capture", {"amount_to_capture": 1000})
        api.act(intent, "fail")
        assert movements(api) == [("charge", "charge", 1000 - 59)]

    def test_are_not_given_back_with_a_refund(self, api):
        api.refund(api.paid(), amount=500)
        assert movements(api) == [("charge", "charge", 1911), ("refund", "refund", -500)]
        assert balance(api) == {"usd": 1411}


class TestBalance:
    def test_is_the_sum_of_all_movements_by_currency(self, api):
        api.paid()
        api.paid(currency="eur", amount=1000)
        api.refund(api.paid(amount=300))
        by_currency = {}
        for made in transactions(api):
            by_currency[made["currency"]] = by_currency.get(made["currency"], 0) + made["net"]
        assert balance(api) == by_currency

    def test_lists_are_filtered_and_expanded(self, api):
        intent = api.paid()
        api.paid(currency="eur")
        refund = api.refund(intent).json()
        assert [t["id"] for t in transactions(api, source=refund["id"])] == [
            refund["balance_transaction"]
        ]
        assert movements(api, type="refund") == [("refund", "refund", -1999)]
        assert len(transactions(api, currency="eur")) == 1
        (made,) = transactions(api, source=refund["id"], **{"expand[]": "data.source"})
        assert made["source"]["payment_intent"] == intent["id"]
        expanded = api.get(
            f"/v1/payment_intents/{intent['id']}",
            **{"expand[]": "latest_charge.balance_transaction"},
        ).json()
        assert expanded["latest_charge"]["balance_transaction"]["net"] == 1911

    def test_is_read_by_the_sdk(self, api):
        api.paid()
        client = stripe.StripeClient(
            "sk_test_of_the_sdk", base_addresses={"api": api.url}, max_network_retries=0
        )
        (made,) = client.v1.balance_transactions.list().auto_paging_iter()
        assert client.v1.balance_transactions.retrieve(made.id).net == 1911
        assert client.v1.balance.retrieve().available[0].amount == 1911


class TestDisputes:
    def test_take_the_money_and_a_fee(self, api):
        intent = api.paid()
        made = dispute(api, intent)
        assert (made["status"], made["amount"], made["payment_intent"]) == (
            "needs_response",
            1999,
            intent["id"],
        )
        assert movements(api)[1:] == [("adjustment", "dispute", -1999 - 1500)]
        assert [t["id"] for t in made["balance_transactions"]] == [transactions(api)[1]["id"]]
        assert api.get(f"/v1/charges/{made['charge']}").json()["disputed"] is True

    def test_won_bring_the_money_back(self, api):
        made = dispute(api, api.paid())
        won = decide(api, "disputes", made, "win").json()
        assert won["status"] == "won"
        assert movements(api)[2:] == [("adjustment", "dispute_reversal", 1999)]
        assert balance(api) == {"usd": 1911 - 1500}

    def test_lost_leave_it_gone(self, api):
        made = dispute(api, api.paid(), amount=500, reason="product_not_received")
        assert decide(api, "disputes", made, "lose").json()["status"] == "lost"
        assert balance(api) == {"usd": 1911 - 500 - 1500}
        assert decide(api, "disputes", made, "win").status_code == 409

    def test_that_only_ask_move_nothing(self, api):
        made = dispute(api, api.paid(), inquiry=True)
        assert made["status"] == "warning_needs_response"
        assert decide(api, "disputes", made, "win").json()["status"] == "warning_closed"
        assert balance(api) == {"usd": 1911}

    @pytest.mark.parametrize(
        ("method", "reason", "status"),
        [
            ("pm_card_createDispute", "fraudulent", "needs_response"),
            ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response"),
            ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response"),
        ],
    )
    def test_follow_the_documented_cards_by_themselves(self, api, method, reason, status):
        intent = api.paid(payment_method=method)
        (made,) = api.get("/v1/disputes", payment_intent=intent["id"]).json()["data"]
        assert (made["reason"], made["status"]) == (reason, status)

    def test_follow_the_documented_cards_once_the_money_is_captured(self, api):
        held = api.intent(
            payment_method="pm_card_createDispute", capture_method="manual", confirm="true"
        )
        assert api.get("/v1/disputes").json()["data"] == []

        api.post(f"/v1/payment_intents/{held['id']}/capture", {"amount_to_capture": 1500})

        (made,) = api.get("/v1/disputes").json()["data"]
        assert (made["payment_intent"], made["amount"]) == (held["id"], 1500)

    def test_follow_the_documented_debit(self, api):
        intent = debit(api, "pm_usBankAccount_dispute")
        assert len(api.get("/v1/disputes", payment_intent=intent["id"]).json()["data"]) == 1

    @pytest.mark.parametrize(
        ("text", "status"),
        [("winning_evidence", "won"), ("losing_evidence", "lost"), ("see here", "under_review")],
    )
    def test_are_decided_by_the_documented_evidence(self, api, text, status):
        made = dispute(api, api.paid())
        form = {"evidence[uncategorized_text]": text}
        answer = api.post(f"/v1/disputes/{made['id']}", form).json()
        assert answer["status"] == status
        assert answer["evidence_details"]["submission_count"] == 1

    @pytest.mark.parametrize(
        ("text", "status"), [("winning_evidence", "won"), ("see here", "under_review")]
    )
    def test_take_evidence_that_is_submitted_later(self, api, text, status):
        path = f"/v1/disputes/{dispute(api, api.paid())['id']}"
        staged = {"evidence[uncategorized_text]": text, "submit": "false"}

        waiting = api.post(path, staged).json()
        described = api.post(path, {"metadata[a]": "b"}).json()
        submitted = api.post(path, {"submit": "true"}).json()

        assert waiting["status"] == described["status"] == "needs_response"
        assert described["evidence_details"] | {"due_by": 0} == {
            "due_by": 0,
            "has_evidence": True,
            "past_due": False,
            "submission_count": 0,
        }
        assert submitted["status"] == status
        assert submitted["evidence_details"]["submission_count"] == 1

    def test_are_not_decided_by_evidence_that_only_lies_there(self, api):
        path = f"/v1/disputes/{dispute(api, api.paid())['id']}"
        api.post(path, {"evidence[uncategorized_text]": "see here"})

        staged = {"evidence[uncategorized_text]": "losing_evidence", "submit": "false"}
        assert api.post(path, staged).json()["status"] == "under_review"

    def test_without_evidence_have_nothing_to_submit(self, api):
        path = f"/v1/disputes/{dispute(api, api.paid())['id']}"

        answer = api.post(path, {"submit": "true"}).json()
        assert answer["status"] == "needs_response"
        assert answer["evidence_details"]["submission_count"] == 0

    def test_may_be_accepted(self, api):
        made = dispute(api, api.paid())
        assert api.post(f"/v1/disputes/{made['id']}/close").json()["status"] == "lost"
        assert api.post(f"/v1/disputes/{made['id']}/close").status_code == 400

    def test_shut_out_refunds_until_they_are_won(self, api):
        intent = api.paid()
        made = dispute(api, intent)
        refused = api.refund(intent)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "charge_disputed")
        decide(api, "disputes", made, "win")
        assert api.refund(intent).status_code == 200

    def test_are_told_of(self, api):
        made = dispute(api, api.paid())
        decide(api, "disputes", made, "win")
        told = [e["type"] for e in api.get("/v1/events", limit=100).json()["data"]][::-1]
        assert told[3:] == [
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed",
        ]

    @pytest.mark.parametrize(
        "wish",
        [
            {"colour": "red"},
            {"amount": 0},
            {"amount": "9"},
            {"amount": 2000},
            {"amount": True},
            {"reason": "mood"},
            {"reason": ["fraudulent"]},
            {"inquiry": "yes"},
            {"charge": 5},
            {"charge": ["ch_1"]},
            {"payment_intent": {"id": "pi_1"}},
        ],
    )
    def test_that_make_no_sense_are_refused(self, api, wish):
        intent = api.paid()
        answer = api.http.post("/_test/disputes", json={"payment_intent": intent["id"], **wish})
        assert answer.status_code == 400, answer.text
        assert api.get("/v1/disputes").json()["data"] == []

    def test_of_money_that_never_came_are_refused(self, api):
        held = api.intent(capture_method="manual", confirm="true")
        canceled = api.intent(capture_method="manual", confirm="true")
        api.cancel(canceled)
        refunded = api.paid()
        api.refund(refunded)
        for intent in (api.intent(), held, canceled, refunded):
            answer = api.http.post("/_test/disputes", json={"payment_intent": intent["id"]})
            assert answer.status_code == 409
        assert balance(api) == {"usd": -88}

    def test_take_no_more_than_was_captured_and_not_given_back(self, api):
        held = api.intent(capture_method="manual", confirm="true")
        api.post(f"/v1/payment_intents/{held['id']}/capture", {"amount_to_capture": 1500})
        api.refund(held, amount=500)
        wish = {"payment_intent": held["id"], "amount": 1001}
        assert api.http.post("/_test/disputes", json=wish).status_code == 400
        assert dispute(api, held)["amount"] == 1000

    def test_are_only_opened_once(self, api):
        intent = api.paid()
        dispute(api, intent)
        answer = api.http.post("/_test/disputes", json={"payment_intent": intent["id"]})
        assert answer.status_code == 409


class TestRefunds:
    def test_may_take_their_time(self, api):
        refund = api.refund(api.paid(payment_method="pm_card_pendingRefund")).json()
        assert refund["status"] == "pending"
        assert decide(api, "refunds", refund, "succeed").json()["status"] == "succeeded"
        assert movements(api)[1:] == [("refund", "refund", -1999)]

    def test_of_debits_take_their_time(self, api):
        refund = api.refund(debit(api)).json()
        assert refund["status"] == "pending"
        assert movements(api)[1:] == [("payment_refund", "refund", -1999)]

    def test_may_fail_even_after_they_succeeded(self, api):
        intent = api.paid(payment_method="pm_card_refundFail")
        refund = api.refund(intent, amount=500).json()
        assert refund["status"] == "succeeded"
        failed = decide(api, "refunds", refund, "fail").json()
        assert (failed["status"], failed["failure_reason"]) == (
            "failed",
            "expired_or_canceled_card",
        )
        assert movements(api)[1:] == [
            ("refund", "refund", -500),
            ("refund_failure", "refund_failure", 500),
        ]
        charge = api.get(f"/v1/charges/{refund['charge']}").json()
        assert (charge["amount_refunded"], charge["refunded"]) == (0, False)
        assert decide(api, "refunds", refund, "fail").status_code == 409
        assert api.refund(intent).json()["amount"] == 1999

    def test_are_told_of(self, api):
        refund = api.refund(api.paid()).json()
        decide(api, "refunds", refund, "fail")
        told = [e["type"] for e in api.get("/v1/events", limit=100).json()["data"]][::-1]
        assert told[3:] == ["refund.created", "charge.refunded", "refund.updated", "refund.failed"]

    def test_keep_their_metadata(self, api):
        refund = api.refund(api.paid()).json()
        changed = api.post(f"/v1/refunds/{refund['id']}", {"metadata[a]": "b"}).json()
        assert changed["metadata"] == {"a": "b"}
