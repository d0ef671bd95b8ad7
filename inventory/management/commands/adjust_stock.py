"""`adjust_stock`: puts right what is on hand, with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import transaction

from config.kernel.api.text import problem_with
from config.kernel.commands import ServiceCommand
from inventory import services
from inventory.errors import PromisedStockError
from inventory.models import Product, Warehouse

if TYPE_CHECKING:
    from argparse import ArgumentParser

LONGEST_REASON = 200  # the column's length
MOST_UNITS = 1_000_000_000


class Command(ServiceCommand):
    help = (
        "Add units to what is on hand of a product in a warehouse, or take some away. Refused "
        "where less would be left than orders were promised. Exit code 0: it is done."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("sku", help="of which product, like DEMO-PLENTY")
        parser.add_argument("warehouse", help="its code, like MAIN")
        parser.add_argument("delta", type=int, help="units: 5, or -5")
        parser.add_argument("--reason", required=True, help="kept with the movement")

    def handle(self, *_: Any, **options: Any) -> None:
        delta, reason = options["delta"], options["reason"].strip()
        if not 0 < abs(delta) <= MOST_UNITS:
            raise CommandError(f"DELTA: not 0, and at most {MOST_UNITS}")
        if not 0 < len(reason) <= LONGEST_REASON or problem_with(reason):
            raise CommandError(f"--reason: 1 to {LONGEST_REASON} characters of plain text")
        product = Product.objects.filter(sku=options["sku"].upper()).first()
        if product is None:
            raise CommandError(f"there is no product {options['sku']}")
        warehouse = Warehouse.objects.filter(code=options["warehouse"]).first()
        if warehouse is None:
            raise CommandError(f"there is no warehouse {options['warehouse']}")
        try:
            with transaction.atomic():
                level = services.adjust(
                    product_id=product.pk, warehouse_id=warehouse.pk, delta=delta, reason=reason
                )
        except PromisedStockError as exc:
            raise CommandError(f"{product.sku} in {warehouse.code}: {exc}") from exc
        done = {
            "sku": product.sku,
            "warehouse": warehouse.code,
            "delta": delta,
            "on_hand": level.on_hand,
            "available": level.on_hand - level.allocated,
        }
        self.answer(
            options,
            done,
            f"{product.sku} in {warehouse.code}: {level.on_hand} on hand, "
            f"{done['available']} of them available.",
        )
