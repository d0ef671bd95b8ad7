"""Saved cards: who keeps a payment method, who may pay with it, and when it is good for nothing."""

import pytest


@pytest.fixture
def customer(api):
    return api.post("/v1/customers").json()["id"]


def attach(api, customer, method="pm_card_visa"):
    return api.post(f"/v1/payment_methods/{method}/attach", {"customer": customer})


def detach(api, method):
    return api.post(f"/v1/payment_methods/{method}/detach")


def saved(api, customer):
    return [m["id"] for m in api.get(f"/v1/customers/{customer}/payment_methods").json()["data"]]


class TestKeeping:
    def test_a_test_id_becomes_a_method_of_its_own(self, api, customer):
        kept = attach(api, customer).json()

        assert kept["id"] != "pm_card_visa"
        assert kept["customer"] == customer
        assert saved(api, customer) == [kept["id"]]

    def test_twice_for_one_customer_is_once(self, api, customer):
        kept = attach(api, customer).json()["id"]

        assert attach(api, customer, kept).status_code == 200
        assert saved(api, customer) == [kept]

    def test_is_refused_to_a_second_customer(self, api, customer):
        kept = attach(api, customer).json()["id"]
        other = api.post("/v1/customers").json()["id"]

        assert attach(api, other, kept).status_code == 400
        assert saved(api, other) == []
        assert saved(api, customer) == [kept]

    def test_is_refused_for_what_has_paid_without_a_customer(self, api, customer):
        used = api.paid()["payment_method"]

        assert attach(api, customer, used).status_code == 400
        assert saved(api, customer) == []

    def test_needs_a_customer(self, api):
        nobody = api.post("/v1/payment_methods/pm_card_visa/attach").json()["error"]
        stranger = attach(api, "cus_of_nobody").json()["error"]

        assert (nobody["code"], nobody["param"]) == ("parameter_missing", "customer")
        assert (stranger["code"], stranger["param"]) == ("resource_missing", "customer")

    @pytest.mark.parametrize(
        ("method", "decline_code"),
        [
            ("pm_card_visa_chargeDeclined", "generic_decline"),
            ("pm_card_chargeDeclinedStolenCard", "stolen_card"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ],
    )
    def test_is_declined_by_the_bank_of_a_card_that_is_none(
        self, api, customer, method, decline_code
    ):
        answer = attach(api, customer, method)

        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (402, "card_error")
        assert error["decline_code"] == decline_code
        assert "payment_intent" not in error
        assert saved(api, customer) == []

    def test_is_possible_of_a_card_that_declines_later(self, api, customer):
        kept = attach(api, customer, "pm_card_chargeCustomerFail").json()["id"]

        answer = api.create(customer=customer, payment_method=kept, confirm="true")

        assert answer.status_code == 402
        assert saved(api, customer) == [kept]

    def test_is_told_by_an_event(self, api, customer):
        kept = attach(api, customer).json()["id"]
        attach(api, customer, kept)

        (event,) = api.get("/v1/events", type="payment_method.attached").json()["data"]
        assert event["data"]["object"]["id"] == kept

    def test_comes_with_a_payment_that_sets_up_future_usage(self, api, customer):
        used = api.paid(customer=customer, setup_future_usage="on_session")["payment_method"]

        assert saved(api, customer) == [used]


class TestPayingWithAKeptMethod:
    def test_works_again_and_again_for_its_customer(self, api, customer):
        kept = attach(api, customer).json()["id"]

        for _ in range(2):
            paid = api.paid(customer=customer, payment_method=kept)
            assert paid["payment_method"] == kept

    @pytest.mark.parametrize(
        ("names_another", "param"), [(True, "payment_method"), (False, "source")]
    )
    def test_is_refused_to_anybody_else(self, api, customer, names_another, param):
        kept = attach(api, customer).json()["id"]
        form = {"customer": api.post("/v1/customers").json()["id"]} if names_another else {}

        refused = api.create(payment_method=kept, **form)

        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == param
        assert api.intents() == []

    def test_asks_for_3d_secure_each_time(self, api, customer):
        kept = attach(api, customer, "pm_card_authenticationRequired").json()["id"]

        for _ in range(2):
            intent = api.intent(customer=customer, payment_method=kept, confirm="true")
            assert intent["status"] == "requires_action"


class TestLettingGo:
    def test_leaves_nothing_to_pay_with_to_keep_or_to_let_go_again(self, api, customer):
        kept = attach(api, customer).json()["id"]

        assert detach(api, kept).json()["customer"] is None

        assert saved(api, customer) == []
        assert api.create(customer=customer, payment_method=kept).status_code == 400
        assert attach(api, customer, kept).status_code == 400
        assert detach(api, kept).status_code == 400

    def test_happens_to_all_that_a_deleted_customer_kept(self, api, customer):
        kept = [attach(api, customer).json()["id"] for _ in range(2)]
        theirs = attach(api, other := api.post("/v1/customers").json()["id"]).json()["id"]

        answer = api.http.delete(f"/v1/customers/{customer}")

        assert answer.json() == {"id": customer, "object": "customer", "deleted": True}
        assert api.get(f"/v1/customers/{customer}/payment_methods").status_code == 404
        assert [api.create(payment_method=one).status_code for one in kept] == [400, 400]
        assert saved(api, other) == [theirs]
        assert api.http.delete(f"/v1/customers/{customer}").status_code == 404
        (event,) = api.get("/v1/events", type="customer.deleted").json()["data"]
        assert event["data"]["object"]["id"] == customer


class TestAListOfOnesMethods:
    def test_has_pages_newest_first(self, api, customer):
        kept = [attach(api, customer).json()["id"] for _ in range(3)]

        page = api.get(f"/v1/customers/{customer}/payment_methods", limit=2).json()

        assert ([one["id"] for one in page["data"]], page["has_more"]) == (kept[:0:-1], True)

    def test_may_be_of_one_type(self, api, customer):
        kept = attach(api, customer).json()["id"]
        attach(api, customer, "pm_paypal")

        page = api.get(f"/v1/customers/{customer}/payment_methods", type="card").json()

        assert [one["id"] for one in page["data"]] == [kept]
