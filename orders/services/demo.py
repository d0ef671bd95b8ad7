"""Fills an empty shop with the demo: a real catalogue, stock, prices and terms, one account.

Only what is missing is created, so running it again never brings back stock that was sold, a price
that was changed or a password that was set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeVar

from django.conf import settings
from django.db import connection, transaction

from config.kernel import money
from customers.models import Customer
from inventory import services as stock
from inventory.models import Category, Price, PriceBreak, Product, StockLevel, Warehouse
from orders.demo_data import files
from orders.models import Coupon, ShippingMethod, TaxRate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.db import models

    Progress = Callable[[str, int, int], None]
    Row = TypeVar("Row", bound=models.Model)
    Item = TypeVar("Item")

CURRENCY: Final = "USD"
BATCH: Final = 250  # rows a statement: large enough to be quick, small enough to see it move
LOCK: Final = 0x0DE30  # any number that nothing else locks by
TURN_SECONDS: Final = 60  # for another load to end; the role's own limits suit short requests
STAFF_EMAIL: Final = "admin@example.com"
STAFF_PASSWORD: Final = "admin"  # noqa: S105  # the contract's, and never in production

# What the carriers of the US rest on, at least; the demo's delivery dates count around these.
US_HOLIDAYS: Final = [
    *("2026-11-26", "2026-12-25"),
    *("2027-01-01", "2027-05-31", "2027-07-05", "2027-09-06", "2027-11-25", "2027-12-24"),
    *("2028-01-01", "2028-05-29", "2028-07-04", "2028-09-04", "2028-11-23", "2028-12-25"),
]


class DemoInProductionError(Exception):
    """A shop with a known password must not take real money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How many rows of each kind one run has created."""

    warehouses: int
    shipping_methods: int
    tax_rates: int
    coupons: int
    staff: int
    categories: int
    products: int
    prices: int
    price_breaks: int
    stock_levels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProduct:
    """A product made up for trying things out; prices are major units by ISO 4217 currency."""

    sku: str
    name: str
    description: str
    prices: dict[str, Decimal]
    stock: int


# SKUs, names and stock of these are the contract's; storefronts and tests rely on them.
DEMO_PRODUCTS: Final = (
    DemoProduct(
        sku="DEMO-LAST-ONE",
        name="The Last One",
        description="There is exactly one of it: many may want it, one gets it.",
        prices={"USD": Decimal("24.99")},
        stock=1,
    ),
    DemoProduct(
        sku="DEMO-SOLD-OUT",
        name="Sold Out",
        description="There is none of it.",
        prices={"USD": Decimal("14.99")},
        stock=0,
    ),
    DemoProduct(
        sku="DEMO-PLENTY",
        name="Plenty of It",
        description="There are a million of it.",
        prices={
            "USD": Decimal("19.99"),
            "EUR": Decimal("18.49"),
            "GBP": Decimal("15.99"),
            "JPY": Decimal(2980),
        },
        stock=1_000_000,
    ),
)
# Cans by the half dozen and by the case, in the categories people stock up on: per cent off.
STOCKED_UP_ON: Final = frozenset({"canned-food", "soft-drinks"})
QUANTITY_BREAKS: Final = {6: 5, 24: 10}
# Currency → standard, its free threshold, express.
SHIPPING: Final = {
    "USD": (Decimal("4.99"), Decimal(50), Decimal("12.99")),
    "EUR": (Decimal("4.49"), Decimal(50), Decimal("11.99")),
    "GBP": (Decimal("3.99"), Decimal(40), Decimal("9.99")),
    "JPY": (Decimal(600), Decimal(8000), Decimal(1500)),
}


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def load_demo_data(*, progress: Progress = _silent) -> Loaded:
    """Create what is missing of the demo; all of it or, if anything fails, nothing.

    Opens its own transaction. Safe to repeat and to run twice at once: the second waits.

    Args:
        progress: told, as the work goes on, of what so many of so many are done.

    Raises:
        DemoInProductionError: with ENVIRONMENT=production.
    """
    if settings.IS_PRODUCTION:
        raise DemoInProductionError
    with transaction.atomic():
        _wait_for_turn()
        entries = list(_entries())
        return Loaded(
            warehouses=_create_missing(Warehouse, [_main_warehouse()], by=["code"]),
            shipping_methods=_create_missing(
                ShippingMethod, _shipping_methods(), by=["code", "currency"]
            ),
            tax_rates=_create_missing(TaxRate, _tax_rates(), by=["country", "region", "tax_class"]),
            coupons=_create_missing(Coupon, _coupons(), by=["code"]),
            staff=_create_staff(),
            categories=_create_categories(entries),
            products=_create_products(entries, progress),
            prices=_create_missing(Price, _prices(entries), by=["product_id", "currency"]),
            price_breaks=_create_missing(
                PriceBreak,
                _price_breaks(entries),
                by=["product_id", "currency", "tier", "min_quantity"],
            ),
            stock_levels=_deliver(entries, progress),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A product to be, from the catalogue's files or from `DEMO_PRODUCTS`."""

    product: Product
    category: Category
    prices: dict[str, Decimal]
    stock: int


def _entries() -> Iterator[_Entry]:
    demo = Category(slug="demo", name="Demo")
    for item in DEMO_PRODUCTS:
        yield _Entry(
            product=Product(sku=item.sku, name=item.name, description=item.description),
            category=demo,
            prices=item.prices,
            stock=item.stock,
        )
    for entry in files.read_catalogue():
        brand = "Store brand" if entry.brand == "Private" else "National brand"
        described = {"brand": brand, "package_size": entry.package_size}
        attributes = {name: value for name, value in described.items() if value}
        yield _Entry(
            product=Product(
                sku=entry.sku,
                name=entry.name,
                description=", ".join(attributes.values()) + ".",
                attributes=attributes,
                weight_grams=entry.weight_grams,
            ),
            category=Category(slug=entry.category_slug, name=entry.category_name),
            prices={CURRENCY: entry.price},
            stock=entry.initial_stock,
        )


