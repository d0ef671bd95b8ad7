"""Creates and updates products from lines of CSV, by SKU: all of them or, if any is bad, none.

The lines are checked one by one, and nothing is locked or kept open meanwhile. Then they are
carried into a temporary table by COPY, and from there to the catalogue by a few statements,
whatever their number. Stock is nobody's business here.
"""

# ruff: noqa: S608 - what is put into statements are the names of columns, each a known one

from __future__ import annotations

import csv
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from django.db import connection, transaction

from audit import services as audit
from config.kernel import money, sql
from config.kernel.api.text import normalized, unprintable_in
from inventory.errors import Problem, UnusableFileError
from inventory.models import WEB_ADDRESS, Category, Product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO, TextIO

    Progress = Callable[[int], None]

    class Rows(Protocol):
        """Lines that are cells already, such as a `csv.reader`; the number of the last one read."""

        line_num: int

        def __iter__(self) -> Iterator[list[str]]: ...
        def __next__(self) -> list[str]: ...

    Read = Callable[[str], str | None]

LOCK: Final = 0x1490_27  # any number that nothing else locks by
STATEMENT_SECONDS: Final = 300  # the role's own limits suit short requests
TOLD_EVERY: Final = 1_000  # lines
LONGEST_DESCRIPTION: Final = 20_000  # characters
MOST_IMAGES: Final = 20
LONGEST_ALT: Final = 255  # characters
LARGEST_ATTRIBUTES: Final = 20_000  # bytes
HEAVIEST_GRAMS: Final = 2**31 - 1
MOST_PROBLEMS: Final = 1_000  # told; the others are counted
MOST_CHANGES: Final = 1_000  # likewise

