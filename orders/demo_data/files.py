"""Reads the demo data's files; needs neither Django nor a database.

`load_demo_data`, `bin/demo` and the benchmarks all read through here, so the files' layout is
known in one place.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Path(__file__).resolve().parent
CATALOGUE = DIRECTORY / "catalogue.csv.gz"
BASKETS = DIRECTORY / "baskets.csv.gz"
TAX_RATES = DIRECTORY / "tax_rates.csv"
DEPARTMENTS = DIRECTORY / "departments.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A product of the demo shop.

    Attributes:
        price: US dollars, two digits, above zero: the median shelf price of 2017.
        brand: "National" or "Private" (the store's own).
        package_size: as people write it, "16 oz"; empty where unknown or sold loose.
        weight_grams: estimated from the package size; None where that says nothing of it.
        initial_stock: units on hand before the first order; set by us, not by the source.
    """

    sku: str
    name: str
    category_slug: str
    category_name: str
    price: Decimal
    brand: str
    package_size: str
    weight_grams: int | None
    initial_stock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """Shelves that stand together, by the slugs of their categories."""

    slug: str
    name: str
    shelves: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """What one household bought in one go.

    Attributes:
        bought_at: naive local time of the shop, in 2017.
        lines: SKU and quantity (1-50) of 1-100 different products, all in the catalogue.
    """

    basket_id: int
    household_id: int
    bought_at: datetime
    lines: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRateEntry:
    """A flat rate as a fraction: 0.0825 is 8.25 %."""

    country: str
    region: str
    tax_class: str
    rate: Decimal


def read_catalogue() -> Iterator[CatalogueEntry]:
    """Every product, best-sellers first."""
    with gzip.open(CATALOGUE, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield CatalogueEntry(
                sku=row["sku"],
                name=row["name"],
                category_slug=row["category_slug"],
                category_name=row["category_name"],
                price=Decimal(row["price"]),
                brand=row["brand"],
                package_size=row["package_size"],
                weight_grams=int(row["weight_grams"]) if row["weight_grams"] else None,
                initial_stock=int(row["initial_stock"]),
            )


def read_departments() -> Iterator[Department]:
    """Every department; each shelf of the catalogue is in one of them."""
    with DEPARTMENTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            shelves = tuple(row["shelves"].split(" "))
            yield Department(slug=row["slug"], name=row["name"], shelves=shelves)


def read_baskets() -> Iterator[Basket]:
    """Every basket, in the order in which they were bought."""
    with gzip.open(BASKETS, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Basket(
                basket_id=int(row["basket_id"]),
                household_id=int(row["household_id"]),
                bought_at=datetime.fromisoformat(row["bought_at"]),
                lines=tuple(_line(text) for text in row["lines"].split(" ")),
            )


def read_tax_rates() -> Iterator[TaxRateEntry]:
    """The standard rates of the destinations that the demo shop knows."""
    with TAX_RATES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            yield TaxRateEntry(
                country=row["country"],
                region=row["region"],
                tax_class=row["tax_class"],
                rate=Decimal(row["rate"]),
            )


def _line(text: str) -> tuple[str, int]:
    sku, quantity = text.split(":")
    return sku, int(quantity)
