"""E-mail where no mail server is configured: one file a message."""

import email
import email.policy

import pytest
from django.core.mail import EmailMultiAlternatives, get_connection

from config import env

BACKEND = "integrations.email.backend.EmlFileBackend"


class TestEmlFileBackend:
    def test_writes_one_flat_readable_file_a_message(self, settings, tmp_path):
        settings.MAIL_DIR = tmp_path / "made" / "mail"
        message = EmailMultiAlternatives(
            "Zoë's order", "text €", "shop@example.com", ["a@b.example"]
        )
        message.attach_alternative("<p>html €</p>", "text/html")

        sent = get_connection(BACKEND).send_messages([message, message])

        files = sorted(settings.MAIL_DIR.iterdir())
        assert sent == len(files) == 2
        assert {file.suffix for file in files} == {".eml"}
        read = email.message_from_bytes(files[0].read_bytes(), policy=email.policy.default)
        assert (read["To"], read["Subject"]) == ("a@b.example", "Zoë's order")
        assert read.get_body(("html",)).get_content().strip() == "<p>html €</p>"


class TestMailServer:
    @pytest.mark.parametrize(
        ("url", "port", "ssl", "tls"),
        [
            ("smtp://mail.example", 25, False, False),
            ("smtp://mail.example:587", 587, False, True),
            ("smtps://mail.example", 465, True, False),
        ],
    )
    def test_is_read_from_a_url(self, monkeypatch, url, port, ssl, tls):
        monkeypatch.setenv("EMAIL_URL", url.replace("://", "://me%40x:p%2Fw@"))

        assert env.mail_server("EMAIL_URL") == {
            "EMAIL_HOST": "mail.example",
            "EMAIL_PORT": port,
            "EMAIL_HOST_USER": "me@x",
            "EMAIL_HOST_PASSWORD": "p/w",
            "EMAIL_USE_SSL": ssl,
            "EMAIL_USE_TLS": tls,
        }

    @pytest.mark.parametrize("sender", ["orders@shop.example", "Tea & Co. <orders@shop.example>"])
    def test_says_whom_it_is_from(self, monkeypatch, sender):
        monkeypatch.setenv("EMAIL_FROM", sender)

        assert env.sender("EMAIL_FROM", "orders@example.com") == sender

    @pytest.mark.parametrize(
        "sender",
        [
            "shop",
            "Shop <>",
            "a@b.example, c@d.example",
            "Shop\nBcc: x@y.example <a@b.example>",
            "a@b.example\n",
            "a@b.example junk",
        ],
    )
    def test_from_nobody_stops_the_start(self, monkeypatch, sender):
        monkeypatch.setenv("EMAIL_FROM", sender)

        with pytest.raises(env.ConfigurationError, match="EMAIL_FROM: must look like"):
            env.sender("EMAIL_FROM", "orders@example.com")

    def test_of_another_kind_stops_the_start(self, monkeypatch):
        monkeypatch.setenv("EMAIL_URL", "http://user:secret@mail.example")

        with pytest.raises(env.ConfigurationError) as caught:
            env.mail_server("EMAIL_URL")

        assert "EMAIL_URL" in str(caught.value)
        assert "secret" not in str(caught.value)
