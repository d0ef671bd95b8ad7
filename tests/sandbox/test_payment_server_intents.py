"""PaymentIntents: every test id, every state, every refusal."""

import pytest


class TestCreate:
    def test_waits_for_a_method_when_none_is_given(self, api):
        answer = api.post("/v1/payment_intents", {"amount": 1999, "currency": "USD"})

        intent = answer.json()
        assert answer.status_code == 200
        assert intent["status"] == "requires_payment_method"
        assert (intent["amount"], intent["currency"], intent["amount_received"]) == (1999, "usd", 0)
        assert intent["client_secret"].startswith(f"{intent['id']}_secret_")
        assert (intent["object"], intent["livemode"]) == ("payment_intent", False)
        assert intent["latest_charge"] is None

    def test_waits_for_confirmation_with_a_method(self, api):
        intent = api.intent(description="Order 7", **{"metadata[order_id]": "7"})

        assert intent["status"] == "requires_confirmation"
        assert intent["payment_method"].startswith("pm_")
        assert intent["payment_method"] != "pm_card_visa"
        assert (intent["description"], intent["metadata"]) == ("Order 7", {"order_id": "7"})
        assert api.read(intent) == intent

    def test_charges_at_once_when_confirmed(self, api):
        intent = api.paid(receipt_email="a@example.com", statement_descriptor_suffix="OK7")

        charge = api.get(f"/v1/charges/{intent['latest_charge']}").json()
        assert intent["amount_received"] == 1999
        assert (charge["status"], charge["paid"], charge["captured"]) == ("succeeded", True, True)
        assert (charge["amount"], charge["amount_captured"]) == (1999, 1999)
        assert charge["payment_intent"] == intent["id"]

    def test_belongs_to_a_customer_that_exists(self, api):
        customer = api.post("/v1/customers", {"email": "a@example.com"}).json()

        assert api.intent(customer=customer["id"])["customer"] == customer["id"]
        refused = api.create(customer="cus_unknown")
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "resource_missing"
        assert refused.json()["error"]["param"] == "customer"

    def test_refuses_to_confirm_without_a_method_and_keeps_nothing(self, api):
        form = {"amount": 1999, "currency": "usd", "confirm": "true"}
        answer = api.post("/v1/payment_intents", form)

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "payment_intent_unexpected_state"
        assert api.intents() == []

    def test_keeps_the_shipping_address(self, api):
        shipping = {"shipping[name]": "Ada", "shipping[address][line1]": "1 Main St"}

        assert api.intent(**shipping)["shipping"] == {
            "name": "Ada",
            "address": {"line1": "1 Main St"},
        }


