"""The four tables the shop began with: whoever reads or writes them as they were still can."""

from __future__ import annotations

import pytest
from django.db import connection

from tests import factories

pytestmark = pytest.mark.django_db

NEEDED, OPTIONAL = "NOT NULL", "nullable"
DEFAULTED = "has a default"

SEED = {
    "customers": {
        "id": DEFAULTED,
        "email": NEEDED,
        "email_verified": DEFAULTED,
        "password_hash": NEEDED,
        "first_name": NEEDED,
        "last_name": NEEDED,
        "phone": OPTIONAL,
        "date_of_birth": OPTIONAL,
        "stripe_customer_id": OPTIONAL,
        "status": DEFAULTED,
        "created_at": DEFAULTED,
        "updated_at": DEFAULTED,
        "last_login": OPTIONAL,
        "version": DEFAULTED,
    },
    "orders": {
        "id": DEFAULTED,
        "order_number": NEEDED,
        "customer_id": OPTIONAL,
        "status": DEFAULTED,
        "subtotal": NEEDED,
        "tax_amount": NEEDED,
        "shipping_amount": NEEDED,
        "discount_amount": DEFAULTED,
        "total_amount": NEEDED,
        "currency": DEFAULTED,
        "payment_intent_id": OPTIONAL,
        "payment_status": DEFAULTED,
        "shipping_address": NEEDED,
        "billing_address": NEEDED,
        "notes": OPTIONAL,
        "created_at": DEFAULTED,
        "updated_at": DEFAULTED,
        "shipped_at": OPTIONAL,
        "delivered_at": OPTIONAL,
    },
    "order_items": {
        "id": DEFAULTED,
        "order_id": NEEDED,  # the one column kept tighter: a line of no order is no line
        "product_id": NEEDED,
        "product_sku": NEEDED,
        "product_name": NEEDED,
        "quantity": NEEDED,
        "unit_price": NEEDED,
        "total_price": NEEDED,
        "created_at": DEFAULTED,
    },
    "audit_logs": {
        "id": DEFAULTED,
        "event_type": NEEDED,
        "entity_type": OPTIONAL,
        "entity_id": OPTIONAL,
        "user_id": OPTIONAL,
        "ip_address": OPTIONAL,
        "user_agent": OPTIONAL,
        "data": OPTIONAL,
        "created_at": DEFAULTED,
    },
}
LENGTHS = {
    ("customers", "email"): 255,
    ("customers", "password_hash"): 255,
    ("customers", "first_name"): 100,
    ("customers", "last_name"): 100,
    ("customers", "phone"): 20,
    ("customers", "stripe_customer_id"): 100,
    ("customers", "status"): 20,
    ("orders", "order_number"): 50,
    ("orders", "status"): 30,
    ("orders", "currency"): 3,
    ("orders", "payment_intent_id"): 100,
    ("orders", "payment_status"): 20,
    ("order_items", "product_sku"): 100,
    ("order_items", "product_name"): 255,
    ("audit_logs", "event_type"): 50,
    ("audit_logs", "entity_type"): 50,
}
TYPES = {
    "timestamp with time zone": [
        *[(table, "created_at") for table in SEED],
        ("customers", "updated_at"),
        ("customers", "last_login"),
        ("orders", "updated_at"),
        ("orders", "shipped_at"),
        ("orders", "delivered_at"),
    ],
    "jsonb": [
        ("orders", "shipping_address"),
        ("orders", "billing_address"),
        ("audit_logs", "data"),
    ],
    "text": [("orders", "notes"), ("audit_logs", "user_agent")],
    "inet": [("audit_logs", "ip_address")],
    "date": [("customers", "date_of_birth")],
    "boolean": [("customers", "email_verified")],
}
MONEY = [
    ("orders", "subtotal"),
    ("orders", "tax_amount"),
    ("orders", "shipping_amount"),
    ("orders", "discount_amount"),
    ("orders", "total_amount"),
    ("order_items", "unit_price"),
    ("order_items", "total_price"),
]
INDEXES = {
    "idx_customers_email": ("customers", "email"),
    "idx_customers_status": ("customers", "status"),
    "idx_orders_customer_id": ("orders", "customer_id"),
    "idx_orders_status": ("orders", "status"),
    "idx_orders_created_at": ("orders", "created_at"),
    "idx_order_items_order_id": ("order_items", "order_id"),
    "idx_audit_logs_created_at": ("audit_logs", "created_at"),
    "idx_audit_logs_event_type": ("audit_logs", "event_type"),
}


