"""The statements of the order path: what is sent when, and what comes back."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import IntegrityError, connection
from django.db.models.functions import Now

from audit import services as audit
from audit.models import AuditLog, OutboxMessage
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError
from inventory.models import Category, Product, StockLevel, Warehouse
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sent():
    """Every message that goes to the database."""
    messages: list[str] = []

    def note(execute, statement, values, many, context):
        messages.append(statement if isinstance(statement, str) else statement.decode())
        return execute(statement, values, many, context)

    with connection.execute_wrapper(note):
        yield messages


def add_later(slug: str) -> None:
    sql.later(
        "INSERT INTO categories (slug, name) VALUES (%(slug)s, %(name)s)", slug=slug, name="50% off"
    )


class TestFetch:
    def test_names_the_columns(self):
        factories.open_shop()

        (found,) = sql.fetch(
            "SELECT code, 1 + 1 AS two FROM warehouses WHERE priority < %(p)s", p=999
        )

        assert (found.code, found.two) == (Warehouse.objects.get().code, 2)

    def test_of_nothing_is_nothing(self):
        assert sql.fetch("SELECT 1 AS one WHERE false") == []
        assert sql.fetch_one("SELECT 1 AS one WHERE false") is None


class TestFetchModel:
    def test_is_what_the_orm_would_have_read(self):
        factories.open_shop()
        expected = Warehouse.objects.get()

        found = sql.fetch_model(
            Warehouse, "SELECT * FROM warehouses WHERE code = %(code)s", code=expected.code
        )

        assert found == expected
        fields = [field.attname for field in Warehouse._meta.concrete_fields]
        assert {name: getattr(found, name) for name in fields} == {
            name: getattr(expected, name) for name in fields
        }
        assert not found._state.adding

    def test_reads_json_and_whatever_order_the_columns_come_in(self):
        message = OutboxMessage(
            fact="x.done", aggregate_type="x", aggregate_id=1, dedupe_key="1", payload={"a": [1]}
        )
        message.save()

        found = sql.fetch_model(
            OutboxMessage,
            """
            SELECT 1 + 1 AS two, occurred_at, payload, dedupe_key, fanned_out_at, aggregate_id,
                aggregate_type, fact, uuid, id
            FROM outbox_messages
            """,
        )

        assert (found.pk, found.payload, found.fact) == (message.pk, {"a": [1]}, "x.done")
        assert found.two == 2
        found.save()  # it is a row like any other

    def test_of_nothing_is_nothing(self):
        assert sql.fetch_model(Warehouse, "SELECT * FROM warehouses WHERE false") is None


class TestFetchJoined:
    def test_is_a_row_of_each_table_and_what_was_selected_besides(self):
        level = StockLevel.objects.get(product=factories.ProductFactory(on_hand=3))

        found = sql.fetch_joined(
            (StockLevel, Product),
            """
            SELECT stock_levels.*, 1 + 1 AS two, products.*, 2 + 1 AS three
            FROM stock_levels JOIN products ON products.id = stock_levels.product_id
            WHERE stock_levels.id = %(id)s
            """,
            id=level.pk,
        )

        assert found == (level, level.product)
        assert [one.pk for one in found] == [level.pk, level.product_id]
        assert (found[0].on_hand, found[1].sku) == (level.on_hand, level.product.sku)
        assert (found[0].two, found[1].three) == (2, 3)

    def test_has_none_for_what_an_outer_join_does_not_find(self):
        product = factories.ProductFactory(on_hand=3)

        found = sql.fetch_joined(
            (Product, StockLevel),
            """
            SELECT products.*, level.* FROM products LEFT JOIN stock_levels AS level ON false
            WHERE products.id = %(id)s
            """,
            id=product.pk,
        )

        assert found == (product, None)

    def test_of_nothing_is_nothing(self):
        statement = """
            SELECT products.*, level.* FROM products, stock_levels AS level WHERE false
        """
        assert sql.fetch_joined((Product, StockLevel), statement) is None

    def test_refuses_other_tables_than_named(self):
        factories.ProductFactory(on_hand=3)

        with pytest.raises(ValueError, match="shorter"):
            sql.fetch_joined((Product, StockLevel), "SELECT products.* FROM products")


class TestManyAtOnce:
    def test_go_out_after_what_waits(self):
        with short_transaction():
            add_later("first")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE categories SET name = %s WHERE slug = %s", [("new", "first")]
                )
        assert Category.objects.get(slug="first").name == "new"


class TestInsert:
    def test_writes_what_create_would_and_knows_what_the_database_added(self):
        first = OutboxMessage(
            fact="x.done", aggregate_type="x", aggregate_id=1, dedupe_key="1", payload={"a": [1]}
        )
        second = OutboxMessage(
            fact="x.done", aggregate_type="x", aggregate_id=2, dedupe_key="2", payload={}
        )

        sql.insert(first, second)

        assert first.pk < second.pk
        assert isinstance(first.occurred_at, datetime)
        assert not first._state.adding
        stored = OutboxMessage.objects.get(pk=first.pk)
        for field in OutboxMessage._meta.concrete_fields:
            assert getattr(stored, field.attname) == getattr(first, field.attname)

    def test_takes_no_expression_for_a_value(self):
        message = OutboxMessage(dedupe_key="1", payload={}, occurred_at=Now())

        with pytest.raises(TypeError, match="occurred_at"):
            sql.insert(message)

    def test_is_refused_like_any_other(self):
        sql.insert(Category(slug="a", name="A"))

        with pytest.raises(IntegrityError):
            sql.insert(Category(slug="a", name="B"))


class TestLater:
    def test_outside_of_a_short_transaction_is_at_once(self, sent):
        add_later("a")

        assert len(sent) == 1
        assert Category.objects.get().name == "50% off"

    def test_goes_along_with_the_next_statement_and_before_it(self, sent):
        with short_transaction():
            add_later("a")
            add_later("b")
            assert sent == []
            assert set(Category.objects.values_list("slug", flat=True)) == {"a", "b"}
            assert len(sent) == 1
            add_later("c")

        assert len(sent) == 2
        assert Category.objects.count() == 3

    def test_alone_is_sent_before_the_commit(self, sent):
        with short_transaction():
            add_later("a")

        assert len(sent) == 1
        assert Category.objects.count() == 1

    def test_is_undone_with_its_transaction(self):
        def fail():
            add_later("a")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), short_transaction():
            fail()

        with short_transaction():
            pass

        assert not Category.objects.exists()

    def test_that_is_refused_undoes_everything(self):
        def add_twice():
            add_later("a")
            add_later("a")
            sql.execute("SELECT 1")

        with pytest.raises(IntegrityError), short_transaction():
            add_twice()

        assert not Category.objects.exists()

    def test_that_a_trigger_refuses_is_an_invalid_transition(self):
        audit.record("X_DONE")

        with pytest.raises(InvalidTransitionError), short_transaction():
            sql.later("UPDATE audit_logs SET event_type = 'Y'")

        assert AuditLog.objects.get().event_type == "X_DONE"