class TestPaymentMethodTypes:
    def test_are_chosen_by_the_server_unless_told(self, api):
        intent = api.post("/v1/payment_intents", {"amount": 1, "currency": "usd"}).json()

        assert intent["payment_method_types"] == ["card", "us_bank_account", "paypal"]
        assert intent["automatic_payment_methods"] == {"allow_redirects": "always", "enabled": True}

    def test_depend_on_the_currency(self, api):
        intent = api.post("/v1/payment_intents", {"amount": 1, "currency": "eur"}).json()

        assert intent["payment_method_types"] == ["card", "paypal"]

    def test_can_be_limited(self, api):
        form = {"amount": 1, "currency": "usd", "allowed_payment_method_types[]": "card"}
        intent = api.post("/v1/payment_intents", form).json()

        assert intent["payment_method_types"] == ["card"]
        refused = api.post(
            f"/v1/payment_intents/{intent['id']}",
            {"payment_method": "pm_usBankAccount_success"},
        )
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "payment_intent_incompatible_payment_method"

    def test_leave_out_debits_where_the_money_is_only_to_be_held(self, api):
        intent = api.intent(capture_method="manual")

        assert intent["payment_method_types"] == ["card"]
        refused = api.create(capture_method="manual", payment_method="pm_usBankAccount_success")
        assert refused.json()["error"]["code"] == "payment_intent_incompatible_payment_method"
        old = api.create(
            capture_method="manual",
            payment_method="pm_usBankAccount_success",
            **{"payment_method_types[]": "us_bank_account"},
        )
        assert old.json()["error"]["param"] == "payment_method_types"

    @pytest.mark.parametrize("change", [{"currency": "eur"}, {"capture_method": "manual"}])
    def test_are_chosen_anew_when_the_payment_changes(self, api, change):
        form = {"amount": 1, "currency": "usd", "payment_method": "pm_card_visa"}
        intent = api.post("/v1/payment_intents", form).json()
        path = f"/v1/payment_intents/{intent['id']}"

        assert api.post(path, change).json()["payment_method_types"] == ["card", "paypal"]
        refused = api.confirm(
            intent, payment_method="pm_usBankAccount_success", return_url="https://shop.example/"
        )
        assert refused.json()["error"]["code"] == "payment_intent_incompatible_payment_method"
        back = {"currency": "usd", "capture_method": "automatic"}
        types = api.post(path, back).json()["payment_method_types"]
        assert types == ["card", "us_bank_account", "paypal"]

    @pytest.mark.parametrize("change", [{"currency": "eur"}, {"capture_method": "manual"}])
    def test_do_not_change_under_a_method_they_no_longer_hold(self, api, change):
        intent = api.intent(payment_method="pm_usBankAccount_success")

        refused = api.post(f"/v1/payment_intents/{intent['id']}", change)

        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "payment_intent_incompatible_payment_method"
        assert api.read(intent) == intent

    def test_remember_what_was_asked_for(self, api):
        form = {"amount": 1, "currency": "usd", "allowed_payment_method_types[0]": "card"}
        allowed = {**form, "allowed_payment_method_types[1]": "us_bank_account"}
        intent = api.post("/v1/payment_intents", allowed).json()
        path = f"/v1/payment_intents/{intent['id']}"

        assert api.post(path, {"currency": "eur"}).json()["payment_method_types"] == ["card"]
        assert api.post(path, {"currency": "usd"}).json()["payment_method_types"] == [
            "card",
            "us_bank_account",
        ]
        without_redirects = api.intent()
        path = f"/v1/payment_intents/{without_redirects['id']}"
        excluded = api.post(path, {"excluded_payment_method_types[]": "us_bank_account"}).json()
        assert excluded["payment_method_types"] == ["card"]
        assert excluded["automatic_payment_methods"]["allow_redirects"] == "never"

    def test_lost_their_old_parameter_with_endive(self, api):
        form = {"amount": "1", "currency": "usd", "payment_method_types[]": "card"}
        now = api.http.post(
            "/v1/payment_intents", data=form, headers={"Stripe-Version": "2026-10-28.endive"}
        )
        before = api.http.post(
            "/v1/payment_intents", data=form, headers={"Stripe-Version": "2026-06-24.dahlia"}
        )

        assert now.status_code == 400
        assert now.json()["error"]["code"] == "payment_method_types_no_longer_supported"
        assert before.json()["payment_method_types"] == ["card"]

    def test_that_may_redirect_need_a_return_url_even_for_a_card(self, api):
        form = {
            "amount": 1,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": "true",
        }
        refused = api.post("/v1/payment_intents", form)
        accepted = api.post(
            "/v1/payment_intents", {**form, "return_url": "https://shop.example/done"}
        )

        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "return_url")
        assert accepted.json()["status"] == "succeeded"


SUCCEEDING = [
    *(f"pm_card_{brand}" for brand in ("visa", "visa_debit", "mastercard", "amex", "discover")),
    *("pm_card_us", "pm_card_de", "pm_card_jp"),
    *("pm_card_threeDSecureOptional", "pm_card_createDispute", "pm_card_riskLevelElevated"),
]
DECLINES = {
    "": ("card_declined", "generic_decline"),
    "InsufficientFunds": ("card_declined", "insufficient_funds"),
    "LostCard": ("card_declined", "lost_card"),
    "StolenCard": ("card_declined", "stolen_card"),
    "ExpiredCard": ("expired_card", "expired_card"),
    "IncorrectCvc": ("incorrect_cvc", "incorrect_cvc"),
    "ProcessingError": ("processing_error", "processing_error"),
    "VelocityLimitExceeded": ("card_declined", "card_velocity_exceeded"),
    "Fraudulent": ("card_declined", "fraudulent"),
    "FraudulentDeclined": ("card_declined", "fraudulent"),
}
DECLINING = {
    **{f"pm_card_visa_chargeDeclined{suffix}": why for suffix, why in DECLINES.items()},
    **{f"pm_card_chargeDeclined{suffix}": why for suffix, why in DECLINES.items()},
    "pm_card_chargeCustomerFail": ("card_declined", "generic_decline"),
    "pm_card_radarBlock": ("card_declined", "fraudulent"),
}
ASKING = {  # id -> where it leads when the shopper succeeds
    "pm_card_threeDSecure2Required": "succeeded",
    "pm_card_threeDSecureRequired": "succeeded",
    "pm_card_authenticationRequired": "succeeded",
    "pm_card_authenticationRequiredOnSetup": "succeeded",
    "pm_card_authenticationRequiredSetupForOffSession": "succeeded",
    "pm_card_threeDSecureRequiredChargeDeclined": "requires_payment_method",
    "pm_card_threeDSecureRequiredProcessingError": "requires_payment_method",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": "requires_payment_method",
}
DEBITS = [
    f"pm_usBankAccount_{name}"
    for name in (
        "success",
        "processing",
        "dispute",
        "accountClosed",
        "noAccount",
        "insufficientFunds",
        "debitNotAuthorized",
        "invalidCurrency",
    )
]


