"""Hand-written SQL and plain INSERTs for the way of an order.

There Django takes several times longer to compose a statement than PostgreSQL to carry it out
(docs/performance.md). Everywhere else the ORM is as good and easier to change.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import namedtuple
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson
from django.db import connection, models
from django.db.models.expressions import DatabaseDefault
from psycopg2.extras import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


_Model = TypeVar("_Model", bound=models.Model)


def execute(statement: str, **values: Any) -> int:
    """Run a statement with `%(name)s` in it; returns how many rows it changed or found."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def later(statement: str, **values: Any) -> None:
    """Run a statement whose outcome nobody looks at: it is sent along with the next one.

    Within a `short_transaction` a round trip is saved; the order in which statements are carried
    out stays as written, the ORM's among them, and all of them are before the COMMIT. What the
    database refuses is raised when it is sent. Elsewhere it is carried out at once.
    """
    if _waiting.statements is None:
        execute(statement, **values)
        return
    with connection.cursor() as cursor:
        _waiting.statements.append(cursor.mogrify(statement, values))


@contextlib.contextmanager
def sent_together() -> Iterator[None]:
    """Let statements of this block wait for the next one; the last ones are sent at its end."""
    _waiting.statements = []
    try:
        with connection.execute_wrapper(_send_with_those_waiting):
            yield
            if _waiting.statements:
                with connection.cursor() as cursor:
                    cursor.execute(_waiting.statements.pop())  # type: ignore[arg-type]  # bytes will do
    finally:
        _waiting.statements = None


class _Waiting(threading.local):
    statements: list[bytes] | None = None


_waiting = _Waiting()


def _send_with_those_waiting(
    execute: Callable[..., Any],
    statement: Any,
    values: Any,
    many: bool,  # noqa: FBT001 - Django's signature
    context: dict[str, Any],
) -> Any:
    waiting = _waiting.statements
    if waiting and many:
        alone = b";".join(waiting)
        waiting.clear()
        with connection.cursor() as cursor:  # `execute` here is that of many
            cursor.execute(alone)  # type: ignore[arg-type]  # bytes will do
    elif waiting:
        last = context["cursor"].mogrify(statement, values)
        statement, values = b";".join([*waiting, last]), None
        waiting.clear()
    return execute(statement, values, many, context)


def fetch(statement: str, **values: Any) -> list[Any]:
    """The rows a statement finds, each with its columns as attributes."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = _row_type(tuple(column.name for column in cursor.description))
        return [row._make(found) for found in cursor.fetchall()]


def fetch_one(statement: str, **values: Any) -> Any | None:
    """The first row that a statement finds, or None."""
    found = fetch(statement, **values)
    return found[0] if found else None


def count(statement: str, **values: Any) -> int:
    """Run a statement that answers with one number."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        (number,) = cursor.fetchone()
        return int(number)


def fetch_models(model: type[_Model], statement: str, **values: Any) -> list[_Model]:
    """The rows that a `SELECT *` finds, as instances.

    What is selected besides the model's own columns becomes an attribute of its name. As
    `Manager.raw`, in a fraction of the time.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        reader: _Reader[_Model] = _reader(
            model, tuple(column.name for column in cursor.description)
        )
        return [reader.instance(row) for row in cursor.fetchall()]


def fetch_model(model: type[_Model], statement: str, **values: Any) -> _Model | None:
    """The first row that a `SELECT *` finds, likewise; None if there is none."""
    found = fetch_models(model, statement, **values)
    return found[0] if found else None


def fetch_joined(
    joined: tuple[type[models.Model], ...], statement: str, **values: Any
) -> tuple[Any, ...] | None:
    """The first row that a `SELECT a.*, …, b.*` finds: an instance of each table's model, in order.

    What is selected besides the tables' columns becomes an attribute of the model before it. None
    stands for the row that an outer join did not find; None instead of the tuple: no row at all.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
        if row is None:
            return None
        columns = tuple((column.name, column.table_oid) for column in cursor.description)
        return tuple(
            None if row[key] is None else reader.instance(row[part])
            for part, key, reader in _joined_readers(joined, columns)
        )


def insert(*rows: models.Model) -> None:
    """INSERT new rows of one model in one statement, in their order.

    Sets the primary key and whatever the database filled in, as `Model.save` does; sends no
    signals and asks no field's `pre_save`.
    """
    writer = _writer(type(rows[0]))
    statement, values = writer.insert(rows)
    with connection.cursor() as cursor:
        cursor.execute(statement + writer.returning, values)
        for row, returned in zip(rows, cursor.fetchall(), strict=True):
            writer.take_back(row, returned)


