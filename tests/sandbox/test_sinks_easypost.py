"""EasyPost as its documentation tells it: rates, one label a shipment, trackers, webhooks."""

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.sandbox.sink_calls import http

SHIPMENTS = "/v2/shipments"
HOME = {
    "street1": "417 Montgomery Street",
    "city": "San Francisco",
    "zip": "94104",
    "country": "US",
}


def ask(sinks, method, path, body=None, auth=None):
    return http.request(
        method, f"{sinks.url}/easypost{path}", json=body, auth=auth or (sinks.token, "")
    )


def wish(**changes):
    return {
        "shipment": {
            "to_address": {"name": "Ada", **HOME},
            "from_address": {"name": "Shop", **HOME},
            "parcel": {"length": 20.2, "width": 10.9, "height": 5, "weight": 65.9},
            "reference": "order-ABC-1",
            **changes,
        }
    }


def created(sinks, **changes):
    answer = ask(sinks, "POST", SHIPMENTS, wish(**changes))
    assert answer.status_code == 201, answer.text
    return answer.json()


def bought(sinks, shipment=None):
    shipment = shipment or created(sinks)
    cheapest = min(shipment["rates"], key=lambda rate: float(rate["rate"]))
    answer = ask(
        sinks, "POST", f"{SHIPMENTS}/{shipment['id']}/buy", {"rate": {"id": cheapest["id"]}}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer, status, code):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    return error["errors"]


class TestShipment:
    def test_has_rates_in_dollars(self, sinks):
        shipment = created(sinks)

        rates = {rate["service"]: rate["rate"] for rate in shipment["rates"]}
        assert rates == {"GroundAdvantage": "9.77", "Priority": "14.35", "Express": "46.12"}
        assert {rate["currency"] for rate in shipment["rates"]} == {"USD"}
        assert shipment["postage_label"] is None
        assert sinks.received("easypost", kind="shipments").bodies == [shipment]

    def test_abroad_has_others(self, sinks):
        shipment = created(sinks, to_address={**HOME, "country": "DE", "zip": "10115"})

        assert {rate["service"] for rate in shipment["rates"]} == {
            *("FirstClassPackageInternationalService", "PriorityMailInternational")
        }

    def test_to_nowhere_has_none_and_says_why(self, sinks):
        shipment = created(sinks, to_address={**HOME, "zip": "00000"})

        assert shipment["rates"] == []
        assert shipment["messages"][0]["type"] == "rate_error"

    def test_is_found_by_id_and_by_reference(self, sinks):
        shipment = created(sinks)

        for key in (shipment["id"], "order-ABC-1"):
            assert ask(sinks, "GET", f"{SHIPMENTS}/{key}").json() == shipment
        refused(ask(sinks, "GET", f"{SHIPMENTS}/order-XYZ"), 404, "NOT_FOUND")

    def test_of_a_reference_that_came_before_is_another_one(self, sinks):
        first, second = created(sinks), created(sinks)

        assert first["id"] != second["id"]
        assert ask(sinks, "GET", f"{SHIPMENTS}/order-ABC-1").json()["id"] == second["id"]

    def test_takes_an_address_by_its_id(self, sinks):
        address = ask(sinks, "POST", "/v2/addresses", {"address": HOME}).json()

        shipment = created(sinks, from_address={"id": address["id"]})

        assert shipment["from_address"] == address
        assert ask(sinks, "GET", f"/v2/addresses/{address['id']}").json() == address

    @pytest.mark.parametrize(
        ("changes", "code", "field"),
        [
            ({"parcel": None}, "PARAMETER.REQUIRED", "parcel"),
            ({"parcel": {"weight": 0}}, "PARCEL.INVALID_PARAMS", "parcel.weight"),
            ({"parcel": {"weight": "5"}}, "PARCEL.INVALID_PARAMS", "parcel.weight"),
            ({"parcel": {"weight": 2_000}}, "PARCEL.INVALID_PARAMS", "parcel.weight"),
            ({"to_address": {}}, "ADDRESS.INVALID_PARAMS", "to_address.street1"),
        ],
    )
    def test_is_checked(self, sinks, changes, code, field):
        errors = refused(ask(sinks, "POST", SHIPMENTS, wish(**changes)), 422, code)

        assert errors[0]["field"] == field
        assert sinks.received("easypost").kept == 0


