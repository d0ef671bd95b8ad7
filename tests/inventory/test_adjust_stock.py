"""`adjust_stock`: staff puts right what is on hand; promises to orders are kept."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditLog
from inventory.models import StockLevel, StockMovement
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def level():
    """Five on hand in MAIN, three of them promised."""
    product = factories.ProductFactory(sku="APPLE", on_hand=5)
    product.stock_levels.update(allocated=3)
    return product.stock_levels.get()


def adjust(sku, warehouse, delta, *, reason="counted"):
    said = StringIO()
    command = ["adjust_stock", "--json", f"--reason={reason}", sku, warehouse, "--", str(delta)]
    call_command(*command, stdout=said)
    return json.loads(said.getvalue())


def adjustments():
    return StockMovement.objects.filter(kind="adjust")


class TestAdjustment:
    @pytest.mark.parametrize(("delta", "on_hand"), [(4, 9), (-2, 3)])
    def test_moves_what_is_on_hand_and_says_why(self, level, delta, on_hand):
        done = adjust("apple", "MAIN", delta, reason="found behind the shelf")

        level.refresh_from_db()
        assert (level.on_hand, level.allocated) == (on_hand, 3)
        assert (done["on_hand"], done["available"]) == (on_hand, on_hand - 3)
        movement = adjustments().get()
        assert (movement.quantity, movement.reason) == (delta, "found behind the shelf")
        row = AuditLog.objects.get(event_type="STOCK_ADJUSTED")
        assert (row.entity_type, row.entity_id) == ("stock_level", level.pk)
        assert row.data == {
            "document": movement.document_id,
            "delta": delta,
            "before": {"on_hand": 5},
            "after": {"on_hand": on_hand},
        }

    def test_does_not_uncover_a_promise(self, level):
        with pytest.raises(CommandError, match="5 are on hand, 3 of them promised"):
            adjust("APPLE", "MAIN", -3)

        level.refresh_from_db()
        assert level.on_hand == 5
        assert not adjustments().exists()
        assert not AuditLog.objects.filter(event_type="STOCK_ADJUSTED").exists()

    def test_puts_found_units_where_none_ever_were(self, level):
        factories.WarehouseFactory(code="EAST")

        adjust("APPLE", "EAST", 2)

        assert StockLevel.objects.get(warehouse__code="EAST").on_hand == 2

    def test_takes_nothing_from_where_nothing_is(self, level):
        factories.WarehouseFactory(code="EAST")

        with pytest.raises(CommandError, match="0 are on hand"):
            adjust("APPLE", "EAST", -1)

        assert not StockLevel.objects.filter(warehouse__code="EAST").exists()

    @pytest.mark.parametrize(
        ("sku", "warehouse", "delta", "reason", "said"),
        [
            ("PEAR", "MAIN", 1, "x", "no product PEAR"),
            ("APPLE", "WEST", 1, "x", "no warehouse WEST"),
            ("APPLE", "MAIN", 0, "x", "DELTA"),
            ("APPLE", "MAIN", 10**10, "x", "DELTA"),
            ("APPLE", "MAIN", 1, " ", "--reason"),
            ("APPLE", "MAIN", 1, "x" * 201, "--reason"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, level, sku, warehouse, delta, reason, said):
        with pytest.raises(CommandError, match=said):
            adjust(sku, warehouse, delta, reason=reason)

        assert not adjustments().exists()
