"""Idempotency keys: one effect, one answer, for a day."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


def created_by(answers):
    return {answer.json()["id"] for answer in answers if answer.status_code == 200}


class TestSameKey:
    def test_gets_the_first_answer_again(self, api):
        first = api.create(key="k")
        second = api.create(key="k")

        assert second.content == first.content
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.headers["Original-Request"] == first.headers["Request-Id"]
        assert second.headers["Request-Id"] != first.headers["Request-Id"]
        assert len(api.intents()) == 1

    def test_gets_the_first_answer_even_when_the_state_has_moved_on(self, api):
        created = api.create(key="k")
        api.confirm(created.json())

        assert api.create(key="k").json()["status"] == "requires_confirmation"

    def test_gets_a_decline_again_without_asking_the_bank_again(self, api):
        first = api.create(key="k", payment_method="pm_card_chargeDeclined", confirm="true")
        second = api.create(key="k", payment_method="pm_card_chargeDeclined", confirm="true")

        assert (first.status_code, second.status_code) == (402, 402)
        assert second.content == first.content
        assert second.headers["Idempotent-Replayed"] == "true"
        assert len(api.get("/v1/charges").json()["data"]) == 1

    def test_gets_a_refusal_of_state_again(self, api):
        intent = api.intent(payment_method="pm_usBankAccount_success", confirm="true")
        path = f"/v1/payment_intents/{intent['id']}/cancel"
        assert api.post(path, key="k").status_code == 400
        api.act(intent, "fail")

        replayed = api.post(path, key="k")

        assert replayed.status_code == 400
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert api.post(path, key="fresh").json()["status"] == "canceled"

    def test_is_a_fresh_try_after_parameters_that_failed_validation(self, api):
        assert api.create(key="k", amount=0).status_code == 400

        repaired = api.create(key="k")
        assert repaired.status_code == 200
        assert "Idempotent-Replayed" not in repaired.headers

    def test_may_name_its_parameters_in_another_order(self, api):
        one = {"amount": "1", "currency": "usd", "metadata[a]": "1", "metadata[b]": "2"}
        other = dict(reversed(one.items()))

        first = api.post("/v1/payment_intents", one, key="k")
        assert api.post("/v1/payment_intents", other, key="k").content == first.content

    def test_means_nothing_to_get(self, api):
        intent = api.intent()
        path = f"/v1/payment_intents/{intent['id']}"
        headers = {"Idempotency-Key": "k"}

        before = api.http.get(path, headers=headers).json()
        api.confirm(intent)
        after = api.http.get(path, headers=headers).json()

        assert (before["status"], after["status"]) == ("requires_confirmation", "succeeded")


class TestAnotherRequestUnderTheSameKey:
    def test_with_other_parameters_is_refused(self, api):
        api.create(key="k")

        answer = api.create(key="k", amount=2000)

        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (400, "idempotency_error")
        assert "same parameters" in error["message"]
        assert len(api.intents()) == 1

    def test_for_another_path_is_refused(self, api):
        intent = api.create(key="k").json()

        answer = api.confirm(intent, key="k")

        assert answer.json()["error"]["type"] == "idempotency_error"
        assert "same endpoint" in answer.json()["error"]["message"]
        assert api.read(intent)["status"] == "requires_confirmation"

    def test_does_not_spoil_the_first(self, api):
        first = api.create(key="k")
        api.create(key="k", amount=2000)

        assert api.create(key="k").content == first.content


class TestConcurrent:
    def test_requests_have_one_effect(self, api):
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: api.create(key="k", confirm="true"), range(16)))

        assert len(created_by(answers)) == 1
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len(api.intents()) == 1
        assert len(api.get("/v1/charges").json()["data"]) == 1

    def test_request_beside_a_running_one_is_told_so(self, api, eventually):
        api.break_next("latency", seconds=2)
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(api.create, key="k")
            eventually(lambda: api.journal(path="/v1/payment_intents") != [])
            beside = api.create(key="k")
            different = api.create(key="k", amount=5)
            elsewhere = api.create(key="other")

        error = beside.json()["error"]
        assert (beside.status_code, error["type"]) == (409, "invalid_request_error")
        assert error["code"] == "idempotency_key_in_use"
        assert different.json()["error"]["type"] == "idempotency_error"
        assert elsewhere.status_code == 200
        assert running.result().status_code == 200
        assert api.create(key="k").content == running.result().content


class TestKeys:
    @pytest.mark.parametrize(("key", "status"), [("x" * 255, 200), ("x" * 256, 400)])
    def test_have_at_most_255_characters(self, api, key, status):
        assert api.create(key=key).status_code == status

    def test_are_forgotten_after_a_day(self, start_server, client_of):
        server = start_server()
        first = client_of(server).create(key="k").json()
        server.stop()
        day = 24 * 60 * 60
        with sqlite3.connect(server.state) as database:
            database.execute("UPDATE idempotency_keys SET created = created - ?", (day,))
        database.close()

        again = client_of(start_server()).create(key="k")

        assert "Idempotent-Replayed" not in again.headers
        assert again.json()["id"] != first["id"]

    def test_are_shared_by_all_secret_keys_of_the_one_account(self, api):
        first = api.create(key="k")
        other = httpx.Headers({"Authorization": "Bearer sk_test_other"})
        form = httpx.QueryParams(first.request.content.decode())

        answer = api.http.post(
            "/v1/payment_intents",
            data=dict(form),
            headers={**other, "Idempotency-Key": "k"},
        )
        assert answer.content == first.content