class TestTestIds:
    @pytest.mark.parametrize("method", SUCCEEDING)
    def test_that_succeed(self, api, method):
        assert api.intent(payment_method=method, confirm="true")["status"] == "succeeded"

    @pytest.mark.parametrize(("method", "why"), DECLINING.items())
    def test_that_decline(self, api, method, why):
        answer = api.create(payment_method=method, confirm="true")

        error = answer.json()["error"]
        assert answer.status_code == 402
        assert (error["type"], error["code"], error["decline_code"]) == ("card_error", *why)
        intent = api.read(error["payment_intent"])
        assert intent == error["payment_intent"]
        assert intent["status"] == "requires_payment_method"
        assert intent["payment_method"] is None
        assert intent["amount_received"] == 0
        assert intent["last_payment_error"]["code"] == why[0]
        assert intent["last_payment_error"]["decline_code"] == why[1]
        charge = api.get(f"/v1/charges/{intent['latest_charge']}").json()
        assert (charge["status"], charge["paid"], charge["amount_captured"]) == ("failed", False, 0)
        assert error["charge"] == charge["id"]

    @pytest.mark.parametrize(("method", "end"), ASKING.items())
    def test_that_ask_the_shopper_first(self, api, method, end):
        intent = api.intent(payment_method=method, confirm="true")
        assert intent["status"] == "requires_action"
        assert intent["next_action"]["type"] == "use_stripe_sdk"
        assert intent["latest_charge"] is None

        answer = api.act(intent, "succeed")

        assert (answer.status_code, answer.json()["status"]) == (200, end)
        assert api.read(intent) == answer.json()
        assert answer.json()["next_action"] is None

    @pytest.mark.parametrize("method", DEBITS)
    def test_that_leave_it_to_the_bank(self, api, method):
        intent = api.intent(payment_method=method, confirm="true")
        assert intent["status"] == "processing"
        charge = api.get(f"/v1/charges/{intent['latest_charge']}").json()
        assert (charge["status"], charge["amount_captured"]) == ("pending", 0)

        assert api.act(intent, "succeed").json()["status"] == "succeeded"

        charge = api.get(f"/v1/charges/{intent['latest_charge']}").json()
        assert (charge["status"], charge["amount_captured"]) == ("succeeded", 1999)

    def test_of_paypal_redirects_and_comes_back(self, api):
        form = {"allowed_payment_method_types[]": "paypal", "amount": 5, "currency": "eur"}
        created = api.post("/v1/payment_intents", {**form, "payment_method": "pm_paypal"}).json()
        assert api.confirm(created).json()["error"]["param"] == "return_url"

        intent = api.confirm(created, return_url="https://shop.example/back?a=1").json()
        page = api.http.get(intent["next_action"]["redirect_to_url"]["url"])
        assert "Complete the payment" in page.text
        answer = api.http.post(
            f"/_test/payment_intents/{intent['id']}/action", data={"outcome": "succeed"}
        )

        assert answer.status_code == 303
        assert answer.headers["Location"] == (
            f"https://shop.example/back?a=1&payment_intent={intent['id']}"
            f"&payment_intent_client_secret={intent['client_secret']}&redirect_status=succeeded"
        )
        assert api.read(intent)["status"] == "succeeded"

    def test_of_paypal_works_from_payment_method_data_too(self, api):
        form = {"amount": 5, "currency": "eur", "return_url": "https://shop.example/"}
        data = {"payment_method_data[type]": "paypal", "confirm": "true"}

        answer = api.post("/v1/payment_intents", {**form, **data})
        assert answer.json()["status"] == "requires_action"

    @pytest.mark.parametrize("method", ["pm_unknown", "pm_card_", "pm_card_chargeDeclinedX", "x"])
    def test_unknown_are_missing_resources(self, api, method):
        answer = api.create(payment_method=method)

        error = answer.json()["error"]
        assert answer.status_code == 400
        assert (error["type"], error["code"]) == ("invalid_request_error", "resource_missing")
        assert error["param"] == "payment_method"
        assert api.intents() == []

    def test_make_methods_that_can_be_read_and_used_again(self, api):
        intent = api.intent(payment_method="pm_card_amex")

        method = api.get(f"/v1/payment_methods/{intent['payment_method']}").json()
        assert (method["type"], method["card"]["brand"]) == ("card", "amex")
        assert api.paid(payment_method=method["id"])["payment_method"] == method["id"]


