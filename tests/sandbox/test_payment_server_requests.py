"""Keys, addresses, encodings and parameters: whatever is sent, the answer has Stripe's shape."""

import importlib
import random
import socket
import struct
import time
import types
import typing

import pytest

from sandbox.payments import parameters, readers
from sandbox.payments.endpoints import ENDPOINTS
from sandbox.payments.errors import ApiError
from sandbox.payments.forms import parse_form
from sandbox.payments.readers import ArrayOf, HashOf, Unsettable

AS_CLIENT = (
    b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_x\r\nX: \r\nConnection: close\r\n\r\n"
)
SDK_TYPES = {
    "_payment_intent_create_params.PaymentIntentCreateParams": parameters.INTENT_CREATE,
    "_payment_intent_update_params.PaymentIntentUpdateParams": parameters.INTENT_UPDATE,
    "_payment_intent_confirm_params.PaymentIntentConfirmParams": parameters.INTENT_CONFIRM,
    "_payment_intent_cancel_params.PaymentIntentCancelParams": parameters.INTENT_CANCEL,
    "_payment_intent_capture_params.PaymentIntentCaptureParams": parameters.INTENT_CAPTURE,
    "_payment_intent_retrieve_params.PaymentIntentRetrieveParams": parameters.INTENT_RETRIEVE,
    "_payment_intent_list_params.PaymentIntentListParams": parameters.INTENT_LIST,
    "_charge_list_params.ChargeListParams": parameters.CHARGE_LIST,
    "_refund_create_params.RefundCreateParams": parameters.REFUND_CREATE,
    "_refund_list_params.RefundListParams": parameters.REFUND_LIST,
    "_customer_create_params.CustomerCreateParams": parameters.CUSTOMER_CREATE,
    "_customer_update_params.CustomerUpdateParams": parameters.CUSTOMER_UPDATE,
    "_customer_list_params.CustomerListParams": parameters.CUSTOMER_LIST,
    "_customer_delete_params.CustomerDeleteParams": parameters.CUSTOMER_DELETE,
    "_payment_method_attach_params.PaymentMethodAttachParams": parameters.METHOD_ATTACH,
    "_customer_payment_method_list_params.CustomerPaymentMethodListParams": (
        parameters.CUSTOMER_METHOD_LIST
    ),
    "_refund_update_params.RefundUpdateParams": parameters.REFUND_UPDATE,
    "_event_list_params.EventListParams": parameters.EVENT_LIST,
    "_balance_transaction_list_params.BalanceTransactionListParams": (
        parameters.BALANCE_TRANSACTION_LIST
    ),
    "_dispute_list_params.DisputeListParams": parameters.DISPUTE_LIST,
    "_dispute_update_params.DisputeUpdateParams": parameters.DISPUTE_UPDATE,
}
ONLY_EXPAND = {  # the type of each endpoint that takes nothing else
    ("GET", "/v1/charges/*"): "_charge_retrieve_params.ChargeRetrieveParams",
    ("GET", "/v1/refunds/*"): "_refund_retrieve_params.RefundRetrieveParams",
    ("GET", "/v1/customers/*"): "_customer_retrieve_params.CustomerRetrieveParams",
    ("GET", "/v1/payment_methods/*"): "_payment_method_retrieve_params.PaymentMethodRetrieveParams",
    ("POST", "/v1/payment_methods/*/detach"): (
        "_payment_method_detach_params.PaymentMethodDetachParams"
    ),
    ("GET", "/v1/events/*"): "_event_retrieve_params.EventRetrieveParams",
    ("GET", "/v1/balance"): "_balance_retrieve_params.BalanceRetrieveParams",
    ("GET", "/v1/balance_transactions/*"): (
        "_balance_transaction_retrieve_params.BalanceTransactionRetrieveParams"
    ),
    ("GET", "/v1/disputes/*"): "_dispute_retrieve_params.DisputeRetrieveParams",
    ("POST", "/v1/disputes/*/close"): "_dispute_close_params.DisputeCloseParams",
}


def connected(api):
    return socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=5)


OPTIONS = importlib.import_module("stripe._request_options").RequestOptions
# Lists of choices that are long, and change nothing here.
ANY_TEXT = {"payment_method_options[paypal][preferred_locale]", "tax_id_data[type]"}