class TestLabel:
    def test_is_bought_at_the_chosen_rate(self, sinks):
        shipment = bought(sinks)

        assert shipment["selected_rate"]["rate"] == "9.77"
        assert shipment["tracking_code"] == shipment["tracker"]["tracking_code"]
        assert shipment["fees"][1]["amount"] == "9.77000"
        assert http.get(shipment["postage_label"]["label_url"]).content.startswith(b"%PDF")
        assert (
            ask(sinks, "GET", f"/v2/trackers/{shipment['tracker']['id']}").json()
            == (shipment["tracker"])
        )

    def test_is_bought_once(self, sinks):
        shipment = bought(sinks)
        rate = shipment["rates"][2]["id"]

        again = ask(sinks, "POST", f"{SHIPMENTS}/{shipment['id']}/buy", {"rate": {"id": rate}})

        refused(again, 422, "SHIPMENT.POSTAGE.EXISTS")
        assert ask(sinks, "GET", f"{SHIPMENTS}/{shipment['id']}").json() == shipment

    def test_whose_answer_was_lost_is_there_when_asked_again(self, sinks):
        shipment = created(sinks)
        path = f"{SHIPMENTS}/{shipment['id']}/buy"
        body = {"rate": {"id": shipment["rates"][0]["id"]}}
        sinks.fail("easypost", "status", status=503, applied=True)

        assert ask(sinks, "POST", path, body).status_code == 503
        refused(ask(sinks, "POST", path, body), 422, "SHIPMENT.POSTAGE.EXISTS")
        found = ask(sinks, "GET", f"{SHIPMENTS}/order-ABC-1").json()
        assert found["postage_label"]["label_url"]

    def test_comes_with_the_shipment_if_a_service_is_named(self, sinks):
        shipment = created(sinks, service="Priority")

        assert shipment["selected_rate"]["service"] == "Priority"
        assert shipment["postage_label"]
        answer = ask(sinks, "POST", SHIPMENTS, wish(service="Rocket"))
        refused(answer, 422, "SHIPMENT.INVALID_PARAMS")
        assert len(sinks.received("easypost", kind="shipments").items) == 1

    @pytest.mark.parametrize("rate", [{}, {"id": "rate_of_another"}])
    def test_needs_a_rate_of_its_own(self, sinks, rate):
        shipment = created(sinks)

        answer = ask(sinks, "POST", f"{SHIPMENTS}/{shipment['id']}/buy", {"rate": rate})

        refused(answer, 422, "SHIPMENT.INVALID_PARAMS")

    def test_is_had_as_pdf(self, sinks):
        shipment = bought(sinks)
        path = f"{SHIPMENTS}/{shipment['id']}/label"

        assert shipment["postage_label"]["label_pdf_url"] is None
        answer = ask(sinks, "GET", f"{path}?file_format=PDF").json()
        assert answer["postage_label"]["label_pdf_url"].endswith(".pdf")
        refused(ask(sinks, "GET", f"{path}?file_format=DOC"), 422, "PARAMETER.INVALID")
        asked = bought(sinks, created(sinks, options={"label_format": "PDF"}))
        assert asked["postage_label"]["label_pdf_url"]

    def test_is_given_back(self, sinks):
        shipment = bought(sinks)
        unbought = created(sinks)

        answer = ask(sinks, "POST", f"{SHIPMENTS}/{shipment['id']}/refund")

        assert answer.json()["refund_status"] == "submitted"
        answer = ask(sinks, "POST", f"{SHIPMENTS}/{unbought['id']}/refund")
        refused(answer, 422, "SHIPMENT.REFUND.UNAVAILABLE")

    def test_is_listed_the_newest_first(self, sinks):
        made = [bought(sinks)["id"] for _ in range(3)]
        created(sinks)

        first = ask(sinks, "GET", f"{SHIPMENTS}?page_size=2").json()
        rest = ask(sinks, "GET", f"{SHIPMENTS}?before_id={made[1]}").json()
        every = ask(sinks, "GET", f"{SHIPMENTS}?purchased=false").json()

        assert [one["id"] for one in first["shipments"]] == [made[2], made[1]]
        assert first["has_more"] is True
        assert [one["id"] for one in rest["shipments"]] == [made[0]]
        assert rest["has_more"] is False
        assert len(every["shipments"]) == 4