class TestUsedMethods:
    def test_pay_once_without_a_customer(self, api):
        method = api.paid()["payment_method"]

        for form in ({}, {"confirm": "true"}):
            error = api.create(payment_method=method, **form).json()["error"]
            assert (error["type"], error["param"]) == ("invalid_request_error", "payment_method")
            assert "previously used" in error["message"]
        assert len(api.intents()) == 1
        assert api.get(f"/v1/payment_methods/{method}").json()["id"] == method

    def test_are_refused_by_intents_that_hold_them_already(self, api):
        method = api.intent()["payment_method"]
        first, second = (api.intent(payment_method=method) for _ in range(2))

        assert api.confirm(first).json()["status"] == "succeeded"
        refused = api.confirm(second)

        assert refused.status_code == 400
        assert "previously used" in refused.json()["error"]["message"]
        assert api.read(second)["status"] == "requires_confirmation"
        assert api.confirm(second, payment_method="pm_card_visa").json()["status"] == "succeeded"

    @pytest.mark.parametrize(
        "form",
        [
            {"capture_method": "manual"},
            {"payment_method": "pm_usBankAccount_success"},
            {"payment_method": "pm_card_threeDSecure2Required"},
        ],
    )
    def test_are_used_up_by_holds_debits_and_late_approval_too(self, api, form):
        intent = api.intent(confirm="true", **form)
        api.act(intent, "succeed")

        assert api.create(payment_method=intent["payment_method"]).status_code == 400

    def test_last_when_they_are_kept_for_a_customer(self, api):
        customer = api.post("/v1/customers", {"email": "a@example.com"}).json()["id"]
        kept = api.paid(customer=customer, setup_future_usage="off_session")["payment_method"]

        assert api.paid(customer=customer, payment_method=kept)["payment_method"] == kept

    def test_that_paid_nothing_may_be_tried_again(self, api):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")
        api.act(intent, "fail")

        again = api.confirm(intent, payment_method=intent["payment_method"])

        assert again.json()["status"] == "requires_action"


class TestAuthentication:
    def test_that_fails_leads_back_to_choosing_a_method(self, api):
        intent = api.intent(payment_method="pm_card_authenticationRequired", confirm="true")

        failed = api.act(intent, "fail").json()

        assert failed["status"] == "requires_payment_method"
        assert failed["last_payment_error"]["code"] == "payment_intent_authentication_failure"
        assert (failed["payment_method"], failed["next_action"]) == (None, None)
        assert failed["latest_charge"] is None

    def test_cannot_happen_while_the_shopper_is_away(self, api):
        answer = api.create(
            payment_method="pm_card_authenticationRequired", confirm="true", off_session="true"
        )

        assert answer.status_code == 402
        assert answer.json()["error"]["code"] == "authentication_required"

    def test_is_not_needed_off_session_once_set_up(self, api):
        method = "pm_card_authenticationRequiredSetupForOffSession"

        intent = api.intent(payment_method=method, confirm="true", off_session="true")
        assert intent["status"] == "succeeded"

    def test_is_an_error_when_asked_to_be(self, api):
        answer = api.create(
            payment_method="pm_card_threeDSecure2Required",
            confirm="true",
            error_on_requires_action="true",
        )

        assert answer.status_code == 402
        assert answer.json()["error"]["payment_intent"]["status"] == "requires_payment_method"

    def test_redirects_where_a_return_url_is_known(self, api):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required")

        action = api.confirm(intent, return_url="https://shop.example/r").json()["next_action"]
        assert action["type"] == "redirect_to_url"
        assert action["redirect_to_url"]["return_url"] == "https://shop.example/r"

    def test_may_be_given_up_for_another_method(self, api):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")

        assert api.confirm(intent, payment_method="pm_card_visa").json()["status"] == "succeeded"


