"""Settings read from the environment: amounts by currency."""

from __future__ import annotations

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