_SKU = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,99}")
_SLUG = re.compile(r"[a-z0-9_-]{1,30}")
_WEB_ADDRESS = re.compile(WEB_ADDRESS)
_PRICE: Final = "price_"
_SQL_TYPES: Final = {
    "sku": "text",
    "name": "text",
    "description": "text",
    "category": "bigint",  # its id
    "image_urls": "jsonb",  # a list
    "image_alts": "jsonb",  # likewise, and in its order
    "tax_class": "text",
    "weight_grams": "integer",
    "is_active": "boolean",
    "attributes": "jsonb",
}
_COLUMNS: Final = {  # of products
    "category": "category_id",
    "image_urls": "image_url",
    "image_alts": "image_alt",
}
_NEEDED_TO_CREATE: Final = ("name", "category")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a file makes of a product: its columns that differ, before (None: it is new) and after.

    Texts, as they stand in a file.
    """

    sku: str
    before: dict[str, str | None] | None
    after: dict[str, str | None]


@dataclass(slots=True, kw_only=True)
class Imported:
    """What an import did, or would have done. `changes` only where they were asked for."""

    lines: int = 0
    created: int = 0
    updated: int = 0
    prices: int = 0
    bad_lines: int = 0
    problems: list[Problem] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    written: bool = False


def import_products(
    *,
    file: TextIO | Rows,
    dry_run: bool = False,
    skip_bad_lines: bool = False,
    tell_changes: bool = False,
    progress: Progress = lambda _lines: None,
) -> Imported:
    """Create the products whose SKU is new, update the others; untouched is what no column names.

    Opens its own transactions; to write, it waits for an import that is being written. Safe to
    repeat: what is already so is not written again.

    Args:
        file: CSV with a header line, opened with `newline=""`; or lines that are cells already.
        dry_run: find out everything, write nothing.
        skip_bad_lines: import the others; else one bad line and nothing is written.
        tell_changes: compare line by line, and tell the first `MOST_CHANGES` that differ.
        progress: told, now and then, how many lines have been read.

    Raises:
        UnusableFileError: there is no header to go by, or it has a column that is not known; or the
            catalogue has changed so while the file was read that it cannot be written.
    """
    with check_products(file=file, progress=progress) as checked:
        if dry_run:
            return checked.preview(tell_changes=tell_changes)
        return checked.write(skip_bad_lines=skip_bad_lines)


@contextmanager
def check_products(
    *, file: TextIO | Rows, progress: Progress = lambda _lines: None
) -> Iterator[CheckedProducts]:
    """Read a file through, for `import_products` in two steps; keeps nothing open meanwhile.

    Raises:
        UnusableFileError: there is no header to go by, or it has a column that is not known.
    """
    reader = _Lines(file)
    found = Imported()
    with tempfile.TemporaryFile() as good:
        for n, cells in enumerate(reader.checked(found), start=1):
            good.write("\t".join(map(_escaped, cells)).encode() + b"\n")
            if n % TOLD_EVERY == 0:
                progress(found.lines)
        progress(found.lines)
        yield CheckedProducts(columns=reader.columns, good=good, found=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProducts:
    """A file's good lines, in COPY's format, and what was wrong with the others."""

    columns: list[str]
    good: IO[bytes]
    found: Imported

    def preview(self, *, tell_changes: bool = False) -> Imported:
        """What `write` would do; it locks nothing that others wait for. Own transaction."""
        done = replace(self.found)
        with transaction.atomic():
            self._carry()
            if tell_changes:
                done.changes = _changes(self.columns)
            _count(self.columns, done)
        return done

    def write(self, *, skip_bad_lines: bool = False) -> Imported:
        """Write the good lines, if they are all or the others are skipped; else as `preview`.

        Opens its own transaction, or is a part of the caller's.

        Raises:
            UnusableFileError: the catalogue has changed since the lines were read.
        """
        if self.found.bad_lines and not skip_bad_lines:
            return self.preview()
        done = replace(self.found)
        with transaction.atomic():
            _wait_for_turn()
            self._carry()
            _refuse_what_changed(self.columns)
            _write(self.columns, done)
            done.written = True
            counts = {name: getattr(done, name) for name in ("lines", "created", "updated")}
            audit.record(
                "PRODUCTS_IMPORTED",
                data={**counts, "prices": done.prices, "bad_lines": done.bad_lines},
            )
        return done

    def _carry(self) -> None:
        _raise_limits()
        _create_table(self.columns)
        self.good.seek(0)
        _copy(self.columns, self.good)


class _Lines:
    """Reads a file's lines and says of each what is in it or what is wrong with it."""

    def __init__(self, file: TextIO | Rows) -> None:
        is_read = hasattr(file, "line_num")
        self._rows: Rows = file if is_read else csv.reader(file, strict=True)  # type: ignore[assignment,arg-type]
        try:
            header = next(self._rows, [])
        except csv.Error as exc:
            raise UnusableFileError(f"line 1: {exc}") from exc
        self.columns = _known_columns(header)
        self._categories = dict(Category.objects.values_list("slug", "id"))
        with transaction.atomic():  # behind PgBouncer a cursor does not outlive it
            self._known = set(Product.objects.values_list("sku", flat=True).iterator())
        self._seen: dict[str, int] = {}

    def checked(self, done: Imported) -> Iterator[list[str | None]]:
        """The good lines, as cells for COPY; counts and notes the others."""
        readers = [self._reader(column) for column in self.columns]
        while (begun := self._rows.line_num + 1) and (cells := self._next(begun, done)) is not None:
            if not cells:
                continue  # an empty line
            done.lines += 1
            try:
                yield self._read(cells, readers, line=begun)
            except _BadLineError as exc:
                _note(done, Problem(begun, str(exc)))

    def _next(self, line: int, done: Imported) -> list[str] | None:
        try:
            return next(self._rows, None)
        except csv.Error as exc:  # what follows is not known to be lines
            done.lines += 1
            _note(done, Problem(line, f"is not CSV, and nothing behind it was read: {exc}"))
            return None

    def _read(
        self, cells: Sequence[str], readers: Sequence[Read], *, line: int
    ) -> list[str | None]:
        if len(cells) != len(self.columns):
            raise _BadLineError(f"has {len(cells)} cells, the header {len(self.columns)}")
        values = []
        for column, read, cell in zip(self.columns, readers, cells, strict=True):
            try:
                values.append(read(cell))
            except ValueError as exc:
                raise _BadLineError(f"{column}: {exc}") from None
        if "image_alts" in self.columns:
            self._check_alts(values)
        sku = str(values[self.columns.index("sku")])
        if sku in self._seen:
            raise _BadLineError(f"sku: stands on line {self._seen[sku]} already")
        self._seen[sku] = line
        if sku not in self._known:
            missing = [name for name in _NEEDED_TO_CREATE if name not in self.columns]
            if missing:
                raise _BadLineError(f"sku: is new, and needs columns {' and '.join(missing)}")
        return values

    def _check_alts(self, values: Sequence[str | None]) -> None:
        urls, alts = (
            orjson.loads(values[self.columns.index(column)] or "[]")
            for column in ("image_urls", "image_alts")
        )
        if len(alts) > len(urls):
            raise _BadLineError(f"image_alts: has {len(alts)} lines for {len(urls)} pictures")

    def _reader(self, column: str) -> Read:
        if column.startswith(_PRICE):
            currency = column.removeprefix(_PRICE)
            return lambda cell: _price(cell, currency)
        if column == "category":
            return self._category
        return _READERS[column]

    def _category(self, cell: str) -> str:
        found = self._categories.get(cell.strip())
        if found is None:
            raise ValueError("there is no category of that slug")
        return str(found)