class TestDebit:
    def test_that_fails_says_why(self, api):
        intent = api.intent(payment_method="pm_usBankAccount_accountClosed", confirm="true")

        failed = api.act(intent, "fail").json()

        assert failed["status"] == "requires_payment_method"
        assert failed["last_payment_error"]["code"] == "account_closed"
        assert api.get(f"/v1/charges/{failed['latest_charge']}").json()["status"] == "failed"

    def test_cannot_be_canceled_while_the_bank_thinks(self, api):
        intent = api.intent(payment_method="pm_usBankAccount_success", confirm="true")

        answer = api.cancel(intent)

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "payment_intent_unexpected_state")
        assert error["payment_intent"]["status"] == "processing"


class TestConfirm:
    def test_takes_the_money_once(self, api):
        intent = api.intent()

        assert api.confirm(intent).json()["status"] == "succeeded"
        again = api.confirm(intent)

        error = again.json()["error"]
        assert (again.status_code, error["code"]) == (400, "payment_intent_unexpected_state")
        assert error["payment_intent"]["status"] == "succeeded"
        charges = api.get("/v1/charges", payment_intent=intent["id"]).json()["data"]
        assert len(charges) == 1

    def test_after_a_decline_needs_another_method(self, api):
        intent = api.intent(payment_method="pm_card_chargeDeclined")
        assert api.confirm(intent).status_code == 402

        without = api.confirm(intent)
        assert without.json()["error"]["code"] == "payment_intent_unexpected_state"
        paid = api.confirm(intent, payment_method="pm_card_visa").json()

        assert paid["status"] == "succeeded"
        assert paid["last_payment_error"] is None
        assert len(api.get("/v1/charges", payment_intent=intent["id"]).json()["data"]) == 2

    def test_of_an_unknown_intent_is_404(self, api):
        answer = api.post("/v1/payment_intents/pi_unknown/confirm")

        error = answer.json()["error"]
        assert answer.status_code == 404
        assert (error["code"], error["param"]) == ("resource_missing", "intent")
        assert error["message"] == "No such payment_intent: 'pi_unknown'"


class TestCancel:
    @pytest.mark.parametrize(
        ("form", "status"),
        [
            ({}, "requires_confirmation"),
            (
                {"payment_method": "pm_card_threeDSecure2Required", "confirm": "true"},
                "requires_action",
            ),
            ({"capture_method": "manual", "confirm": "true"}, "requires_capture"),
        ],
    )
    def test_ends_what_is_not_paid(self, api, form, status):
        intent = api.intent(**form)
        assert intent["status"] == status

        canceled = api.cancel(intent, cancellation_reason="abandoned").json()

        assert (canceled["status"], canceled["cancellation_reason"]) == ("canceled", "abandoned")
        assert canceled["canceled_at"] is not None
        assert (canceled["next_action"], canceled["amount_capturable"]) == (None, 0)

    def test_of_a_hold_leaves_no_refund_behind(self, api):
        held = api.intent(capture_method="manual", confirm="true")

        api.cancel(held)

        charge = api.get(f"/v1/charges/{held['latest_charge']}").json()
        assert (charge["amount_captured"], charge["captured"]) == (0, False)
        assert (charge["amount_refunded"], charge["refunded"]) == (0, False)
        assert api.get("/v1/refunds").json()["data"] == []

    def test_keeps_the_reason_of_the_last_failure(self, api):
        error = api.create(payment_method="pm_card_chargeDeclinedLostCard", confirm="true").json()

        canceled = api.cancel(error["error"]["payment_intent"]).json()

        assert canceled["status"] == "canceled"
        assert canceled["last_payment_error"]["decline_code"] == "lost_card"

    @pytest.mark.parametrize("end", ["succeeded", "canceled"])
    def test_is_refused_at_the_end(self, api, end):
        intent = api.intent()
        api.confirm(intent) if end == "succeeded" else api.cancel(intent)

        for answer in (api.cancel(intent), api.confirm(intent, payment_method="pm_card_visa")):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, "payment_intent_unexpected_state")
            assert error["payment_intent"]["status"] == end
        assert api.read(intent)["status"] == end


