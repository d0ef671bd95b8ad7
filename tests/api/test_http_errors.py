"""Every way to fail before an endpoint has its say ends in the error envelope."""

import io
import json
import uuid

import pytest
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.serializers import StrictIntegerField, StrictSerializer
from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import DomainError
from config.middleware import client_address


class OddError(DomainError):
    code = "ODD"
    status = 418
    retry_after_seconds = 7


class Line(StrictSerializer):
    quantity = StrictIntegerField()


class Body(StrictSerializer):
    items = Line(many=True)
    numbers = serializers.ListField(child=StrictIntegerField(), required=False)


FAILURES = {
    "operational": OperationalError("server closed the connection"),
    "interface": InterfaceError("connection already closed"),
    "commit": CommitOutcomeUnknownError(),
    "odd": OddError(details={"why": "odd"}),
    "throttled": Throttled(wait=2.2),
    "bug": RuntimeError("secret internals"),
}


class Chunked:
    """A server's view of a body that comes in chunks: it ends where the last chunk does."""

    def __init__(self, body, size):
        self.body, self.left = body, size
        self.readline = body.readline

    def read(self, size):
        taken = min(size, self.left)
        self.left -= taken
        return self.body.read(taken)


class PublicView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request, failure=None):
        if failure:
            raise FAILURES[failure]
        return Response({"ok": True})

    def post(self, request):
        body = Body(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(request.data)


def plain_view(request):
    return HttpResponse("<h1>Gone</h1>", status=404)


def broken_view(request):
    raise OperationalError("away")


urlpatterns = [
    path("api/v1/public", PublicView.as_view()),
    path("api/v1/public/<str:failure>", PublicView.as_view()),
    path("api/v1/plain", plain_view),
    path("api/v1/broken", broken_view),
    path("", include("config.urls")),
]
handler400 = "config.api.handler400"
handler403 = "config.api.handler403"
handler404 = "config.api.handler404"
handler500 = "config.api.handler500"

pytestmark = pytest.mark.urls(__name__)
PUBLIC = "/api/v1/public"


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def assert_envelope(response, status, code):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"success", "error", "request_id"}
    assert body["success"] is False
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["code"] == code
    assert body["request_id"] == response["X-Request-ID"]
    return body["error"]


def post(client, body, content_type="application/json", **headers):
    return client.generic("POST", PUBLIC, body, content_type=content_type, headers=headers)