class _BadLineError(Exception):
    """A line that cannot be taken; says why."""


def _note(done: Imported, problem: Problem) -> None:
    done.bad_lines += 1
    if len(done.problems) < MOST_PROBLEMS:
        done.problems.append(problem)


def _known_columns(header: Sequence[str]) -> list[str]:
    columns = [name.strip() for name in header]
    if "sku" not in columns:
        raise UnusableFileError("the first line names the columns, and needs one called sku")
    for name in columns:
        currency = name.removeprefix(_PRICE)
        if name not in _SQL_TYPES and (
            currency == name or currency not in money.SUPPORTED_CURRENCIES
        ):
            raise UnusableFileError(f"column {name[:50]!r} is not known")
        if columns.count(name) > 1:
            raise UnusableFileError(f"column {name!r} is there twice")
    if "image_alts" in columns and "image_urls" not in columns:
        raise UnusableFileError("column 'image_alts' needs 'image_urls' beside it")
    return columns


# --- cells ----------------------------------------------------------------------------------------


def _text(cell: str, *, longest: int, multiline: bool = False, needed: bool = False) -> str:
    text = normalized(cell.strip())
    # Card numbers are not looked for: one barcode in ten passes for one.
    if problem := unprintable_in(text, multiline=multiline):
        raise ValueError(problem)
    if needed and not text:
        raise ValueError("must not be empty")
    if len(text) > longest:
        raise ValueError(f"has more than {longest} characters")
    return text


def _sku(cell: str) -> str:
    if not _SKU.fullmatch(cell.strip()):
        raise ValueError("is up to 100 upper-case letters, digits, dots, dashes and underscores")
    return cell.strip()


def _name(cell: str) -> str:
    return _text(cell, longest=255, needed=True)


def _description(cell: str) -> str:
    return _text(cell.replace("\r\n", "\n"), longest=LONGEST_DESCRIPTION, multiline=True)


def _image_urls(cell: str) -> str:
    urls = cell.split()
    if len(urls) > MOST_IMAGES:
        raise ValueError(f"are more than {MOST_IMAGES}")
    for url in urls:
        if not _WEB_ADDRESS.fullmatch(_text(url, longest=500)):
            raise ValueError("are addresses that begin with http:// or https://, between spaces")
    return orjson.dumps(urls).decode()


def _image_alts(cell: str) -> str:
    text = cell.replace("\r\n", "\n").rstrip()
    lines = text.split("\n") if text else []  # an empty line is a picture without words
    return orjson.dumps([_text(line, longest=LONGEST_ALT) for line in lines]).decode()


def _tax_class(cell: str) -> str:
    if not _SLUG.fullmatch(cell.strip()):
        raise ValueError("is up to 30 lower-case letters, digits, dashes and underscores")
    return cell.strip()


def _weight_grams(cell: str) -> str | None:
    text = cell.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= HEAVIEST_GRAMS):  # noqa: PLR2004 - digits of the heaviest
        raise ValueError("is a whole number of grams")
    return text


def _is_active(cell: str) -> str:
    text = cell.strip().lower()
    if text not in {"true", "false"}:
        raise ValueError("is true or false")
    return text


