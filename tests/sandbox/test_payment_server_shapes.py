"""Objects have the fields the SDK's classes declare, and no others: those without a value too."""

import stripe

# Fields that Stripe shows in some cases alone, or only when asked: these need not be there.
SOMETIMES = {
    stripe.PaymentIntent: (
        *("amount_details", "hooks", "managed_payments", "payment_details", "presentment_details"),
    ),
    stripe.Charge: ("authorization_code", "level3", "presentment_details", "refunds"),
    stripe.Refund: (
        *("customer_account", "description", "instructions_email", "next_action"),
        "presentment_details",
    ),
    stripe.Dispute: ("intended_submission_method", "network_reason_code"),
    stripe.BalanceTransaction: (),
    stripe.Event: ("account", "context"),
    stripe.Customer: (
        *("business_name", "cash_balance", "customer_account", "deleted", "individual_name"),
        *("invoice_credit_balance", "invoice_settings", "next_invoice_sequence", "sources"),
        *("subscriptions", "tax", "tax_ids"),
    ),
}


def check(kind, found):
    declared = set(kind.__annotations__) - {"OBJECT_NAME"}
    assert found["object"] == kind.OBJECT_NAME
    assert set(found) <= declared
    assert declared - set(found) <= set(SOMETIMES[kind])


def test_of_payments(api):
    paid = api.paid()
    waiting = api.intent(payment_method="pm_card_threeDSecure2Required", confirm="true")
    declined = api.create(payment_method="pm_card_chargeDeclined", confirm="true").json()["error"]

    for intent in (api.intent(), paid, waiting, declined["payment_intent"]):
        check(stripe.PaymentIntent, intent)
    for charge in (paid["latest_charge"], declined["charge"]):
        check(stripe.Charge, api.get(f"/v1/charges/{charge}").json())


def test_of_what_follows_them(api):
    pending = api.refund(api.paid(payment_method="pm_card_pendingRefund")).json()
    decided = api.http.post(
        f"/_test/refunds/{pending['id']}/action", json={"outcome": "succeed"}
    ).json()
    disputed = api.paid(payment_method="pm_card_createDispute")
    (dispute,) = api.get("/v1/disputes", payment_intent=disputed["id"]).json()["data"]

    for refund in (api.refund(api.paid()).json(), pending, decided):
        check(stripe.Refund, refund)
    assert (pending["pending_reason"], decided["pending_reason"]) == ("processing", None)
    check(stripe.Dispute, dispute)
    for transaction in api.get("/v1/balance_transactions").json()["data"]:
        check(stripe.BalanceTransaction, transaction)


def test_of_customers_and_events(api):
    check(stripe.Customer, api.post("/v1/customers", {"email": "a@example.com"}).json())
    check(stripe.Event, api.get("/v1/events").json()["data"][0])


def test_of_payment_methods(api):
    for test_id in ("pm_card_visa", "pm_usBankAccount_success", "pm_paypal"):
        method = api.get(f"/v1/payment_methods/{test_id}").json()
        assert set(method) <= set(stripe.PaymentMethod.__annotations__)