class TestCapture:
    def test_takes_a_part_of_what_was_held(self, api):
        held = api.intent(capture_method="manual", confirm="true")
        assert (held["amount_capturable"], held["amount_received"]) == (1999, 0)
        path = f"/v1/payment_intents/{held['id']}/capture"

        assert api.post(path, {"amount_to_capture": 2000}).status_code == 400
        captured = api.post(path, {"amount_to_capture": 1500}).json()

        assert (captured["status"], captured["amount_received"]) == ("succeeded", 1500)
        assert api.post(path).json()["error"]["code"] == "payment_intent_unexpected_state"
        assert api.refund(held, amount=1501).status_code == 400
        assert api.refund(held).json()["amount"] == 1500

    def test_that_is_refused_takes_nothing(self, api):
        metadata = {f"metadata[k{number}]": "x" for number in range(50)}
        held = api.intent(capture_method="manual", confirm="true", **metadata)

        refused = api.post(f"/v1/payment_intents/{held['id']}/capture", {"metadata[one_more]": "x"})

        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "metadata")
        assert api.read(held) == held
        charge = api.get(f"/v1/charges/{held['latest_charge']}").json()
        assert (charge["captured"], charge["amount_captured"]) == (False, 0)
        assert api.get("/v1/balance_transactions").json()["data"] == []


class TestUpdate:
    def test_changes_what_is_not_paid(self, api):
        intent = api.intent(**{"metadata[a]": "1", "metadata[b]": "2"})
        form = {"amount": 500, "metadata[a]": "", "metadata[c]": "3", "description": "x"}

        changed = api.post(f"/v1/payment_intents/{intent['id']}", form).json()

        assert (changed["amount"], changed["description"]) == (500, "x")
        assert changed["metadata"] == {"b": "2", "c": "3"}

    @pytest.mark.parametrize("what", ["payment_intents", "customers"])
    def test_never_leads_to_more_than_50_keys(self, api, what):
        made = api.intent() if what == "payment_intents" else api.post("/v1/customers").json()
        path = f"/v1/{what}/{made['id']}"
        for start in (0, 25):
            keys = {f"metadata[k{number}]": "x" for number in range(start, start + 25)}
            assert api.post(path, keys).status_code == 200

        refused = api.post(path, {"metadata[one_more]": "x"})
        swapped = api.post(path, {"metadata[one_more]": "x", "metadata[k0]": ""})

        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "metadata")
        assert len(swapped.json()["metadata"]) == 50

    def test_leaves_paid_money_alone_but_not_its_description(self, api):
        intent = api.paid()
        path = f"/v1/payment_intents/{intent['id']}"

        refused = api.post(path, {"amount": 500})
        described = api.post(path, {"metadata[order_id]": "9"})

        assert refused.json()["error"]["code"] == "payment_intent_unexpected_state"
        assert described.json()["metadata"] == {"order_id": "9"}
        assert api.read(intent)["amount"] == 1999

    def test_of_the_amount_makes_the_shopper_approve_again(self, api):
        intent = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")

        changed = api.post(f"/v1/payment_intents/{intent['id']}", {"amount": 500}).json()
        assert (changed["status"], changed["next_action"]) == ("requires_confirmation", None)


