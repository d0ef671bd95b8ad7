"""The demo's customer behaves as a good client should."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest

from sandbox import shopper as shopper_module
from sandbox.demo import choose_baskets
from sandbox.shopper import NotAsPromisedError, Shopper, expect


@pytest.fixture(autouse=True)
def naps(monkeypatch):
    """How long the shopper would have slept."""
    taken = []
    monkeypatch.setattr(shopper_module.time, "sleep", taken.append)
    return taken


def shopper_of(*answers):
    """A shopper whose shop gives these answers, and the requests it gets."""
    requests = []
    waiting = list(answers)

    def answer(request):
        requests.append(request)
        response = waiting.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    transport = httpx.MockTransport(answer)
    return Shopper("http://shop", on_answer=lambda _: None, transport=transport), requests


class TestPatience:
    def test_comes_back_when_told_to(self, naps):
        busy = httpx.Response(429, headers={"Retry-After": "7"})
        shopper, requests = shopper_of(busy, httpx.Response(201, json={}))

        answer = shopper.post("/api/v1/orders", {"items": []}, key="k")

        assert answer.status_code == 201
        assert naps == [7.0]
        assert shopper.waits == 1
        assert len(requests) == 2

    def test_takes_the_answer_when_the_wait_is_too_long(self, naps):
        shopper, _ = shopper_of(httpx.Response(503, headers={"Retry-After": "3600"}))

        assert shopper.get("/api/v1/products").status_code == 503
        assert naps == []

    def test_sends_the_same_bytes_and_key_again_after_a_lost_connection(self):
        lost = httpx.ConnectError("refused")
        shopper, requests = shopper_of(lost, lost, httpx.Response(201, json={}))

        shopper.post("/api/v1/orders", {"items": []}, key="the-key")

        assert {request.content for request in requests} == {b'{"items": []}'}
        assert [request.headers["Idempotency-Key"] for request in requests] == ["the-key"] * 3
        assert shopper.resends == 2

    def test_does_not_repeat_what_has_no_key(self):
        shopper, requests = shopper_of(httpx.ConnectError("refused"))

        with pytest.raises(NotAsPromisedError, match="no answer"):
            shopper.post("/_allauth/app/v1/auth/signup", {})

        assert len(requests) == 1


class TestExpect:
    def test_gives_the_promised_answer(self):
        assert expect(answer(402, {"error": {"code": "CARD_DECLINED"}}), 402, code="CARD_DECLINED")

    @pytest.mark.parametrize(
        "found",
        [
            (409, {"error": {"code": "CARD_DECLINED"}}),
            (402, {"error": {"code": "PAYMENT_FAILED"}}),
            (402, {"error": "CARD_DECLINED"}),
            (402, ["CARD_DECLINED"]),
        ],
    )
    def test_says_what_was_expected_of_any_other(self, found):
        with pytest.raises(NotAsPromisedError, match="expected 402 CARD_DECLINED, got 4"):
            expect(answer(*found), 402, code="CARD_DECLINED")


class TestChooseBaskets:
    @pytest.mark.parametrize("number", [12, 5_000, 10_000])
    def test_spreads_different_ones_over_the_year(self, number):
        chosen = choose_baskets(number)

        assert len({basket.basket_id for basket in chosen}) == number
        assert chosen[0].bought_at < datetime(2017, 2, 1)  # noqa: DTZ001 - the shop's local time
        assert chosen[-1].bought_at > datetime(2017, 11, 1)  # noqa: DTZ001 - likewise

    def test_begins_again_when_there_are_too_few(self):
        assert len(choose_baskets(20_000)) == 20_000


def answer(status, body):
    return httpx.Response(status, json=body, request=httpx.Request("POST", "http://shop/orders"))
