"""The mail server: what it keeps, counts once, refuses and breaks off."""

import contextlib
import smtplib
import socket
import time
from email.message import EmailMessage
from urllib.parse import urlsplit

import pytest


def message(message_id="<m-1@shop.example>", text="Hello.\n.\n..dots\n", **headers):
    letter = EmailMessage()
    letter["From"], letter["To"] = "shop@example.com", "ada@example.com"
    letter["Subject"] = headers.pop("subject", "Your order")
    if message_id:
        letter["Message-ID"] = message_id
    letter.set_content(text)
    return letter


@contextlib.contextmanager
def connected(sinks, *, seconds=10):
    parts = urlsplit(sinks.email_url)
    client = smtplib.SMTP(parts.hostname, parts.port, timeout=seconds)
    try:
        yield client
        client.quit()
    finally:
        client.close()


def send(sinks, letter, **more):
    with connected(sinks, **more) as client:
        client.send_message(letter)


def received(sinks):
    return sinks.received("smtp")


class TestMessage:
    def test_is_kept_as_it_was_sent(self, sinks):
        send(sinks, message(subject="Größe"))

        [kept] = received(sinks).items
        assert kept["key"] == "<m-1@shop.example>"
        body = kept["body"]
        assert body["sender"] == "shop@example.com"
        assert body["recipients"] == ["ada@example.com"]
        assert body["subject"] == "Größe"
        assert body["text"].replace("\r\n", "\n") == "Hello.\n.\n..dots\n"
        assert body["headers"]["Message-ID"] == "<m-1@shop.example>"
        assert sinks.journal(receiver="smtp")[0]["status"] == 250

    def test_of_the_same_id_is_kept_once(self, sinks):
        send(sinks, message())
        send(sinks, message())
        send(sinks, message("<m-2@shop.example>"))

        found = received(sinks)
        assert (found.calls, found.kept, found.duplicates, found.changed) == (3, 2, 1, 0)

    def test_of_the_same_id_with_another_text_is_told_apart(self, sinks):
        send(sinks, message())
        send(sinks, message(text="Another."))

        assert (received(sinks).kept, received(sinks).changed) == (1, 1)

    def test_without_an_id_is_never_the_same(self, sinks):
        with connected(sinks) as client:
            for _ in range(2):
                client.sendmail("a@example.com", ["b@example.com"], "Subject: x\r\n\r\ny")

        assert received(sinks).kept == 2

    def test_goes_to_several(self, sinks):
        with connected(sinks) as client:
            client.send_message(message(), to_addrs=["a@example.com", "b@example.com"])

        assert received(sinks).bodies[0]["recipients"] == ["a@example.com", "b@example.com"]

    def test_takes_several_in_one_conversation(self, sinks):
        with connected(sinks) as client:
            for number in range(5):
                client.send_message(message(f"<m-{number}@shop.example>"))

        assert received(sinks).kept == 5

    def test_is_text_and_html(self, sinks):
        letter = message()
        letter.add_alternative("<p>Hello</p>", subtype="html")
        send(sinks, letter)

        assert received(sinks).bodies[0]["text"].startswith("Hello.")
        assert "<p>Hello</p>" in received(sinks).bodies[0]["content"]


class TestRefusal:
    @pytest.mark.parametrize("at", ["mail", "rcpt", "data", "end"])
    @pytest.mark.parametrize("code", [451, 550])
    def test_at_any_word(self, sinks, at, code):
        sinks.fail("smtp", "refuse", code=code, at=at)

        with pytest.raises(smtplib.SMTPException) as caught:
            send(sinks, message())

        assert str(code) in str(caught.value)
        assert received(sinks).kept == 0
        assert sinks.journal(receiver="smtp")[0]["status"] == code
        send(sinks, message())
        assert received(sinks).kept == 1

    def test_of_the_whole_connection(self, sinks):
        sinks.fail("smtp", "refuse", code=421, at="connect", times=2)

        for _ in range(2):
            with pytest.raises(smtplib.SMTPConnectError):
                send(sinks, message())
        send(sinks, message())

        found = received(sinks)
        assert (found.calls, found.kept, found.spoiled) == (3, 1, 2)

    def test_of_one_recipient(self, sinks):
        sinks.fail("smtp", "refuse", code=550, at="rcpt", contains="bob@", times=None)

        with connected(sinks) as client:
            refused = client.send_message(
                message(), to_addrs=["ada@example.com", "bob@example.com"]
            )

        assert [*refused] == ["bob@example.com"]
        assert received(sinks).bodies[0]["recipients"] == ["ada@example.com"]

    def test_of_one_message(self, sinks):
        sinks.fail(
            "smtp", "refuse", code=554, at="end", idempotency_key="<m-2@shop.example>", times=None
        )

        send(sinks, message())
        with pytest.raises(smtplib.SMTPDataError):
            send(sinks, message("<m-2@shop.example>"))