def fields_in_the_sdk(generated):
    module = importlib.import_module(generated.__module__)
    imported = {"StripeContext": object, "UntypedStripeObject": dict}  # for type checkers alone
    known = {**vars(typing), **imported, **vars(module)}
    hints = typing.get_type_hints(generated, known)
    return {name: hint for name, hint in hints.items() if name not in OPTIONS.__annotations__}


def alternatives(hint):
    """What a field may hold: the parts of a union, the items of a list."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType, list):
        return [part for inner in typing.get_args(hint) for part in alternatives(inner)]
    return [hint]


def takes(reader, value):
    """Whether it is taken, or refused only because it is not built here."""
    try:
        reader(value, "param")
    except ApiError as exc:
        return "does not support" in str(exc)
    return True


def compare(reader, hint, *, name=""):
    """Check that a parameter is read as the SDK's type of it says, at every depth."""
    if reader is readers.refused:
        return
    if isinstance(reader, Unsettable | ArrayOf):
        compare(reader.reader, hint, name=name)
        return
    for part in alternatives(hint):
        if hasattr(part, "__required_keys__"):  # a TypedDict of whichever module
            compare_hash(parameters.BOUNDS if name == "created" else reader, part, name=name)
        elif typing.get_origin(part) is typing.Literal and typing.get_args(part) != ("",):
            assert all(takes(reader, choice) for choice in typing.get_args(part)), name
            assert takes(reader, "nonsense") == (name in ANY_TEXT), name
        elif part in (int, bool):
            assert not takes(reader, "nonsense"), name


def compare_hash(reader, generated, *, name=""):
    assert isinstance(reader, HashOf), name
    fields = fields_in_the_sdk(generated)
    assert set(reader.schema) - set(parameters.REMOVED) == set(fields), name
    required = generated.__required_keys__ - OPTIONS.__annotations__.keys()
    assert set(reader.required) == required, name
    for field, hint in fields.items():
        compare(reader.schema[field], hint, name=f"{name}[{field}]" if name else field)


def generated_type(where):
    module, _, name = where.partition(".")
    return getattr(importlib.import_module(f"stripe.params.{module}"), name)


def required_by(schema):
    """What the endpoint that accepts this schema requires."""
    return next(one.requires for one in ENDPOINTS.values() if one.accepts is schema)


class TestNames:
    @pytest.mark.parametrize(("where", "schema"), SDK_TYPES.items())
    def test_are_those_of_the_generated_types_of_the_sdk(self, where, schema):
        compare_hash(HashOf(schema, required=required_by(schema)), generated_type(where))

    @pytest.mark.parametrize(("address", "where"), ONLY_EXPAND.items())
    def test_where_nothing_but_expand_is_taken(self, address, where):
        assert ENDPOINTS[address].accepts == parameters.EXPAND
        assert set(fields_in_the_sdk(generated_type(where))) == {"expand"}

    def test_are_compared_for_every_endpoint(self):
        compared = [id(schema) for schema in SDK_TYPES.values()]
        for address, endpoint in ENDPOINTS.items():
            assert address in ONLY_EXPAND or id(endpoint.accepts) in compared, address


