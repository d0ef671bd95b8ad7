"""How the storefront's files are served: its pages, its files, and nothing besides."""

from pathlib import Path

import pytest
from django.test import Client

from config import env, storefront
from sandbox.environment import STOREFRONT

SIZE = 100_000  # bytes, all files together


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


class TestPages:
    @pytest.mark.parametrize(
        "path",
        [
            *("/", "/search?q=milk", "/cart", "/checkout", "/c/dairy", "/p/DEMO-PLENTY"),
            *("/account", "/account/login", "/account/verify-email/a:b:c"),
            *("/account/password/reset/key/1-abc", "/orders/ABC-1?token=x", "/pay/8d0f6b1c"),
        ],
    )
    def test_are_one_document(self, client, path):
        answer = client.get(path)

        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.content == (STOREFRONT / "index.html").read_bytes()

    def test_allow_no_script_style_or_frame_but_the_shops_own(self, client):
        headers = client.get("/").headers

        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data: https:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'self'",
            "frame-ancestors": "'none'",
        }
        assert headers["Referrer-Policy"] == "no-referrer"  # a guest's link carries a token
        assert "Set-Cookie" not in headers

    def test_are_asked_about_each_time_and_sent_once(self, client):
        first = client.get("/")

        again = client.get("/cart", headers={"If-None-Match": first.headers["ETag"]})

        assert first.headers["Cache-Control"] == "no-cache"
        assert (again.status_code, again.content) == (304, b"")

    def test_cannot_be_written_to(self, client):
        assert client.post("/").status_code == 405

    @pytest.mark.parametrize("path", ["/nothing", "/c/", "/orders", "/index.html", "/p/a/b"])
    def test_end_where_the_storefront_ends(self, client, path):
        answer = client.get(path)

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NOT_FOUND"


class TestFiles:
    def test_are_served_each_with_its_type(self, client):
        types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

        for found in STOREFRONT.rglob("*.*"):
            answer = client.get(f"/storefront/{found.relative_to(STOREFRONT)}")
            assert answer.content == found.read_bytes()
            kind = types.get(found.suffix, "text/html")
            assert answer.headers["Content-Type"].startswith(kind), found
            assert answer.headers["Cache-Control"] == "no-cache"

    @pytest.mark.parametrize(
        "name",
        [
            *("../environment.py", "..%2fenvironment.py", "%2e%2e/environment.py"),
            *("views/../../environment.py", "/etc/passwd", "views", "", "app.js%00"),
        ],
    )
    def test_lead_nowhere_else(self, client, name):
        answer = client.get(f"/storefront/{name}")

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NOT_FOUND"

    def test_are_small_together(self):
        assert sum(found.stat().st_size for found in STOREFRONT.rglob("*.*")) < SIZE

    def test_use_neither_markup_from_text_nor_anything_from_elsewhere(self):
        for found in STOREFRONT.rglob("*.*"):
            text = Path(found).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
            for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "//cdn"):
                assert forbidden not in text, found
            assert "http://" not in text, found
            assert 'style="' not in text, found


class TestSetting:
    def test_serves_nothing_where_it_names_nothing(self, settings):
        settings.STOREFRONT_DIR = ""

        assert storefront.routes() == []

    def test_stops_the_start_where_there_is_no_such_directory(self, monkeypatch):
        monkeypatch.setenv("STOREFRONT_DIR", "/nowhere/at/all")

        with pytest.raises(env.ConfigurationError, match="STOREFRONT_DIR: is no directory"):
            env.directory("STOREFRONT_DIR")