class TestLists:
    def test_page_from_the_newest_to_the_oldest_and_back(self, api):
        ids = [api.intent()["id"] for _ in range(5)][::-1]

        first = api.get("/v1/payment_intents", limit=2).json()
        second = api.get("/v1/payment_intents", limit=2, starting_after=ids[1]).json()
        last = api.get("/v1/payment_intents", limit=2, starting_after=ids[3]).json()
        back = api.get("/v1/payment_intents", limit=2, ending_before=ids[3]).json()
        begin = api.get("/v1/payment_intents", limit=2, ending_before=ids[2]).json()

        assert [intent["id"] for intent in first["data"]] == ids[:2]
        assert [intent["id"] for intent in second["data"]] == ids[2:4]
        assert [intent["id"] for intent in last["data"]] == ids[4:]
        assert [intent["id"] for intent in back["data"]] == ids[1:3]
        assert [intent["id"] for intent in begin["data"]] == ids[:2]
        pages = (first, second, last, back, begin)
        assert [page["has_more"] for page in pages] == [True, True, False, True, False]
        assert (first["object"], first["url"]) == ("list", "/v1/payment_intents")

    def test_hold_ten_unless_told(self, api):
        for _ in range(11):
            api.intent()

        page = api.get("/v1/payment_intents").json()
        assert (len(page["data"]), page["has_more"]) == (10, True)

    def test_filter_by_customer(self, api):
        customer = api.post("/v1/customers", {"email": "a@example.com"}).json()["id"]
        theirs = api.intent(customer=customer)
        api.intent()

        page = api.get("/v1/payment_intents", customer=customer).json()
        assert [intent["id"] for intent in page["data"]] == [theirs["id"]]
        assert api.get("/v1/payment_intents", customer="cus_other").json()["data"] == []

    def test_filter_by_time(self, api):
        created = api.intent()["created"]

        def count(**bounds):
            return len(api.get("/v1/payment_intents", **bounds).json()["data"])

        assert count(**{"created[gte]": created}) == 1
        assert count(**{"created[gt]": created + 1}) == 0
        assert count(**{"created[lt]": created}) == 0
        assert count(**{"created[lte]": created, "created[gte]": created}) == 1
        assert count(created=created) == 1
        assert count(created=created - 1) == 0

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
            ({"limit": "x"}, "limit"),
            ({"starting_after": "pi_unknown"}, "starting_after"),
            ({"created[gte]": "yesterday"}, "created[gte]"),
            ({"created[since]": "1"}, "created[since]"),
            ({"status": "succeeded"}, "status"),
        ],
    )
    def test_refuse_bad_queries(self, api, query, param):
        answer = api.get("/v1/payment_intents", **query)

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


class TestExpand:
    def test_puts_whole_objects_in_place_of_ids(self, api):
        intent = api.paid()
        path = f"/v1/payment_intents/{intent['id']}"

        whole = api.get(path, **{"expand[]": ["latest_charge", "payment_method"]}).json()
        page = api.get("/v1/payment_intents", **{"expand[]": "data.latest_charge"}).json()

        assert whole["latest_charge"]["amount_captured"] == 1999
        assert whole["payment_method"]["card"]["brand"] == "visa"
        assert page["data"][0]["latest_charge"]["id"] == intent["latest_charge"]
        assert api.read(intent) == intent

    def test_refuses_what_is_no_object(self, api):
        answer = api.get("/v1/payment_intents", **{"expand[]": "data.amount"})

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expand")

    @pytest.mark.parametrize(
        ("path", "expand"),
        [
            ("/v1/payment_intents/{}", "data.customer"),
            ("/v1/payment_intents/{}", "data"),
            ("/v1/payment_intents", "customer"),
            ("/v1/payment_intents", "data"),
            ("/v1/balance", "data.source"),
        ],
    )
    def test_knows_a_list_from_an_object(self, api, path, expand):
        answer = api.get(path.format(api.intent()["id"]), **{"expand[]": expand})

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expand")


class TestCustomers:
    def test_are_created_changed_and_found(self, api):
        created = api.post(
            "/v1/customers", {"email": "a@example.com", "name": "Ada", "metadata[id]": "1"}
        ).json()
        other = api.post("/v1/customers", {"email": "b@example.com"}).json()

        changed = api.post(f"/v1/customers/{created['id']}", {"name": "", "phone": "1"}).json()

        assert created["id"].startswith("cus_")
        assert (changed["name"], changed["phone"], changed["metadata"]) == (None, "1", {"id": "1"})
        assert api.get(f"/v1/customers/{created['id']}").json() == changed
        found = api.get("/v1/customers", email="b@example.com").json()["data"]
        assert [customer["id"] for customer in found] == [other["id"]]
        assert api.get("/v1/customers/cus_x").status_code == 404