def _wait_for_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = %s", [f"{TURN_SECONDS}s"])
        cursor.execute("SET LOCAL statement_timeout = %s", [f"{TURN_SECONDS}s"])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _create_products(entries: Sequence[_Entry], progress: Progress) -> int:
    category_ids = dict(Category.objects.values_list("slug", "id"))
    for entry in entries:
        entry.product.category_id = category_ids[entry.category.slug]
    products = [entry.product for entry in entries]
    return _create_missing(Product, products, by=["sku"], progress=progress)


def _create_categories(entries: Sequence[_Entry]) -> int:
    """The departments, and the shelves in them. One that is there stays where it is."""
    departments = list(files.read_departments())
    created = _create_missing(
        Category, [Category(slug=each.slug, name=each.name) for each in departments], by=["slug"]
    )
    above = {shelf: each.slug for each in departments for shelf in each.shelves}
    ids = dict(Category.objects.values_list("slug", "id"))
    shelves = {entry.category.slug: entry.category for entry in entries}
    for slug, shelf in shelves.items():
        shelf.parent_id = ids[above[slug]] if slug in above else None
    return created + _create_missing(Category, shelves.values(), by=["slug"])


def _prices(entries: Sequence[_Entry]) -> Iterator[Price]:
    product_ids = _product_ids(entries)
    for entry in entries:
        for currency, amount in entry.prices.items():
            yield Price(product_id=product_ids[entry.product.sku], currency=currency, amount=amount)


def _price_breaks(entries: Sequence[_Entry]) -> Iterator[PriceBreak]:
    product_ids = _product_ids(entries)
    for entry in entries:
        if entry.category.slug in STOCKED_UP_ON:
            for min_quantity, percent in QUANTITY_BREAKS.items():
                yield PriceBreak(
                    product_id=product_ids[entry.product.sku],
                    currency=CURRENCY,
                    min_quantity=min_quantity,
                    amount=money.quantize(entry.prices[CURRENCY] * (100 - percent) / 100, CURRENCY),
                )


def _deliver(entries: Sequence[_Entry], progress: Progress) -> int:
    """First deliveries to MAIN, of what was never there. Returns how many products came."""
    main = Warehouse.objects.get(code="MAIN")
    product_ids = _product_ids(entries)
    known = set(StockLevel.objects.filter(warehouse=main).values_list("product_id", flat=True))
    receipts = [
        stock.Receipt(
            product_id=product_ids[entry.product.sku], warehouse_id=main.pk, quantity=entry.stock
        )
        for entry in entries
        if entry.stock and product_ids[entry.product.sku] not in known
    ]
    for done, batch in _batches(receipts):
        stock.receive(receipts=batch, reason="demo data: first delivery")
        progress("Deliveries", done, len(receipts))
    return len(receipts)


def _main_warehouse() -> Warehouse:
    return Warehouse(
        code="MAIN",
        name="Main warehouse",
        country=settings.SHOP_COUNTRY,
        time_zone=settings.SHOP_TIME_ZONE,
        holidays=US_HOLIDAYS if settings.SHOP_COUNTRY == "US" else [],
    )


def _coupons() -> list[Coupon]:
    percent, ten = Coupon.Kind.PERCENT, Decimal(10)
    return [
        Coupon(code="WELCOME10", kind=percent, value=ten),
        Coupon(code="ONCE", kind=percent, value=ten, max_uses=1),
        Coupon(code="EXPIRED", kind=percent, value=ten, ends_at=datetime(2020, 1, 1, tzinfo=UTC)),
    ]


def _shipping_methods() -> Iterator[ShippingMethod]:
    for currency, (standard, free_from, express) in SHIPPING.items():
        yield ShippingMethod(
            code="standard",
            name="Standard",
            currency=currency,
            amount=standard,
            free_from=free_from,
            min_business_days=3,
            max_business_days=5,
        )
        yield ShippingMethod(
            code="express",
            name="Express",
            currency=currency,
            amount=express,
            min_business_days=1,
            max_business_days=2,
        )


def _tax_rates() -> Iterator[TaxRate]:
    for entry in files.read_tax_rates():
        yield TaxRate(
            country=entry.country,
            region=entry.region,
            tax_class=entry.tax_class,
            rate=entry.rate,
        )


def _create_staff() -> int:
    if Customer.objects.filter(email=STAFF_EMAIL).exists():
        return 0
    Customer.objects.create_superuser(
        STAFF_EMAIL, STAFF_PASSWORD, first_name="Demo", last_name="Admin"
    )
    return 1


def _create_missing(
    model: type[Row], rows: Iterable[Row], *, by: Sequence[str], progress: Progress = _silent
) -> int:
    """Create the rows whose fields `by` no row has yet. Returns how many that were."""
    known = set(model._default_manager.values_list(*by))  # noqa: SLF001  # Django's own name
    missing = [row for row in rows if tuple(getattr(row, field) for field in by) not in known]
    for done, batch in _batches(missing):
        model._default_manager.bulk_create(batch)  # noqa: SLF001
        progress(str(model._meta.verbose_name_plural).capitalize(), done, len(missing))  # noqa: SLF001
    return len(missing)


def _product_ids(entries: Sequence[_Entry]) -> dict[str, int]:
    skus = [entry.product.sku for entry in entries]
    return dict(Product.objects.filter(sku__in=skus).values_list("sku", "id"))


def _batches(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    """The items in batches, each with how many are done when it is."""
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        yield start + len(batch), batch