class TestParameters:
    @pytest.mark.parametrize(
        ("form", "param", "code"),
        [
            ({"colour": "red"}, "colour", "parameter_unknown"),
            ({"amount": None}, "amount", "parameter_missing"),
            ({"currency": None}, "currency", "parameter_missing"),
            ({"amount": ""}, "amount", "parameter_invalid_integer"),
            ({"amount": "19.99"}, "amount", "parameter_invalid_integer"),
            ({"amount": "0"}, "amount", "parameter_invalid_integer"),
            ({"amount": "-5"}, "amount", "parameter_invalid_integer"),
            ({"amount": "1" * 19}, "amount", "parameter_invalid_integer"),
            ({"amount": "\u0661"}, "amount", "parameter_invalid_integer"),
            ({"amount": "100000000"}, "amount", "amount_too_large"),
            ({"amount": None, "amount[a]": "1"}, "amount", "parameter_invalid_integer"),
            ({"currency": "zzz"}, "currency", None),
            ({"currency": ""}, "currency", "parameter_invalid_empty"),
            ({"confirm": "yes"}, "confirm", None),
            ({"capture_method": "later"}, "capture_method", None),
            ({"payment_method": ""}, "payment_method", "parameter_invalid_empty"),
            ({"description": "x" * 1001}, "description", None),
            ({"statement_descriptor_suffix": "x" * 23}, "statement_descriptor_suffix", None),
            ({"receipt_email": "nobody"}, "receipt_email", "email_invalid"),
            ({"metadata": "x"}, "metadata", None),
            ({"metadata[" + "k" * 41 + "]": "x"}, "metadata", None),
            ({"metadata[k]": "x" * 501}, "metadata[k]", None),
            ({f"metadata[k{number}]": "x" for number in range(51)}, "metadata", None),
            ({"metadata[k][deeper]": "x"}, "metadata", None),
            ({"shipping[name]": "Ada"}, "shipping[address]", "parameter_missing"),
            ({"shipping[town]": "x"}, "shipping[town]", "parameter_unknown"),
            ({"return_url": "https://a.example/"}, "return_url", None),
            ({"confirm": "true", "return_url": "nowhere"}, "return_url", "url_invalid"),
            ({"transfer_data[destination]": "acct_1"}, "transfer_data", None),
            ({"payment_method_data[type]": "card"}, "payment_method_data[type]", None),
            ({"amount": "1", "amount[a]": "1"}, "amount", None),
            (
                {"payment_method_options[card][colour]": "red"},
                "payment_method_options[card][colour]",
                "parameter_unknown",
            ),
            (
                {"payment_method_options[card][moto]": "perhaps"},
                "payment_method_options[card][moto]",
                None,
            ),
            (
                {"amount_details[line_items][0][product_name]": "Tea"},
                "amount_details[line_items][0][quantity]",
                "parameter_missing",
            ),
            ({"mandate_data[x]": "1"}, "mandate_data[x]", "parameter_unknown"),
            ({"radar_options[x]": "1"}, "radar_options[x]", "parameter_unknown"),
            (
                {"allowed_payment_method_types[]": "cash"},
                "allowed_payment_method_types[0]",
                None,
            ),
            (
                {"payment_method_data[type]": "paypal", "payment_method_data[paypal][x]": "1"},
                "payment_method_data[paypal][x]",
                "parameter_unknown",
            ),
        ],
    )
    def test_that_are_wrong_are_named(self, api, form, param, code):
        valid = {"amount": "1999", "currency": "usd"}
        sent = {name: value for name, value in (valid | form).items() if value is not None}

        answer = api.post("/v1/payment_intents", sent, key="k")

        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
        assert (error.get("param"), error.get("code")) == (param, code)
        assert api.intents() == []
        assert api.post("/v1/payment_intents", valid, key="k").status_code == 200

    @pytest.mark.parametrize(
        ("form", "param"),
        [
            (
                {"payment_method_options[card][capture_method]": "manual"},
                "payment_method_options[card][capture_method]",
            ),
            (
                {"payment_method_options[paypal][capture_method]": "manual"},
                "payment_method_options[paypal][capture_method]",
            ),
            ({"payment_method_options[klarna][x]": "1"}, "payment_method_options[klarna]"),
            ({"confirmation_method": "manual"}, "confirmation_method"),
            ({"application_fee_amount": "1"}, "application_fee_amount"),
        ],
    )
    def test_that_would_change_where_money_goes_are_refused(self, api, form, param):
        error = api.create(confirm="true", **form).json()["error"]

        assert error["param"] == param
        assert "The local payment server does not support" in error["message"]
        assert api.intents() == []

    def test_of_a_confirmation_for_a_part_of_the_amount_are_refused(self, api):
        intent = api.intent()

        answer = api.confirm(intent, amount_to_confirm=5)

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "amount_to_confirm")
        assert api.read(intent) == intent

    def test_of_a_capture_that_is_not_the_last_are_refused(self, api):
        held = api.intent(capture_method="manual", confirm="true")
        path = f"/v1/payment_intents/{held['id']}/capture"

        refused = api.post(path, {"amount_to_capture": 5, "final_capture": "false"})

        assert refused.json()["error"]["message"] == (
            "The local payment server does not support 'final_capture=false'."
        )
        assert api.read(held) == held
        assert api.post(path, {"final_capture": "true"}).json()["status"] == "succeeded"

    def test_that_mean_what_is_done_anyway_are_taken(self, api):
        api.paid(
            confirmation_method="automatic",
            **{
                "payment_method_options[card][capture_method]": "",
                "payment_method_options[card][request_three_d_secure]": "automatic",
                "amount_details[tax][total_tax_amount]": "0",
                "mandate_data[customer_acceptance][type]": "offline",
            },
        )

    @pytest.mark.parametrize("amount", [1, 50, 99_999_999])
    def test_of_every_size_are_taken(self, api, amount):
        assert api.intent(amount=amount)["amount"] == amount

    def test_at_their_limits_are_taken(self, api):
        metadata = {f"metadata[{'k' * 38}{number:02}]": "x" * 500 for number in range(50)}

        intent = api.intent(description="x" * 1000, **metadata)
        assert len(intent["metadata"]) == 50

    def test_keep_their_letters(self, api):
        text = "Zoë & Łukasz <b>+100%</b> = ✓ 😀"

        intent = api.intent(**{"description": text, "metadata[a&b=c]": text})
        assert (intent["description"], intent["metadata"]) == (text, {"a&b=c": text})