def query(sql, *params):
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


def column(table, name):
    """What PostgreSQL says of it, by field of information_schema.columns."""
    fields = (
        "is_nullable, column_default, is_identity, data_type,"
        " character_maximum_length, numeric_precision, numeric_scale"
    )
    rows = query(
        f"SELECT {fields} FROM information_schema.columns"  # noqa: S608 - names of our own
        " WHERE table_schema = 'public' AND table_name = %s AND column_name = %s",
        table,
        name,
    )
    assert rows, f"{table}.{name} is gone"
    return dict(zip(fields.replace(" ", "").split(","), rows[0], strict=True))


def columns():
    return [(table, name) for table, names in SEED.items() for name in names]


class TestColumns:
    @pytest.mark.parametrize(("table", "name"), columns())
    def test_need_what_they_needed_and_no_more(self, table, name):
        found = column(table, name)

        is_filled_in = found["column_default"] is not None or found["is_identity"] == "YES"
        match SEED[table][name]:
            case "NOT NULL":
                assert (found["is_nullable"], is_filled_in) == ("NO", False)
            case "nullable":
                assert found["is_nullable"] == "YES"
            case _:
                assert is_filled_in

    @pytest.mark.parametrize(("table", "name"), LENGTHS)
    def test_hold_texts_as_long_as_ever(self, table, name):
        assert column(table, name)["character_maximum_length"] >= LENGTHS[table, name]

    @pytest.mark.parametrize(("table", "name"), MONEY)
    def test_hold_money_exactly(self, table, name):
        found = column(table, name)

        assert found["data_type"] == "numeric"
        assert (found["numeric_precision"], found["numeric_scale"]) == (12, 2)

    @pytest.mark.parametrize(
        ("table", "name", "data_type"),
        [(*place, data_type) for data_type, places in TYPES.items() for place in places],
    )
    def test_are_of_their_type(self, table, name, data_type):
        assert column(table, name)["data_type"] == data_type


class TestIndexes:
    @pytest.mark.parametrize("name", INDEXES)
    def test_are_there_by_name_and_begin_with_their_column(self, name):
        found = query("SELECT tablename, indexdef FROM pg_indexes WHERE indexname = %s", name)

        table, first_column = INDEXES[name]
        assert [place for place, _ in found] == [table]
        assert f"({first_column}" in found[0][1]


class TestARowWithTheSeedsColumnsAlone:
    """Everything else has its default in the database, not in the application."""

    def test_makes_a_customer(self):
        query(
            "INSERT INTO customers (email, password_hash, first_name, last_name)"
            " VALUES ('raw@example.com', 'x', 'Ada', 'Lovelace') RETURNING id"
        )

        assert query(
            "SELECT email_verified, status, version, created_at IS NOT NULL, is_staff, is_active"
            " FROM customers WHERE email = 'raw@example.com'"
        ) == [(False, "active", 1, True, False, True)]

    def test_makes_an_order_with_an_item(self):
        product = factories.ProductFactory()
        customer = factories.CustomerFactory()
        ((order_id,),) = query(
            "INSERT INTO orders (order_number, customer_id, subtotal, tax_amount, shipping_amount,"
            " total_amount, shipping_address, billing_address)"
            " VALUES ('RAW-1', %s, 20, 2, 5, 27, '{}', '{}') RETURNING id",
            customer.pk,
        )

        query(
            "INSERT INTO order_items (order_id, product_id, product_sku, product_name, quantity,"
            " unit_price, total_price) VALUES (%s, %s, 'S', 'N', 2, 10, 20) RETURNING id",
            order_id,
            product.pk,
        )

        assert query(
            "SELECT status, payment_status, currency, discount_amount, version, notes"
            " FROM orders WHERE id = %s",
            order_id,
        ) == [("pending", "pending", "USD", 0, 0, None)]
        assert query("SELECT created_at IS NOT NULL FROM order_items") == [(True,)]

    def test_makes_an_audit_row(self):
        query("INSERT INTO audit_logs (event_type) VALUES ('RAW') RETURNING id")

        assert query("SELECT entity_id, data, created_at IS NOT NULL FROM audit_logs") == [
            (None, None, True)
        ]