def _attributes(cell: str) -> str:
    try:
        read = orjson.loads(cell) if cell.strip() else {}
    except orjson.JSONDecodeError:
        raise ValueError("is not JSON") from None
    if not isinstance(read, dict):
        raise ValueError('is a JSON object like {"color": "red"}')  # noqa: TRY004 - what was read is text
    text = orjson.dumps(read).decode()
    if len(text) > LARGEST_ATTRIBUTES:
        raise ValueError(f"is more than {LARGEST_ATTRIBUTES} bytes")
    if "\\u0000" in text:  # PostgreSQL has no such character
        raise ValueError("has a character that cannot be kept")
    return text


def _price(cell: str, currency: str) -> str | None:
    text = cell.strip()
    return str(money.parse_amount(text, currency)) if text else None


_READERS: Final[Mapping[str, Read]] = {
    "sku": _sku,
    "name": _name,
    "description": _description,
    "image_urls": _image_urls,
    "image_alts": _image_alts,
    "tax_class": _tax_class,
    "weight_grams": _weight_grams,
    "is_active": _is_active,
    "attributes": _attributes,
}


# --- statements -----------------------------------------------------------------------------------


def _raise_limits() -> None:
    with connection.cursor() as cursor:
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute("SELECT set_config(%s, %s, true)", [limit, f"{STATEMENT_SECONDS}s"])


def _wait_for_turn() -> None:
    _raise_limits()
    sql.execute("SELECT pg_advisory_xact_lock(%(lock)s)", lock=LOCK)


