"""CRM and analytics hear of what really happens in a shop, by the facts that it really states."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.integrations.told import only_these_subscribers, relay_until_told
from tests.orders.busy_shop import open_busy_shop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("adapter", ["generic", "segment"])
def test_both_are_told_each_thing_once(sinks, settings, monkeypatch, provider, adapter):
    sinks.configure(settings, "crm", "analytics")
    if adapter == "segment":
        settings.ANALYTICS_BASE_URL = sinks.base_url("segment")
    settings.ANALYTICS_ADAPTER = adapter
    settings.ANALYTICS_BATCH = 100 if adapter == "segment" else 1
    only_these_subscribers(monkeypatch, "crm", "analytics")
    provider._post("/_test/reset", {})

    orders = open_busy_shop(provider)
    relay_until_told()

    crm = sinks.received("crm")
    told = Counter((body["type"], body["data"]["order_number"]) for body in crm.bodies)
    bought = [orders[name].order_number for name in ("paid", "guests", "cancelled", "gross")]
    cancelled = orders["cancelled"].order_number
    assert told == {
        **{("order.confirmed", number): 1 for number in bought},
        ("order.cancelled", cancelled): 1,
        ("order.refunded", cancelled): 1,
    }
    analytics = sinks.received("analytics" if adapter == "generic" else "segment")
    assert analytics.kept == len(bought) + 2
    assert (crm.duplicates, analytics.duplicates, analytics.refused) == (0, 0, 0)
