"""The real `stripe` SDK against the server: its classes, its errors, its lists."""

import pytest
import stripe

NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}
CARD = {
    "amount": 1999,
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "automatic_payment_methods": NO_REDIRECTS,
}


@pytest.fixture
def client(api):
    transport = stripe.RequestsClient(timeout=(2, 8))
    yield stripe.StripeClient(
        "sk_test_of_the_sdk",
        base_addresses={"api": api.url},
        max_network_retries=0,
        http_client=transport,
    )
    transport.close()


class TestCalls:
    def test_pay_and_give_back(self, client):
        intents = client.v1.payment_intents
        created = intents.create(
            params={**CARD, "metadata": {"order_id": "7"}, "description": "Order 7"},
            options={"idempotency_key": "pi-1"},
        )
        paid = intents.confirm(created.id, options={"idempotency_key": "cf-1"})
        charge = client.v1.charges.retrieve(paid.latest_charge)
        refund = client.v1.refunds.create(
            params={
                "payment_intent": paid.id,
                "amount": 500,
                "reason": "requested_by_customer",
                "metadata": {"refund_id": "r1"},
            }
        )

        assert (created.status, paid.status) == ("requires_confirmation", "succeeded")
        assert (charge.amount_captured, refund.status) == (1999, "succeeded")
        assert intents.retrieve(paid.id).metadata["order_id"] == "7"
        assert intents.update(paid.id, params={"metadata": {"a": "b"}}).metadata["a"] == "b"
        assert client.v1.refunds.retrieve(refund.id).amount == 500
        listed = client.v1.refunds.list(params={"payment_intent": paid.id})
        assert [one.id for one in listed] == [refund.id]

    def test_send_booleans_lists_and_hashes_the_server_reads(self, client):
        intent = client.v1.payment_intents.create(
            params={
                "amount": 500,
                "currency": "eur",
                "confirm": True,
                "payment_method": "pm_card_visa",
                "allowed_payment_method_types": ["card"],
                "capture_method": "manual",
                "off_session": True,
                "shipping": {"name": "Ada", "address": {"line1": "1 Main St", "country": "DE"}},
                "expand": ["latest_charge"],
            }
        )

        assert intent.status == "requires_capture"
        assert intent.latest_charge.amount == 500
        captured = client.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 300})
        assert (captured.status, captured.amount_received) == ("succeeded", 300)

    def test_walk_through_all_pages(self, client):
        ids = [client.v1.payment_intents.create(params=CARD).id for _ in range(7)]

        pages = client.v1.payment_intents.list(params={"limit": 3, "created": {"gte": 1}})
        assert [intent.id for intent in pages.auto_paging_iter()] == ids[::-1]

    def test_manage_customers(self, client):
        customer = client.v1.customers.create(params={"email": "a@example.com"})
        changed = client.v1.customers.update(customer.id, params={"name": "Ada"})

        assert client.v1.customers.retrieve(customer.id).name == changed.name == "Ada"
        assert [one.id for one in client.v1.customers.list().data] == [customer.id]

    def test_show_a_replay(self, client):
        options = {"idempotency_key": "k"}
        first = client.v1.payment_intents.create(params=CARD, options=options)
        second = client.v1.payment_intents.create(params=CARD, options=options)

        assert second.id == first.id
        assert "idempotent-replayed" not in first.last_response.headers
        assert second.last_response.headers["idempotent-replayed"] == "true"

    def test_tell_the_action_a_shopper_has_to_take(self, client):
        intent = client.v1.payment_intents.create(
            params={
                **CARD,
                "payment_method": "pm_card_threeDSecure2Required",
                "confirm": True,
                "return_url": "https://shop.example/done",
            }
        )

        assert intent.status == "requires_action"
        assert intent.next_action.type == "redirect_to_url"
        assert intent.next_action.redirect_to_url.return_url == "https://shop.example/done"


class TestErrors:
    def test_of_cards(self, client):
        method = "pm_card_visa_chargeDeclinedInsufficientFunds"
        with pytest.raises(stripe.CardError) as caught:
            client.v1.payment_intents.create(
                params={**CARD, "payment_method": method, "confirm": True}
            )

        error = caught.value
        assert (error.http_status, error.code) == (402, "card_declined")
        assert error.error.decline_code == "insufficient_funds"
        assert error.error.payment_intent.status == "requires_payment_method"
        assert error.error.payment_intent.id.startswith("pi_")
        assert error.request_id.startswith("req_")

    def test_of_states(self, client):
        intent = client.v1.payment_intents.create(params={**CARD, "confirm": True})
        with pytest.raises(stripe.InvalidRequestError) as caught:
            client.v1.payment_intents.cancel(intent.id)

        assert caught.value.code == "payment_intent_unexpected_state"
        assert caught.value.error.payment_intent.status == "succeeded"

    def test_of_missing_things(self, client):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            client.v1.payment_intents.retrieve("pi_unknown")

        error = caught.value
        assert (error.http_status, error.code, error.param) == (404, "resource_missing", "intent")

    def test_of_parameters(self, client):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            client.v1.payment_intents.create(params={**CARD, "colour": "red"})

        assert (caught.value.code, caught.value.param) == ("parameter_unknown", "colour")

    def test_of_keys_used_twice(self, client):
        options = {"idempotency_key": "k"}
        client.v1.payment_intents.create(params=CARD, options=options)
        with pytest.raises(stripe.IdempotencyError):
            client.v1.payment_intents.create(params={**CARD, "amount": 1}, options=options)

    def test_of_authentication(self, client):
        with pytest.raises(stripe.AuthenticationError):
            client.v1.payment_intents.create(params=CARD, options={"api_key": "sk_live_x"})

    @pytest.mark.parametrize(
        ("fault", "kind", "status"),
        [
            ({"kind": "rate_limit"}, stripe.RateLimitError, 429),
            ({"kind": "conflict"}, stripe.APIError, 409),
            ({"kind": "unavailable"}, stripe.APIError, 503),
            ({"kind": "error_before"}, stripe.APIError, 500),
            ({"kind": "error_after"}, stripe.APIError, 500),
            ({"kind": "malformed", "form": "html"}, stripe.APIError, 200),
            ({"kind": "malformed", "form": "truncated"}, stripe.APIError, 200),
            ({"kind": "drop"}, stripe.APIConnectionError, None),
            ({"kind": "drop", "reset": True}, stripe.APIConnectionError, None),
            ({"kind": "answer_lost"}, stripe.APIConnectionError, None),
            ({"kind": "hang", "seconds": 0.1}, stripe.APIConnectionError, None),
        ],
    )
    def test_of_faults(self, client, api, fault, kind, status):
        api.break_next(**fault)
        with pytest.raises(kind) as caught:
            client.v1.payment_intents.create(params=CARD)

        assert type(caught.value) is kind
        assert caught.value.http_status == status