class TestConnection:
    @pytest.mark.parametrize("reset", [False, True])
    def test_lost_after_the_message_was_kept(self, sinks, reset):
        sinks.fail("smtp", "answer_lost", reset=reset)

        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(sinks, message())

        assert received(sinks).kept == 1
        send(sinks, message())
        assert (received(sinks).kept, received(sinks).duplicates) == (1, 1)

    def test_lost_before_the_message_was_kept(self, sinks):
        sinks.fail("smtp", "drop")

        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(sinks, message())

        assert received(sinks).kept == 0

    @pytest.mark.parametrize(("applied", "kept"), [(True, 1), (False, 0)])
    def test_that_stalls(self, sinks, applied, kept):
        sinks.fail("smtp", "hang", seconds=20, applied=applied)

        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            send(sinks, message(), seconds=0.3)

        assert received(sinks).kept == kept

    def test_that_is_slow(self, sinks):
        sinks.fail("smtp", "latency", seconds=0.3)
        began = time.monotonic()

        send(sinks, message())

        assert time.monotonic() - began >= 0.3
        assert received(sinks).kept == 1

    def test_faults_of_every_receiver_are_not_meant_for_mail(self, sinks):
        sinks.fail("*", "drop", times=None)

        send(sinks, message())

        assert received(sinks).kept == 1


class TestConversation:
    def say(self, sinks, *lines):
        parts = urlsplit(sinks.email_url)
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
            file = connection.makefile("rb")
            answers = [file.readline()]
            for line in lines:
                connection.sendall(line)
                answers.append(file.readline())
            return [answer[:3].decode() for answer in answers]

    def test_keeps_the_order_of_words(self, sinks):
        said = self.say(
            sinks,
            b"HELO me\r\n",
            b"RCPT TO:<a@example.com>\r\n",
            b"DATA\r\n",
            b"MAIL FROM:nobody\r\n",
            b"MAIL FROM:<a@example.com> SIZE=10\r\n",
            b"MAIL FROM:<a@example.com>\r\n",
            b"RCPT TO:<>\r\n",
            b"VRFY a\r\n",
            b"DANCE\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"QUIT\r\n",
        )

        assert " ".join(said) == "220 250 503 503 501 250 503 501 252 500 250 250 221"

    def test_survives_what_is_no_smtp(self, sinks):
        self.say(sinks, b"\xff\xfe\r\n")
        self.say(sinks, b"x" * 100_000 + b"\r\n")

        send(sinks, message())
        assert received(sinks).kept == 1

    @pytest.mark.parametrize("how", ["PLAIN", "LOGIN"])
    def test_knows_its_token(self, sinks, how):
        with connected(sinks) as client:
            client.ehlo()
            client.user, client.password = "shop", sinks.token
            assert client.auth(how, getattr(client, f"auth_{how.lower()}"))[0] == 235
            client.password = "wrong"
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.auth(how, getattr(client, f"auth_{how.lower()}"))

    def test_refuses_what_is_too_big(self, sinks):
        with pytest.raises(smtplib.SMTPException) as caught:
            send(sinks, message(text="x" * 900 + "\n" + ("y" * 900 + "\n") * 12_000))

        assert "552" in str(caught.value)
        assert received(sinks).kept == 0
