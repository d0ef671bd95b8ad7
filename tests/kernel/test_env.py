"""Settings read from the environment: amounts by currency, keys."""

from __future__ import annotations

import base64
from decimal import Decimal

import pytest

from config import env


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("500", {"USD": "500.00"}),
        ("0", {"USD": "0.00"}),
        ("499.99, EUR=450, JPY = 75000", {"USD": "499.99", "EUR": "450.00", "JPY": "75000"}),
        ("EUR=450", {"EUR": "450.00"}),
    ],
)
def test_amounts_are_of_the_shops_currency_or_of_the_one_they_name(monkeypatch, text, amounts):
    monkeypatch.setenv("REFUND_LIMIT", text)

    found = env.amounts("REFUND_LIMIT", "500", currency="USD")

    assert found == {code: Decimal(amount) for code, amount in amounts.items()}


@pytest.mark.parametrize("text", ["-1", "five", "1.005", "NaN", "XXX=1", "JPY=1.5", "1=EUR", "="])
def test_amounts_that_are_none_stop_the_start(monkeypatch, text):
    monkeypatch.setenv("REFUND_LIMIT", text)

    with pytest.raises(env.ConfigurationError, match="REFUND_LIMIT: must look like"):
        env.amounts("REFUND_LIMIT", "500", currency="USD")


def test_a_default_is_of_every_currency(monkeypatch):
    monkeypatch.delenv("REFUND_LIMIT", raising=False)

    assert env.amounts("REFUND_LIMIT", "500", currency="JPY") == {"JPY": Decimal(500)}


KEY = bytes(range(32))


class TestKeys:
    def test_are_32_bytes_in_base64(self, monkeypatch):
        monkeypatch.setenv("AUDIT_SEAL_KEY", base64.b64encode(KEY).decode())

        assert env.key("AUDIT_SEAL_KEY", b"") == KEY
        assert env.keys("AUDIT_SEAL_KEY") == [KEY]

    def test_are_made_up_by_whoever_asks_where_there_is_none(self, monkeypatch):
        monkeypatch.delenv("AUDIT_SEAL_KEY", raising=False)

        assert env.key("AUDIT_SEAL_KEY", KEY) == KEY
        assert env.keys("AUDIT_SEAL_KEY") == []

    @pytest.mark.parametrize("read", [lambda name: env.key(name, b""), env.keys])
    @pytest.mark.parametrize(
        "text", ["hunter2", base64.b64encode(KEY[1:]).decode(), "ä" * 44, "é hunter2", "*" * 44]
    )
    def test_that_are_none_stop_the_start_and_are_not_shown(self, monkeypatch, read, text):
        monkeypatch.setenv("AUDIT_SEAL_KEY", text)

        with pytest.raises(env.ConfigurationError, match="AUDIT_SEAL_KEY: must be 32") as caught:
            read("AUDIT_SEAL_KEY")

        assert text not in str(caught.value)
        assert "hunter2" not in str(caught.value)


class TestRenamed:
    def test_reads_what_things_are_called_and_what_is_left_out(self, monkeypatch):
        monkeypatch.setenv("CRM_FIELDS", '{"customer.phone": "mobilephone", "customer.tier": null}')

        found = env.renamed("CRM_FIELDS")

        assert found == {"customer.phone": "mobilephone", "customer.tier": None}

    def test_unset_renames_nothing(self, monkeypatch):
        monkeypatch.delenv("CRM_FIELDS", raising=False)

        assert env.renamed("CRM_FIELDS") == {}

    @pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", "email", '{"a": {"b": "c"}}'])
    def test_what_is_no_object_of_texts_stops_the_start(self, monkeypatch, text):
        monkeypatch.setenv("CRM_FIELDS", text)

        with pytest.raises(env.ConfigurationError, match="CRM_FIELDS: must be a JSON object"):
            env.renamed("CRM_FIELDS")


class TestReceiver:
    def test_is_where_it_listens_and_what_lets_us_in(self, monkeypatch):
        monkeypatch.setenv("CRM_BASE_URL", "https://crm.example/hooks/")
        monkeypatch.setenv("CRM_TOKEN", "t")

        assert env.receiver("CRM") == ("https://crm.example/hooks", "t")

    def test_unset_is_off(self, monkeypatch):
        monkeypatch.delenv("CRM_BASE_URL", raising=False)
        monkeypatch.setenv("CRM_TOKEN", "t")

        assert env.receiver("CRM") == ("", "")

    @pytest.mark.parametrize(
        ("address", "token", "named"),
        [("https://crm.example", "", "CRM_TOKEN"), ("crm.example", "token", "CRM_BASE_URL")],
    )
    def test_that_is_half_set_stops_the_start(self, monkeypatch, address, token, named):
        monkeypatch.setenv("CRM_BASE_URL", address)
        monkeypatch.setenv("CRM_TOKEN", token)

        with pytest.raises(env.ConfigurationError, match=named):
            env.receiver("CRM")


def test_secrets_are_long_and_no_message_shows_them(monkeypatch):
    good = "0123456789abcdef01234567"
    monkeypatch.setenv("MARKETING_WEBHOOK_SECRET", f"{good}, {good[::-1]}")
    assert env.secrets("MARKETING_WEBHOOK_SECRET") == [good, good[::-1]]

    monkeypatch.setenv("MARKETING_WEBHOOK_SECRET", f"{good},short")
    with pytest.raises(env.ConfigurationError, match="24 characters") as stop:
        env.secrets("MARKETING_WEBHOOK_SECRET")

    assert "short" not in str(stop.value)
    assert good not in str(stop.value)
