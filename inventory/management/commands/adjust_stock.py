"""`adjust_stock`: puts right what is on hand, with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from config.kernel.commands import ServiceCommand, bad_argument
from config.kernel.errors import DomainError
from inventory import documents
from inventory.models import Product, StockLevel, StockMovement, Warehouse

if TYPE_CHECKING:
    from argparse import ArgumentParser


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
        if problem := documents.problem_of_line(StockMovement.Kind.ADJUST, delta):
            raise bad_argument(f"DELTA: {problem}")
        if problem := documents.problem_of_reason(reason):
            raise bad_argument(f"--reason: {problem}")
        product = Product.objects.filter(sku=options["sku"].upper()).first()
        if product is None:
            raise CommandError(f"there is no product {options['sku']}")
        warehouse = Warehouse.objects.filter(code=options["warehouse"]).first()
        if warehouse is None:
            raise CommandError(f"there is no warehouse {options['warehouse']}")
        try:
            documents.adjust(
                product_id=product.pk, warehouse_id=warehouse.pk, delta=delta, reason=reason
            )
        except DomainError as exc:
            raise CommandError(f"{product.sku} in {warehouse.code}: {exc.message}") from exc
        level = StockLevel.objects.get(product=product, warehouse=warehouse)
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