def insert_later(*rows: models.Model) -> None:
    """`insert` as `later`: the rows in memory do not get to know their keys."""
    statement, values = _writer(type(rows[0])).insert(rows)
    later(statement, **values)


def json(value: Any) -> Json:
    """A parameter for a jsonb column."""
    return Json(value, dumps=_dump)


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()


@functools.cache
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)  # noqa: PYI024 - columns are known when they come


@functools.cache
def _reader(model: type[_Model], columns: tuple[str, ...]) -> _Reader[_Model]:
    return _Reader(model, columns)


@functools.cache
def _joined_readers(
    joined: tuple[type[models.Model], ...], columns: tuple[tuple[str, int | None], ...]
) -> list[tuple[slice, int, _Reader[Any]]]:
    """Which part of a row is whose, and where its key stands.

    A new table begins where a column is of another table than the one before.
    """
    begins = [0]
    table = columns[0][1]
    for place, (_, found_in) in enumerate(columns):
        if found_in is not None and found_in != table:
            begins.append(place)
            table = found_in
    readers = []
    for model, begin, end in zip(joined, begins, [*begins[1:], len(columns)], strict=True):
        names = tuple(name for name, _ in columns[begin:end])
        key = begin + names.index(model._meta.pk.column)  # noqa: SLF001 - documented API
        readers.append((slice(begin, end), key, _reader(model, names)))
    return readers


class _Reader(Generic[_Model]):
    """Makes instances of a model out of rows with these columns."""

    def __init__(self, model: type[_Model], columns: tuple[str, ...]) -> None:
        # In the model's order, which `from_db` takes for granted; the table may have another one.
        own = [field for field in model._meta.concrete_fields if field.column in columns]  # noqa: SLF001
        self.model = model
        self.names = [field.attname for field in own]
        self.places = [columns.index(field.column) for field in own]
        self.converters = [
            (place, convert)
            for place, field in enumerate(own)
            if (convert := getattr(field, "from_db_value", None))
        ]
        known = {field.column for field in own}
        self.besides = [(n, column) for n, column in enumerate(columns) if column not in known]

    def instance(self, row: Sequence[Any]) -> _Model:
        values = [row[place] for place in self.places]
        for place, convert in self.converters:
            values[place] = convert(values[place], None, connection)
        made = self.model.from_db(connection.alias, self.names, values)
        for place, name in self.besides:
            setattr(made, name, row[place])
        return made


@functools.cache
def _writer(model: type[models.Model]) -> _Writer:
    return _Writer(model)


class _Writer:
    """What INSERTs of a model have in common."""

    def __init__(self, model: type[models.Model]) -> None:
        meta = model._meta  # noqa: SLF001 - Django's documented Model._meta API
        key = meta.pk
        assert key is not None  # noqa: S101 - every model of ours has one
        self.fields = [field for field in meta.concrete_fields if field is not key]
        # Those the database fills in come back: a row in memory is the row in the table.
        self.returned = [key, *(field for field in self.fields if field.has_db_default())]
        columns = ", ".join(f'"{field.column}"' for field in self.fields)
        self.head = f'INSERT INTO "{meta.db_table}" ({columns}) VALUES '  # noqa: S608 - names of ours
        self.returning = " RETURNING " + ", ".join(f'"{field.column}"' for field in self.returned)

    def insert(self, rows: Sequence[models.Model]) -> tuple[str, dict[str, Any]]:
        """The statement for these rows, and its values."""
        values: dict[str, Any] = {}
        return self.head + ", ".join(self._tuple(row, values) for row in rows), values

    def _tuple(self, row: models.Model, values: dict[str, Any]) -> str:
        """A tuple of VALUES for one row; adds what belongs in it to `values`."""
        places = []
        for field in self.fields:
            value = getattr(row, field.attname)
            if isinstance(value, DatabaseDefault):
                places.append("DEFAULT")
                continue
            if hasattr(value, "resolve_expression"):
                raise TypeError(f"{field.name}: an expression is not a value")
            if isinstance(field, models.JSONField) and value is not None:
                value = json(value)
            name = f"v{len(values)}"
            places.append(f"%({name})s")
            values[name] = value
        return f"({', '.join(places)})"

    def take_back(self, row: models.Model, returned: Sequence[Any]) -> None:
        for field, value in zip(self.returned, returned, strict=True):
            if field.primary_key or isinstance(getattr(row, field.attname), DatabaseDefault):
                setattr(row, field.attname, value)
        row._state.adding = False  # noqa: SLF001 - as Model.save leaves it
        row._state.db = connection.alias  # noqa: SLF001