def _create_table(columns: Sequence[str]) -> None:
    shown = ", ".join(f'"{name}" {_SQL_TYPES.get(name, "numeric(12,2)")}' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.imported, pg_temp.pictured")
        cursor.execute(f"CREATE TEMPORARY TABLE imported ({shown}) ON COMMIT DROP")


def _copy(columns: Sequence[str], lines: IO[bytes]) -> None:
    """Carry checked lines into the temporary table."""
    named = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY imported ({named}) FROM STDIN", lines)
        cursor.execute("ANALYZE imported")


def _escaped(cell: str | None) -> str:
    """A cell in COPY's text format."""
    if cell is None:
        return r"\N"
    # Four searches of a whole cell are a fraction of `translate`, which asks for every letter.
    cell = cell.replace("\\", r"\\").replace("\t", r"\t")
    return cell.replace("\n", r"\n").replace("\r", r"\r")


def _changes(columns: Sequence[str]) -> list[Change]:
    """Products that are new or differ, by SKU, with what is in the file and was there before."""
    now, then, joins = [], [], []
    for name in columns:
        if name.startswith(_PRICE):
            table = f'"at_{name}"'
            currency = name.removeprefix(_PRICE)
            joins.append(
                f"LEFT JOIN prices AS {table} ON {table}.product_id = products.id"
                f" AND {table}.currency = '{currency}'"
            )
            then.append((name, f"{table}.amount::text"))
            now.append((name, f'coalesce(imported."{name}", {table}.amount)::text'))
        elif name != "sku":
            then.append((name, _PRESENT.get(name, f'products."{name}"::text')))
            now.append((name, _WANTED.get(name, f'imported."{name}"::text')))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT sku, is_new, was, will FROM (
                SELECT imported.sku, products.id IS NULL AS is_new,
                    {_json_object(then)} AS was, {_json_object(now)} AS will
                FROM imported LEFT JOIN products USING (sku) {" ".join(joins)}
            ) AS compared
            WHERE is_new OR was <> will ORDER BY sku LIMIT {MOST_CHANGES}
            """
        )
        rows = cursor.fetchall()
    changes = []
    for sku, is_new, was, will in rows:
        before, after = orjson.loads(was), orjson.loads(will)
        if is_new:
            changes.append(Change(sku=sku, before=None, after=after))
            continue
        names = [name for name in after if before[name] != after[name]]
        changes.append(
            Change(
                sku=sku,
                before={name: before[name] for name in names},
                after={name: after[name] for name in names},
            )
        )
    return changes


def _json_object(pairs: Sequence[tuple[str, str]]) -> str:
    """Text, so that the driver's own reader of JSON is not asked; compared as it is written."""
    told = ", ".join(f"'{name}', {value}" for name, value in pairs)
    return f"jsonb_build_object({told})::text"


_ALL_PICTURES: Final = """
    coalesce((SELECT string_agg({0}, {1} ORDER BY position) FROM (
        SELECT 0 AS position, products.image_url AS url, products.image_alt AS alt
        WHERE products.image_url <> ''
        UNION ALL
        SELECT position, url, alt FROM product_images WHERE product_id = products.id
    ) AS picture), '')
"""
_LINE: Final = r"E'\n'"
_PRESENT: Final = {
    "category": "(SELECT slug FROM categories WHERE categories.id = products.category_id)",
    "image_urls": _ALL_PICTURES.format("url", "' '"),
    "image_alts": f"rtrim({_ALL_PICTURES.format('alt', _LINE)}, {_LINE})",
}
_WANTED: Final = {
    "category": "(SELECT slug FROM categories WHERE categories.id = imported.category)",
    "image_urls": (
        "coalesce((SELECT string_agg(url, ' ' ORDER BY place) FROM"
        " jsonb_array_elements_text(imported.image_urls) WITH ORDINALITY AS each (url, place)), '')"
    ),
    "image_alts": (
        f"rtrim(coalesce((SELECT string_agg(alt, {_LINE} ORDER BY place) FROM"
        " jsonb_array_elements_text(imported.image_alts) WITH ORDINALITY AS each (alt, place)),"
        f" ''), {_LINE})"
    ),
}
"""How a column reads in a file, from the catalogue and from the temporary table."""


def _refuse_what_changed(columns: Sequence[str]) -> None:
    """Of what the lines were checked by, categories and products may have gone since."""
    conditions = []
    if not set(_NEEDED_TO_CREATE) <= set(columns):
        conditions.append(_IS_NEW)
    if "category" in columns:
        conditions.append("NOT EXISTS (SELECT FROM categories WHERE id = imported.category)")
    for condition in conditions:
        if _counted(f"imported WHERE {condition}"):
            raise UnusableFileError("the catalogue changed while the file was read: try again")


def _count(columns: Sequence[str], done: Imported) -> None:
    """What `_write` would do, by the same conditions."""
    with connection.cursor() as cursor:
        own = _own_columns(cursor, columns)
    done.updated = _counted(f"imported, products WHERE {_differs(own)}") if own else 0
    done.created = _counted(f"imported WHERE {_IS_NEW}")
    for name in columns:
        if name.startswith(_PRICE):
            done.prices += _counted(
                f"""imported LEFT JOIN products USING (sku)
                LEFT JOIN prices ON product_id = products.id AND currency = %s
                WHERE imported."{name}" IS NOT NULL
                    AND prices.amount IS DISTINCT FROM imported."{name}"
                """,
                name.removeprefix(_PRICE),
            )


def _counted(what: str, *values: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {what}", values)
        (count,) = cursor.fetchone() or (0,)
    return int(count)


def _write(columns: Sequence[str], done: Imported) -> None:
    with connection.cursor() as cursor:
        own = _own_columns(cursor, columns)
        done.updated = _update(cursor, own)
        done.created = _insert(cursor, own) if set(_NEEDED_TO_CREATE) <= set(own) else 0
        if "image_urls" in own:
            _replace_images(cursor)
        for name in columns:
            if name.startswith(_PRICE):
                done.prices += _set_prices(cursor, currency=name.removeprefix(_PRICE))


def _own_columns(cursor: Any, columns: Sequence[str]) -> list[str]:
    """Those that are a product's own, with the words of pictures that stay."""
    own = [name for name in columns if name != "sku" and not name.startswith(_PRICE)]
    if "image_urls" in own and "image_alts" not in own:
        _remember_alts(cursor)
        own.append("image_alts")
    return own


_IS_NEW: Final = "NOT EXISTS (SELECT FROM products WHERE products.sku = imported.sku)"


def _differs(columns: Sequence[str]) -> str:
    """The products that are there and differ: a condition."""
    present = ", ".join(f"products.{_COLUMNS.get(name, name)}" for name in columns)
    wanted = ", ".join(map(_value, columns))
    return f"products.sku = imported.sku AND ({present}) IS DISTINCT FROM ({wanted})"


def _update(cursor: Any, columns: Sequence[str]) -> int:
    """Products that are there and differ. Returns how many."""
    if not columns:
        return 0
    steps = ", ".join(f"{_COLUMNS.get(name, name)} = {_value(name)}" for name in columns)
    cursor.execute(f"UPDATE products SET {steps} FROM imported WHERE {_differs(columns)}")
    return int(cursor.rowcount)


def _insert(cursor: Any, columns: Sequence[str]) -> int:
    """Products that are new. Returns how many."""
    values = {_COLUMNS.get(name, name): _value(name) for name in columns}
    values.setdefault("attributes", "'{}'")
    cursor.execute(
        f"""
        INSERT INTO products (sku, {", ".join(values)})
        SELECT sku, {", ".join(values.values())} FROM imported WHERE {_IS_NEW}
        """
    )
    return int(cursor.rowcount)


def _value(column: str) -> str:
    if column in {"image_urls", "image_alts"}:
        return f"coalesce(imported.{column} ->> 0, '')"
    return f'imported."{column}"'


def _remember_alts(cursor: Any) -> None:
    """The words of pictures that stay, by their addresses, where the file has none."""
    cursor.execute("ALTER TABLE imported ADD COLUMN image_alts jsonb")
    cursor.execute(
        """
        WITH present AS MATERIALIZED (
            SELECT sku, image_url AS url, image_alt AS alt FROM products WHERE image_alt <> ''
            UNION ALL
            SELECT sku, url, alt FROM product_images JOIN products ON products.id = product_id
            WHERE alt <> ''
        ),
        staying AS (
            SELECT imported.sku, jsonb_agg(coalesce(
                (SELECT present.alt FROM present
                 WHERE present.sku = imported.sku AND present.url = each.url LIMIT 1), ''
            ) ORDER BY place) AS alts
            FROM imported,
                jsonb_array_elements_text(image_urls) WITH ORDINALITY AS each (url, place)
            WHERE imported.sku IN (SELECT sku FROM present)
            GROUP BY imported.sku
        )
        UPDATE imported SET image_alts = alts FROM staying WHERE staying.sku = imported.sku
        """
    )


def _replace_images(cursor: Any) -> None:
    """The pictures after the first, of products whose file has others than they have."""
    cursor.execute(
        """
        CREATE TEMPORARY TABLE pictured ON COMMIT DROP AS
        SELECT products.id, wanted.images
        FROM imported JOIN products USING (sku), LATERAL (
            SELECT coalesce(jsonb_agg(
                jsonb_build_array(url, coalesce(imported.image_alts ->> place::int, ''))
                ORDER BY place
            ), '[]')
            FROM jsonb_array_elements_text(imported.image_urls - 0)
                WITH ORDINALITY AS each (url, place)
        ) AS wanted (images)
        WHERE wanted.images IS DISTINCT FROM coalesce(
            (SELECT jsonb_agg(jsonb_build_array(image.url, image.alt) ORDER BY image.position)
             FROM product_images AS image WHERE image.product_id = products.id),
            '[]'
        )
        """
    )
    cursor.execute("DELETE FROM product_images USING pictured WHERE product_id = pictured.id")
    cursor.execute(
        """
        INSERT INTO product_images (product_id, position, url, alt)
        SELECT id, place, image ->> 0, image ->> 1
        FROM pictured, jsonb_array_elements(images) WITH ORDINALITY AS each (image, place)
        """
    )


def _set_prices(cursor: Any, *, currency: str) -> int:
    """Prices that are new or other than before. Returns how many."""
    cursor.execute(
        f"""
        INSERT INTO prices (product_id, currency, amount)
        SELECT products.id, %s, imported."{_PRICE}{currency}"
        FROM imported JOIN products USING (sku)
        WHERE imported."{_PRICE}{currency}" IS NOT NULL
        ON CONFLICT (product_id, currency) DO UPDATE SET amount = excluded.amount
        WHERE prices.amount <> excluded.amount
        """,
        [currency],
    )
    return int(cursor.rowcount)
