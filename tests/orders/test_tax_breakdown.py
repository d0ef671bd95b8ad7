"""Tax by rate on documents: worked by hand first, then that it always adds up to the cent."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.kernel import money
from orders.tax_breakdown import Taxation, Taxed, added_up, credit, left, taxed, without_classes


def row(rate, net, tax):
    return Taxed(rate=Decimal(rate), net=Decimal(net), tax=Decimal(tax))


SOLD = (row("0.05", "100.00", "5.00"), row("0.2", "100.00", "20.00"))


def give_back(amount, *given_before, **at_rates):
    return credit(
        amount=Decimal(amount),
        remaining=left(sold=SOLD, given=[row for rows in given_before for row in rows]),
        for_lines={
            Taxation(Decimal(rate[1:]) / 100): Decimal(part) for rate, part in at_rates.items()
        },
        currency="USD",
    )


class TestWorkedByHand:
    def test_tax_comes_on_top_or_out_of_the_amount(self):
        terms = {
            "amount": Decimal("120.00"),
            "how": Taxation(Decimal("0.2")),
            "tax": Decimal("20.00"),
        }

        assert taxed(**terms, tax_included=True) == row("0.2", "100.00", "20.00")
        assert taxed(**terms, tax_included=False).gross == Decimal("140.00")

    def test_one_row_a_rate_and_none_for_nothing(self):
        parts = [
            row("0.2", "1.00", "0.20"),
            row("0", "3.00", "0.00"),
            row("0.20000", "2.00", "0.40"),
        ]

        assert added_up([*parts, row("0.07", "0.00", "0.00")]) == (
            row("0", "3.00", "0.00"),
            row("0.2", "3.00", "0.60"),
        )

    def test_an_amount_for_no_line_is_shared_by_what_is_left(self):
        # 45 of 225 is a fifth of each rate: 21 gross at 5 %, 24 at 20 %.
        assert give_back("45.00") == (row("0.05", "20.00", "1.00"), row("0.2", "20.00", "4.00"))

    def test_a_lines_money_goes_back_at_its_rate(self):
        assert give_back("60.00", _20="60.00") == (row("0.2", "50.00", "10.00"),)

    def test_what_a_rate_has_not_left_goes_back_at_the_others(self):
        assert give_back("130.00", _20="130.00") == (
            row("0.05", "9.52", "0.48"),  # 10.00 x 5 / 105
            row("0.2", "100.00", "20.00"),
        )

    def test_the_last_one_gives_the_rest(self):
        first = give_back("33.33")
        second = give_back("71.10", first, _5="71.10")

        assert added_up([*first, *second, *give_back("120.57", first, second)]) == SOLD

    def test_no_more_than_is_left(self):
        with pytest.raises(ValueError, match="more than is left"):
            give_back("0.01", SOLD)


rates = st.integers(0, 99_999).map(lambda units: Decimal(units).scaleb(-5))


@st.composite
def orders(draw):
    """Parts of an order as pricing rounds them, at few rates or many; something is sold."""
    currency = draw(st.sampled_from(["USD", "JPY"]))
    tax_included = draw(st.booleans())
    unit = Decimal(1).scaleb(-money.digits(currency))
    few = draw(st.lists(rates, min_size=1, max_size=3))
    parts = []
    for units, rate, tax_class in draw(
        st.lists(
            st.tuples(st.integers(0, 100_000), st.sampled_from(few), st.sampled_from("ab")),
            min_size=1,
            max_size=8,
        ).filter(lambda drawn: any(units for units, *_ in drawn))
    ):
        amount = units * unit
        untaxed = rate / (1 + rate) if tax_included else rate
        parts.append(
            taxed(
                amount=amount,
                how=Taxation(rate, tax_class),
                tax=money.quantize(amount * untaxed, currency),
                tax_included=tax_included,
            )
        )
    return currency, parts


class TestEveryBreakdown:
    settled = settings(
        max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )

    @settled
    @given(orders())
    def test_adds_up_to_its_parts(self, order):
        _, parts = order
        rows = added_up(parts)

        assert sum(row.tax for row in rows) == sum(part.tax for part in parts)
        assert sum(row.gross for row in rows) == sum(part.gross for part in parts)
        assert [row.taxation for row in rows] == sorted(
            {part.taxation for part in parts if part.gross}
        )
        assert [row.rate for row in without_classes(rows)] == sorted({row.rate for row in rows})

    @settled
    @given(orders(), st.data())
    def test_is_given_back_bit_by_bit_without_a_cent_too_many_or_too_few(self, order, data):
        currency, parts = order
        sold = added_up(parts)
        unit = Decimal(1).scaleb(-money.digits(currency))
        given_back: list[Taxed] = []
        while remaining := left(sold=sold, given=given_back):
            gross = sum(row.gross for row in remaining)
            enough = len(given_back) > 20
            amount = gross if enough else data.draw(st.integers(1, int(gross / unit))) * unit
            how = data.draw(st.sampled_from(sold)).taxation
            for_lines = {how: data.draw(st.sampled_from([Decimal(0), amount]))}

            note = credit(
                amount=amount, remaining=remaining, for_lines=for_lines, currency=currency
            )

            assert sum(row.gross for row in note) == amount
            assert all(row.tax >= 0 and row.net >= 0 and row.gross > 0 for row in note)
            given_back += note
            assert all(row.tax >= 0 and row.net >= 0 for row in left(sold=sold, given=given_back))

        assert added_up(given_back) == sold