@pytest.fixture
def listener():
    """Somebody whom EasyPost tells."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.headers.get("X-Hmac-Signature"), content))
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.heard, server.handler = heard, Handler
        server.url = f"http://127.0.0.1:{server.server_port}/hooks"
        yield server
        server.shutdown()
        thread.join()


class TestTracker:
    def track(self, sinks, code="EZ2000000002"):
        wish = {"tracker": {"tracking_code": code, "carrier": "USPS"}}
        answer = ask(sinks, "POST", "/v2/trackers", wish)
        assert answer.status_code == 201
        return answer.json()

    def test_of_a_test_code_has_its_status(self, sinks):
        assert self.track(sinks)["status"] == "in_transit"
        assert self.track(sinks, "EZ4000000004")["status"] == "delivered"
        assert self.track(sinks, "1Z9999")["status"] == "unknown"

    def test_of_one_code_is_one(self, sinks):
        assert self.track(sinks)["id"] == self.track(sinks)["id"]
        assert sinks.received("easypost", kind="trackers").duplicates == 1

    def test_tells_whoever_wants_to_know(self, sinks, listener):
        secret = "sécret"  # normalized before use
        wish = {"webhook": {"url": listener.url, "webhook_secret": secret}}
        hook = ask(sinks, "POST", "/v2/webhooks", wish).json()
        shipment = bought(sinks)

        told = sinks.ask(
            "POST", f"/_test/trackers/{shipment['tracking_code']}", {"status": "delivered"}
        )

        assert told["told"] == [{"url": listener.url, "answer": 200}]
        [(signature, content)] = listener.heard
        key = "se\u0301cret".encode()
        expected = hmac.new(key, content, hashlib.sha256).hexdigest()
        assert signature == f"hmac-sha256-hex={expected}"
        event = told["event"]
        assert (event["object"], event["description"]) == ("Event", "tracker.updated")
        assert event["previous_attributes"] == {"status": "unknown"}
        assert event["result"]["status"] == "delivered"
        assert event["result"]["shipment_id"] == shipment["id"]
        assert "secret" not in str(hook)
        read = ask(sinks, "GET", f"/v2/trackers/{shipment['tracker']['id']}").json()
        assert read == event["result"]

    def test_tells_again_when_told_to(self, sinks, listener):
        ask(sinks, "POST", "/v2/webhooks", {"webhook": {"url": listener.url}})
        tracker = self.track(sinks)
        listener.handler.status = 503

        told = sinks.ask("POST", f"/_test/trackers/{tracker['id']}", {"status": "delivered"})
        again = sinks.ask("POST", f"/_test/events/{told['event']['id']}/resend", {})

        assert told["told"][0]["answer"] == again["told"][0]["answer"] == 503
        assert listener.heard[0] == listener.heard[1]
        assert listener.heard[0][0] is None

    def test_tells_nobody_who_has_gone(self, sinks, listener):
        hook = ask(sinks, "POST", "/v2/webhooks", {"webhook": {"url": listener.url}}).json()
        assert ask(sinks, "GET", "/v2/webhooks").json()["webhooks"] == [hook]
        assert ask(sinks, "GET", f"/v2/webhooks/{hook['id']}").json() == hook
        assert ask(sinks, "DELETE", f"/v2/webhooks/{hook['id']}").status_code == 200
        tracker = self.track(sinks)

        told = sinks.ask("POST", f"/_test/trackers/{tracker['id']}", {"status": "delivered"})

        assert told["told"] == []
        refused(ask(sinks, "GET", f"/v2/webhooks/{hook['id']}"), 404, "NOT_FOUND")

    def test_says_that_nobody_answers(self, sinks):
        ask(sinks, "POST", "/v2/webhooks", {"webhook": {"url": "http://127.0.0.1:1/"}})
        tracker = self.track(sinks)

        told = sinks.ask("POST", f"/_test/trackers/{tracker['id']}", {"status": "failure"})

        assert told["told"][0]["answer"] == "ClientConnectorError"

    @pytest.mark.parametrize(
        ("tracker", "status", "expected"), [("trk_none", "delivered", 404), ("x", "lost", 400)]
    )
    def test_is_moved_as_it_can_be(self, sinks, tracker, status, expected):
        answer = http.post(f"{sinks.url}/_test/trackers/{tracker}", json={"status": status})

        assert answer.status_code == expected


class TestAccess:
    def test_needs_the_key(self, sinks):
        refused(ask(sinks, "GET", SHIPMENTS, auth=("wrong", "")), 401, "APIKEY.INACTIVE")

    def test_too_many_calls(self, sinks):
        sinks.fail("easypost", "status", status=429, retry_after=3)

        refused(ask(sinks, "POST", SHIPMENTS, wish()), 429, "RATE_LIMITED")

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", SHIPMENTS, {}, 422),
            ("POST", SHIPMENTS, [], 422),
            ("GET", f"{SHIPMENTS}?page_size=x", None, 422),
            ("POST", "/v2/trackers", {"tracker": {}}, 422),
            ("POST", "/v2/webhooks", {"webhook": {"url": "ftp://x"}}, 422),
            ("PATCH", "/v2/webhooks/hook_1", {}, 405),
            ("GET", "/v3/shipments", None, 404),
        ],
    )
    def test_says_what_is_wrong(self, sinks, method, path, body, status):
        answer = ask(sinks, method, path, body)

        assert answer.status_code == status
        assert answer.json()["error"]["code"]