class TestEnvelope:
    @pytest.mark.parametrize(
        "unknown",
        [
            *("/api/", "/api/v1/nothing", "/api/v1/public/", "/api/v2/public", "/nothing"),
            *("/api/v1/../../etc/passwd", "/api/v1/%2e%2e/x", "/api/v1/%252e", "/api//v1/public"),
            *("/api/v1/a%00b", "/api/v1/%ff", "/api/v1/%ed%a0%80", "/api/v1/a%0Ab", "/.git/config"),
            "/api/v1/" + "x" * 7_900,
        ],
    )
    def test_tells_unknown_paths(self, client, unknown):
        assert_envelope(client.get(unknown), 404, "NOT_FOUND")

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
    def test_tells_wrong_methods(self, client, method):
        response = client.generic(method, PUBLIC, headers={"X-HTTP-Method-Override": "GET"})

        assert_envelope(response, 405, "METHOD_NOT_ALLOWED")
        assert "GET" in response["Allow"]

    @pytest.mark.parametrize(
        "target", ["/api/docs", "/api/docs/start.js", "/api/schema", "/api/v1/me"]
    )
    def test_tells_wrong_methods_of_every_kind_of_view(self, client, target):
        response = Client(enforce_csrf_checks=True).post(target, "{}", "application/json")

        assert_envelope(response, 405, "METHOD_NOT_ALLOWED")

    @pytest.mark.django_db
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_tells_routes_that_only_the_library_knows(self, client, method):
        response = client.generic(method, "/_allauth/app/v1/account/phone")

        assert_envelope(response, 404, "NOT_FOUND")

    def test_tells_a_foreign_host(self, client):
        for host in ("evil.example", "127.0.0.1.evil.example", "a b", "x\x7f"):
            response = client.get(PUBLIC, headers={"Host": host})
            error = assert_envelope(response, 400, "VALIDATION_FAILED")
            assert "evil" not in json.dumps(error)

    def test_tells_bad_json(self, client):
        for body in ("", "{", "[]", "[" * 100_000, '{"a": NaN}', "{} x"):
            assert_envelope(post(client, body), 400, "VALIDATION_FAILED")

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "text/json",
            "application/json; charset=utf-16",
            "",
        ],
    )
    def test_tells_other_media_types(self, client, content_type):
        assert_envelope(post(client, "a=1", content_type), 415, "UNSUPPORTED_MEDIA_TYPE")

    @pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
    def test_tells_compressed_bodies(self, client, encoding):
        response = post(client, "{}", **{"Content-Encoding": encoding})

        assert_envelope(response, 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_tells_bodies_over_the_cap_without_reading_them(self, client):
        unread = io.BytesIO(b"x" * (256 * 1024 + 1))

        response = client.post(
            PUBLIC,
            content_type="application/json",
            **{"wsgi.input": unread, "CONTENT_LENGTH": str(256 * 1024 + 1)},
        )

        assert_envelope(response, 413, "PAYLOAD_TOO_LARGE")
        assert unread.tell() == 0

    @pytest.mark.parametrize("length", ["-1", "1e3", "9" * 5_000])
    def test_tells_lengths_that_are_none(self, client, length):
        response = client.post(PUBLIC, content_type="application/json", CONTENT_LENGTH=length)

        assert_envelope(response, 413, "PAYLOAD_TOO_LARGE")

    def test_reads_a_body_in_chunks_and_no_more_than_the_cap(self, client):
        for size, status in ((20, 200), (256 * 1024 + 1, 413)):
            body = io.BytesIO(b'{"items": []' + b" " * (size - 13) + b"}" + b"unread")
            response = client.post(
                PUBLIC,
                content_type="application/json",
                headers={"Transfer-Encoding": "chunked"},
                **{"wsgi.input": Chunked(body, size), "CONTENT_LENGTH": ""},
            )
            assert response.status_code == status, response.content
            assert body.tell() <= 256 * 1024 + 1

    def test_takes_a_body_of_exactly_the_cap(self, client):
        body = '{"items": []' + " " * (256 * 1024 - 13) + "}"

        assert len(body) == 256 * 1024
        assert post(client, body).status_code == 200

    def test_tells_queries_that_are_no_text(self, client):
        for query in ("a=%00", "a=%ff", "%ed%a0%80=1", "a=\x00"):
            response = client.get(PUBLIC, QUERY_STRING=query)
            assert_envelope(response, 400, "VALIDATION_FAILED")

    def test_tells_fields_in_the_shape_of_the_input(self, client):
        body = {"items": [{"quantity": 1}, {"quantity": "1", "price": 1}], "numbers": [1, 2, "x"]}

        error = assert_envelope(post(client, json.dumps(body)), 400, "VALIDATION_FAILED")

        assert error["details"] == {
            "items": [
                {},
                {
                    "price": ["This field is not known."],
                    "quantity": ["A whole number is required."],
                },
            ],
            "numbers": [{}, {}, ["A whole number is required."]],
        }

    @pytest.mark.parametrize("failure", ["operational", "interface", "commit"])
    def test_tells_that_the_database_is_away(self, client, failure):
        response = client.get(f"{PUBLIC}/{failure}")

        assert_envelope(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response["Retry-After"]) >= 1

    def test_tells_that_the_database_is_away_under_a_plain_view(self, client):
        response = client.get("/api/v1/broken")

        assert_envelope(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response["Retry-After"]) >= 1

    def test_tells_domain_errors(self, client):
        response = client.get(f"{PUBLIC}/odd")

        error = assert_envelope(response, 418, "ODD")
        assert error["details"] == {"why": "odd"}
        assert response["Retry-After"] == "7"

    def test_tells_when_to_come_back(self, client):
        response = client.get(f"{PUBLIC}/throttled")

        assert_envelope(response, 429, "RATE_LIMIT_EXCEEDED")
        assert response["Retry-After"] == "3"

    def test_tells_nothing_about_a_bug(self, client):
        response = client.get(f"{PUBLIC}/bug")

        assert_envelope(response, 500, "INTERNAL_ERROR")
        assert b"secret" not in response.content

    def test_replaces_pages_of_plain_views(self, client):
        assert_envelope(client.get("/api/v1/plain"), 404, "NOT_FOUND")

    def test_answers_json_whatever_is_preferred(self, client):
        response = client.get(PUBLIC, headers={"Accept": "text/html"})

        assert response.status_code == 200
        assert response["Content-Type"] == "application/json"

    @pytest.mark.django_db
    def test_is_no_page_of_the_admin(self, client):
        assert client.get("/admin/login/")["Content-Type"].startswith("text/html")


class TestRequestId:
    @pytest.mark.parametrize(
        "sent", ["abc", "a.B_c-1", "x" * 128, "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e"]
    )
    def test_is_echoed(self, client, sent):
        for target in (PUBLIC, "/nothing", "/healthz"):
            assert client.get(target, headers={"X-Request-ID": sent})["X-Request-ID"] == sent

    @pytest.mark.parametrize(
        "sent", ["", "x" * 129, "a b", "é", "a\r\nSet-Cookie: x=1", "<script>"]
    )
    def test_is_made_where_the_one_sent_is_no_good(self, client, sent):
        made = client.get(PUBLIC, headers={"X-Request-ID": sent})["X-Request-ID"]

        assert uuid.UUID(made)


class TestHeaders:
    @pytest.mark.parametrize(
        "target", [PUBLIC, "/nothing", f"{PUBLIC}/bug", "/api/v1/me", "/healthz", "/api/v1/a%00"]
    )
    def test_protect_every_answer(self, client, target):
        response = client.get(target)

        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Referrer-Policy"] == "no-referrer"
        assert response["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in response["Content-Security-Policy"]
        assert response["Cache-Control"] == "no-store"

    @override_settings(CORS_ALLOWED_ORIGINS=["https://shop.example"])
    def test_let_only_listed_origins_read(self, client):
        allowed = client.get(PUBLIC, headers={"Origin": "https://shop.example"})
        assert allowed["Access-Control-Allow-Origin"] == "https://shop.example"
        for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
            assert "Access-Control-Allow-Origin" not in client.get(
                PUBLIC, headers={"Origin": origin}
            )


class TestClientAddress:
    @pytest.mark.parametrize(
        ("proxies", "forwarded", "expected"),
        [
            (0, None, "10.0.0.1"),
            (0, "192.0.2.1", "10.0.0.1"),
            (1, "192.0.2.1", "192.0.2.1"),
            (1, "203.0.113.9, 192.0.2.1", "192.0.2.1"),
            (2, "203.0.113.9, 192.0.2.1, 192.0.2.2", "192.0.2.1"),
            (2, "192.0.2.1", "10.0.0.1"),
            (1, "not an address", "10.0.0.1"),
            (1, "", "10.0.0.1"),
        ],
    )
    def test_believes_only_our_own_proxies(self, settings, proxies, forwarded, expected):
        settings.TRUSTED_PROXIES = proxies
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="10.0.0.1")

        assert client_address(request) == expected

    @pytest.mark.parametrize("proxies", [0, 1])
    @pytest.mark.parametrize(
        ("told", "expected"),
        [("::ffff:192.0.2.1", "192.0.2.1"), ("2001:DB8::0:1", "2001:db8::1"), ("", None)],
    )
    def test_is_the_same_however_it_is_written(self, settings, proxies, told, expected):
        settings.TRUSTED_PROXIES = proxies
        where = {"REMOTE_ADDR": told, **({"HTTP_X_FORWARDED_FOR": told} if proxies else {})}

        assert client_address(RequestFactory().get("/", **where)) == expected