class TestForms:
    def test_nest(self):
        assert parse_form(b"a[b][c]=1&a[b][d]=2&e=3") == {
            "a": {"b": {"c": "1", "d": "2"}},
            "e": "3",
        }

    def test_make_lists_of_empty_and_counting_brackets(self):
        assert parse_form(b"a[]=x&a[]=y&b[0]=z&b[1][c]=w") == {
            "a": ["x", "y"],
            "b": ["z", {"c": "w"}],
        }

    def test_undo_escapes(self):
        assert parse_form(b"a=1+%2B+1&b%5Bc%5D=%E2%82%AC&d") == {
            "a": "1 + 1",
            "b": {"c": "€"},
            "d": "",
        }


class TestKeys:
    @pytest.mark.parametrize(
        ("headers", "told"),
        [
            ({}, "You did not provide an API key"),
            ({"Authorization": "Bearer"}, "You did not provide an API key"),
            ({"Authorization": "Basic !!!"}, "You did not provide an API key"),
            ({"Authorization": "Digest x"}, "You did not provide an API key"),
            (
                {"Authorization": "Bearer sk_live_123456789"},
                "Invalid API Key provided: sk_live_****",
            ),
            ({"Authorization": "Bearer sk_test_"}, "Invalid API Key provided"),
            ({"Authorization": "Bearer pk_test_x"}, "This API call cannot be made with a publish"),
        ],
    )
    def test_that_are_wrong_are_401(self, stranger, headers, told):
        answer = stranger.post("/v1/payment_intents", headers=headers)

        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (401, "invalid_request_error")
        assert error["message"].startswith(told)
        assert "123456789" not in answer.text

    def test_may_come_as_basic_user_name(self, stranger):
        answer = stranger.get("/v1/payment_intents", auth=("sk_test_x", ""))
        assert answer.status_code == 200


class TestHeaders:
    def test_name_request_and_version(self, api):
        answer = api.http.get(
            "/v1/payment_intents", headers={"Stripe-Version": "2026-10-28.endive"}
        )

        assert answer.headers["Request-Id"].startswith("req_")
        assert answer.headers["Stripe-Version"] == "2026-10-28.endive"
        assert answer.headers["Content-Type"] == "application/json"

    def test_refuse_a_version_that_is_none(self, api):
        answer = api.http.get("/v1/payment_intents", headers={"Stripe-Version": "latest"})

        assert answer.status_code == 400


