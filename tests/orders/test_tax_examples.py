"""Tax as others have worked it out in print: each case names where, and what it says there.

Rates stand in the table `tax_rates`; these examples are about the arithmetic: tax on top of a net
price, tax within a gross one, and half a cent.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from orders import pricing
from orders.pricing import DispatchCalendar, Line, TaxMode, TaxRate

NOW = datetime(2025, 6, 4, 15, tzinfo=UTC)
CALENDAR = DispatchCalendar(time_zone=ZoneInfo("Europe/Zurich"), cutoff=time(14))

# §12(1) UStG, 19 %. R. Schweizer, Praxis-Leitfaden Umsatzbesteuerung 2012, ch. VII: 10,000 euros
# "inkl. 19 % USt" hold 10,000 : 1.19 x 0.19 = 1,596.64. https://datenbank.nwb.de/Dokument/441914
GERMANY = "NWB, Praxis-Leitfaden Umsatzbesteuerung"
# The VAT fraction: 3/23 at 15 %, 7/47 at 17.5 %, 1/6 at 20 %, from HMRC's "Calculating VAT", in
# https://accountingservicesforbusiness.co.uk/resources/information-articles/vat-rates-and-fractions
HMRC = "HMRC, VAT rates and fractions"
# 24.00 pounds paid: 4.00 at 20 %, 3.57 at 17.5 %.
# https://www.vatark.co.uk/vat/howto/whats-the-new-vat-fraction/
VATARK = "VATark, What's the new VAT fraction?"
# 60 pounds of petrol at 20 %: 10.00; 80 pounds at the reduced 5 % (1/21): 3.81.
# http://itsrelative.co.uk/headlines/2014-06-11-vat-fraction
ITS_RELATIVE = "It's Relative, VAT fraction"
# Since 2024 8.1 %, 2.6 % and 3.8 %. Gross 100.00 at 2.6 % holds 2.53; 1,081 at 8.1 % holds 81. Net
# 28.00 at 8.1 % bears 2.27; net 180.00 at 3.8 % bears 6.84.
# https://darlehenrechner-ch.pages.dev/steuern/mwst-rechner
SWITZERLAND = "MWST-Rechner Schweiz"
# GST of 10 %: in 1.04 there are 9 cents, leaving 0.95; on 0.95 there are 9.5, which are 10 (A New
# Tax System (Goods and Services Tax) Act 1999, s 9-90(1): "rounding 0.5 cents upwards",
# http://www5.austlii.edu.au/au/legis/cth/consol_act/antsasta1999402/s9.90.html).
# https://justlocal.blogspot.com/2016/11/australian-gst-calculator-illustrates.html
AUSTRALIA = "Australian GST calculator"


def price(*lines, currency, tax_mode):
    free = pricing.ShippingOption(
        code="pickup",
        name="Pickup",
        amount=Decimal(0),
        free_from=None,
        tax_rate=TaxRate(rate=Decimal(0)),
        min_days=0,
        max_days=0,
    )
    return pricing.quote(
        currency=currency,
        lines=[
            Line(
                sku=f"SKU-{number}",
                product_id=number,
                product_name="Something",
                quantity=quantity,
                unit_price=Decimal(unit_price),
                tax_rate=TaxRate(rate=Decimal(rate)),
            )
            for number, (quantity, unit_price, rate) in enumerate(lines)
        ],
        shipping_options=[free],
        calendar=CALENDAR,
        now=NOW,
        tax_mode=tax_mode,
    )


@pytest.mark.parametrize(
    ("source", "currency", "rate", "gross", "tax"),
    [
        (GERMANY, "EUR", "0.19", "10000.00", "1596.64"),
        (HMRC, "GBP", "0.15", "115.00", "15.00"),
        (HMRC, "GBP", "0.175", "117.50", "17.50"),
        (HMRC, "GBP", "0.20", "120.00", "20.00"),
        (VATARK, "GBP", "0.20", "24.00", "4.00"),
        (VATARK, "GBP", "0.175", "24.00", "3.57"),
        (ITS_RELATIVE, "GBP", "0.20", "60.00", "10.00"),
        (ITS_RELATIVE, "GBP", "0.05", "80.00", "3.81"),
        (SWITZERLAND, "CHF", "0.026", "100.00", "2.53"),
        (SWITZERLAND, "CHF", "0.081", "1081.00", "81.00"),
        (AUSTRALIA, "AUD", "0.10", "1.04", "0.09"),
    ],
)
def test_a_price_that_includes_tax_holds(source, currency, rate, gross, tax):
    quote = price((1, gross, rate), currency=currency, tax_mode=TaxMode.INCLUSIVE)

    assert quote.tax_amount == Decimal(tax), source
    assert quote.total_amount == Decimal(gross)


@pytest.mark.parametrize(
    ("source", "currency", "rate", "net", "tax"),
    [
        (HMRC, "GBP", "0.175", "100.00", "17.50"),
        (SWITZERLAND, "CHF", "0.081", "28.00", "2.27"),
        (SWITZERLAND, "CHF", "0.038", "180.00", "6.84"),
        (AUSTRALIA, "AUD", "0.10", "0.95", "0.10"),
    ],
)
def test_a_price_before_tax_bears(source, currency, rate, net, tax):
    quote = price((1, net, rate), currency=currency, tax_mode=TaxMode.EXCLUSIVE)

    assert quote.tax_amount == Decimal(tax), source
    assert quote.total_amount == Decimal(net) + Decimal(tax)


def test_a_coffee_and_a_sandwich_in_canada():
    """1.83 and 2.86 dollars are 4.92 "after the 5 percent Goods and Services Tax".

    Budget 2012, https://www.budget.canada.ca/2012/themes/rounding-arrondissement-eng.html.
    Per line 0.0915 and 0.143 are 0.09 and 0.14: here the same as 5 % of both, 0.2345.
    """
    quote = price(
        (1, "1.83", "0.05"), (1, "2.86", "0.05"), currency="CAD", tax_mode=TaxMode.EXCLUSIVE
    )

    assert quote.total_amount == Decimal("4.92")


def test_new_york_city_taxes_each_piece_of_clothing_by_its_own_price():
    """4.5 % city, 4 % state and 0.375 % commuter district are 8.875 %, from 110 dollars a piece on.

    http://www1.nyc.gov/nyc-resources/service/2389/sales-tax. Two shirts of 60 are exempt although
    they are 120 together: the exemption is a tax class of the products, its rate 0.
    """
    full = Decimal("0.045") + Decimal("0.04") + Decimal("0.00375")
    assert full == Decimal("0.08875")

    quote = price((1, "110.00", full), (2, "60.00", 0), currency="USD", tax_mode=TaxMode.EXCLUSIVE)

    assert [item.tax_amount for item in quote.items] == [Decimal("9.76"), 0]


def test_a_gross_price_is_paid_as_shown_which_no_net_price_in_cents_could_do():
    """Why prices are kept as shown (ADR 0025): 19.99 with 20 % in it, three times."""
    quote = price((3, "19.99", "0.20"), currency="EUR", tax_mode=TaxMode.INCLUSIVE)

    assert quote.total_amount == Decimal("59.97")
    assert quote.tax_amount == Decimal("10.00")  # 59.97 / 6 = 9.995
    net_prices = [Decimal(cents).scaleb(-2) for cents in range(1, 3000)]
    assert not [
        net
        for net in net_prices
        if price((3, net, "0.20"), currency="EUR", tax_mode=TaxMode.EXCLUSIVE).total_amount
        == Decimal("59.97")
    ]