class TestOddRequests:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/"),
            ("GET", "/v1"),
            ("GET", "/v1/"),
            ("GET", "/v1/payment_intents/"),
            ("GET", "/v1/payment_intents//confirm"),
            ("POST", "/v1/payment_intents/pi_x/refund"),
            ("POST", "/v1/payment_intents/pi_x/confirm/now"),
            ("DELETE", "/v1/payment_intents/pi_x"),
            ("PATCH", "/v1/payment_intents"),
            ("GET", "/v2/payment_intents"),
            ("GET", "/v1/payment_intents/%2e%2e"),
            ("GET", "/_testing"),
        ],
    )
    def test_unknown_addresses_are_404(self, api, method, path):
        answer = api.http.request(method, path)

        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"

    @pytest.mark.parametrize(
        "content",
        [
            b"amount=%ff&currency=usd",
            b"amount=1&currency=usd&description=%00",
            b"a[b=1",
            b"[]=1",
            b"a]=1",
            b"a=1&a[b]=2",
            b"a[b]=1&a=2",
            b"a" + b"[b]" * 50 + b"=1",
            b"&".join([b"metadata[x]=1"] * 5000),
            b"=",
            b"x" * 2_000_000,
        ],
    )
    def test_unreadable_forms_are_400(self, api, content):
        answer = api.http.post(
            "/v1/payment_intents",
            content=content,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"

    @pytest.mark.parametrize("path", ["/v1/payment_intents", "/_test/faults"])
    def test_a_body_that_does_not_unpack_is_400(self, api, shared_server, path):
        answer = api.http.post(
            path,
            content=b"no gzip at all",
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Encoding": "gzip",
            },
        )

        assert answer.status_code == 400
        assert "cannot be read" in answer.json()["error"]["message"]
        assert shared_server.complaints == ""

    @pytest.mark.parametrize(
        "fault", [None, {"kind": "latency", "seconds": 0.3}, {"kind": "drip", "seconds": 0.01}]
    )
    def test_of_a_client_that_leaves_are_no_error_of_the_servers(
        self, api, shared_server, eventually, fault
    ):
        if fault is not None:
            api.break_next(**fault)
        form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 21"
        with connected(api) as connection:
            head = AS_CLIENT.replace(b"X: ", form)
            connection.sendall(b"POST /v1/payment_intents" + head + b"amount=1&currency=usd")
            # Closing throws away what comes and sends a reset.
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

        eventually(lambda: len(api.intents()) == 1)
        time.sleep(0.1)  # the drip goes on for a while
        assert shared_server.complaints == ""

    def test_json_is_refused_as_stripe_does(self, api):
        answer = api.http.post("/v1/payment_intents", json={"amount": 1, "currency": "usd"})

        assert answer.status_code == 400
        assert "content type" in answer.json()["error"]["message"]

    def test_noise_never_breaks_it(self, api):
        chance = random.Random(20261122)  # noqa: S311 - noise that repeats
        pieces = [
            *("amount", "currency", "metadata", "payment_method", "confirm", "expand", "shipping"),
            *(
                "[",
                "]",
                "[]",
                "=",
                "&",
                "%",
                "%5B",
                "%00",
                "%ff",
                "+",
                "1999",
                "usd",
                "pm_card_visa",
            ),
        ]
        for _ in range(300):
            content = "".join(chance.choices(pieces, k=chance.randint(1, 12)))
            answer = api.http.post(
                "/v1/payment_intents",
                content=content.encode(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            assert answer.status_code in (200, 400), content

    def test_keys_may_be_any_bytes(self, api):
        form = {"amount": "1", "currency": "usd"}
        headers = {b"Idempotency-Key": "clé".encode()}

        first = api.http.post("/v1/payment_intents", data=form, headers=headers)
        again = api.http.post("/v1/payment_intents", data=form, headers=headers)
        assert first.status_code == 200
        assert again.content == first.content

    @pytest.mark.parametrize(
        "raw",
        [
            b"\x00\x01\x02\r\n\r\n",
            b"GET\r\n\r\n",
            b"POST / HTTP/9.9\r\n\r\n",
            b"x" * 100_000,
            b"GET /v1/payment_intents?limit=\xff" + AS_CLIENT,
            b"GET /v1/payment_intents/\xff" + AS_CLIENT,
            b"POST /v1/payment_intents" + AS_CLIENT.replace(b"X: ", b"Idempotency-Key: \xff"),
            b"GET /_test/journal?path=\xff" + AS_CLIENT,
            b"POST /v1/payment_intents" + AS_CLIENT.replace(b"X: ", b"Content-Length: 99999999999"),
        ],
    )
    def test_bytes_that_are_not_http_close_only_their_connection(self, api, raw):
        with connected(api) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

        assert api.create().status_code == 200
