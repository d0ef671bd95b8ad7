"""Reads files of products, categories and coupons: all of a file is written, or nothing of it.

Every file is previewed first: what would be added, changed and refused, by line and with reasons.
It is read through and checked before anything is locked: neither a preview nor a long file holds up
whoever orders. Products and prices are written by `inventory.imports`, as `import_products` does.
Categories and coupons are few, and are looked at row by row through import-export.
"""

from __future__ import annotations

import csv
import io
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

import tablib
from django.core.exceptions import ValidationError
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    transaction,
)
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from import_export import fields, widgets
from import_export.resources import ModelResource

from audit import services as audit
from config.kernel import csv_files, money, sql, xlsx_files
from config.kernel.admin import entity_type
from config.kernel.db import violated_constraint
from inventory.errors import UnusableFileError
from inventory.imports import MOST_CHANGES, MOST_PROBLEMS, check_products
from inventory.models import Category
from orders.models import Coupon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import IO

    from django.db.models import Model

    from inventory.imports import CheckedProducts, Imported, Rows

    Progress = Callable[[int], None]
    Check = Callable[["_Lines", Progress], AbstractContextManager["Checked"]]

MOST_LINES: Final = 200_000  # of products; a fresh one each second would take two days
MOST_ROWS: Final = 10_000  # of categories or coupons
BATCH: Final = 2_000  # coupons written at a time
LOCK: Final = 0x1490_28  # any number that nothing else locks by
LONGEST_VALUE: Final = 200  # characters of a value in a preview


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a file did, or would do. `problems` and `changes` tell the first thousand each."""

    lines: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    prices: int = 0
    bad_lines: int = 0
    ignored_columns: list[str] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    written: bool = False

    def complain(self, line: int, reason: str) -> None:
        """Note what is wrong with a line."""
        self.bad_lines += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append({"line": line, "reason": reason})


class Checked(Protocol):
    """A file that was read through."""

    def preview(self) -> Outcome:
        """What `write` would do; changes nothing. Opens its own transaction."""

    def write(self) -> Outcome:
        """Write all of it, or nothing if a line is bad. Requires a transaction.

        Who did it comes from the request's context; each change of a category or coupon is audited
        with its values, a file of products with its counts.

        Raises:
            UnusableFileError: what it was checked against has changed since.
        """


@contextmanager
def check_file(
    subject: str, file: IO[bytes], *, progress: Progress = lambda _lines: None
) -> Iterator[Checked]:
    """Read a CSV or XLSX file of `subject` through. Call it outside a transaction.

    Args:
        subject: one of `IMPORTS`.
        file: at its beginning.
        progress: told, now and then, how many lines have been read.

    Raises:
        UnusableFileError: it cannot be read at all; says why, and what to do.
    """
    lines = _Lines(file)
    with ExitStack() as opened:
        opened.callback(lines.close)
        try:
            lines.open()
            checked = opened.enter_context(IMPORTS[subject](lines, progress))
        except UnicodeDecodeError as exc:
            raise UnusableFileError(
                "the file is not UTF-8: save it as “CSV UTF-8”, or as XLSX"
            ) from exc
        except xlsx_files.UnreadableWorkbookError as exc:
            raise UnusableFileError(str(exc)) from exc
        yield checked


class _Lines:
    """The lines of a file as cells, CSV or XLSX, without the apostrophes of an export.

    CSV may have commas, semicolons or tabs between its cells: spreadsheets write each somewhere.
    """

    _rows: Rows
    _text: io.TextIOWrapper | None = None

    def __init__(self, file: IO[bytes]) -> None:
        self.line_num = 0
        self.header: list[str] = []
        self._file = file
        self._width = 0
        self._dropped: list[int] = []

    def open(self) -> None:
        """See what kind of file it is."""
        is_zip = self._file.read(4) == b"PK\x03\x04"
        self._file.seek(0)
        if is_zip:
            self._rows = xlsx_files.Rows(self._file)
        else:
            self._text = io.TextIOWrapper(self._file, encoding="utf-8-sig", newline="")
            self._rows = csv_files.reader(self._text)

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        plain = csv_files.unguarded if self._text is None else csv_files.plain
        cells = [plain(cell) for cell in next(self._rows)]
        is_header = not self._width
        self.line_num = self._rows.line_num
        if is_header:
            cells = [cell.strip() for cell in cells]
            self._width = len(cells)
        elif self._text is None and cells:
            cells += [""] * (self._width - len(cells))  # a sheet's rows end with their last value
        return [cell for n, cell in enumerate(cells) if n not in self._dropped]

    def close(self) -> None:
        """Let go of the file, which stays open."""
        if self._text is not None:
            self._text.detach()

    def without(self, names: frozenset[str]) -> list[str]:
        """Read the header and leave these columns out from now on; returns which there were."""
        try:
            header = next(self, [])
        except csv.Error as exc:
            raise UnusableFileError(f"the first line is not CSV: {exc}") from exc
        self._dropped = [n for n, name in enumerate(header) if name in names]
        self.header = [name for name in header if name not in names]
        return [name for name in header if name in names]


# --- products -------------------------------------------------------------------------------------
ONLY_SHOWN: Final = frozenset({"on_hand", "allocated", "available"})
"""Columns of an export of products that an import leaves alone: stock is never imported so."""


@contextmanager
def _check_products(lines: _Lines, progress: Progress) -> Iterator[Checked]:
    ignored = lines.without(ONLY_SHOWN)
    with check_products(file=_Limited(lines, MOST_LINES), progress=progress) as checked:
        yield _Products(checked, ignored)


class _Products:
    def __init__(self, checked: CheckedProducts, ignored: list[str]) -> None:
        self._checked = checked
        self._ignored = ignored

    def preview(self) -> Outcome:
        return self._outcome(self._checked.preview(tell_changes=True))

    def write(self) -> Outcome:
        return self._outcome(self._checked.write())

    def _outcome(self, done: Imported) -> Outcome:
        return Outcome(
            lines=done.lines,
            created=done.created,
            updated=done.updated,
            prices=done.prices,
            bad_lines=done.bad_lines,
            ignored_columns=self._ignored,
            problems=[asdict(problem) for problem in done.problems],
            changes=[
                _told(change.sku, before=change.before, after=change.after)
                for change in done.changes
            ],
            written=done.written,
        )


class _Limited:
    """The header again, then the other lines, up to a limit."""

    def __init__(self, lines: _Lines, most: int) -> None:
        self._lines = lines
        self._most = most
        self._header: list[str] | None = lines.header
        self._read = 0
        self.line_num = 0

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        if self._header is not None:
            cells, self._header = self._header, None
        else:
            cells = next(self._lines)
            self._read += 1
            if self._read > self._most:
                raise UnusableFileError(f"the file has more than {self._most:,} lines: split it")
        self.line_num = self._lines.line_num
        return cells


# --- row by row -----------------------------------------------------------------------------------


class _Instant(widgets.Widget):  # type: ignore[misc]  # untyped
    """ISO 8601, UTC unless it says otherwise; a date alone is its beginning."""

    def clean(self, value: Any, row: Any = None, **_: Any) -> datetime | None:  # noqa: ARG002 - the library's hook
        text = str(value or "").strip()
        if not text:
            return None
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)):
            found = parse_datetime(f"{day}T00:00:00")
        if found is None:
            raise ValueError("is a date and time like 2026-12-01T00:00:00Z")
        return timezone.make_aware(found) if timezone.is_naive(found) else found


class _Truth(widgets.Widget):  # type: ignore[misc]  # untyped
    def clean(self, value: Any, row: Any = None, **_: Any) -> bool:  # noqa: ARG002 - the library's hook
        text = str(value or "").strip().lower()
        if text not in {"true", "false"}:
            raise ValueError("is true or false")
        return text == "true"


class _Text(widgets.Widget):  # type: ignore[misc]  # untyped
    """Without spaces around it; `nothing` stands for an empty cell."""

    def __init__(self, *, nothing: str | None = "", upper: bool = False) -> None:
        super().__init__()
        self._nothing = nothing
        self._upper = upper

    def clean(self, value: Any, row: Any = None, **_: Any) -> str | None:  # noqa: ARG002 - the library's hook
        text = str(value or "").strip()
        return (text.upper() if self._upper else text) or self._nothing


class _Number(widgets.DecimalWidget):  # type: ignore[misc]  # untyped
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        try:
            return super().clean(str(value or "").strip(), row=row, **kwargs)
        except (ValueError, ArithmeticError):
            raise ValueError("is a number like 12.50") from None


class _Whole(widgets.Widget):  # type: ignore[misc]  # untyped
    def clean(self, value: Any, row: Any = None, **_: Any) -> int | None:  # noqa: ARG002 - the library's hook
        text = str(value or "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004 - fits the column
            raise ValueError("is a whole number")
        return int(text)


class _Parent(widgets.Widget):  # type: ignore[misc]  # untyped
    def clean(self, value: Any, row: Any = None, **_: Any) -> Category | None:  # noqa: ARG002 - the library's hook
        slug = str(value or "").strip()
        if not slug:
            return None
        found = Category.objects.filter(slug=slug).first()
        if found is None:
            raise ValueError("there is no category of that slug, nor on a line above")
        return found


class _Import(ModelResource):  # type: ignore[misc]  # untyped
    """Rows that are checked as a form would, and written only where they differ."""

    def __init__(self, progress: Progress = lambda _lines: None) -> None:
        super().__init__()
        self._progress = progress

    def after_import(self, dataset: tablib.Dataset, result: Any, **_: Any) -> None:
        """Leave the sequence of ids alone, which others use at the same time; we name none."""

    def import_row(self, row: Any, instance_loader: Any, **kwargs: Any) -> Any:
        # Not in a hook of the library's: whatever those raise is the row's fault for it.
        self._progress(kwargs["row_number"])
        result = super().import_row(row, instance_loader, **kwargs)
        for fault in result.errors:
            if isinstance(fault.error, OperationalError | InterfaceError):
                raise fault.error  # the database's
        return result


def _field(attribute: str, widget: widgets.Widget) -> Any:
    return fields.Field(attribute=attribute, column_name=attribute, widget=widget)


class CouponImport(_Import):
    """Coupons by code. Promotions without one, and what a coupon covers, are the admin's."""

    code = _field("code", _Text(nothing=None, upper=True))
    name = _field("name", _Text())
    kind = _field("kind", _Text())
    value = _field("value", _Number())
    currency = _field("currency", _Text(nothing=None))
    buy_quantity = _field("buy_quantity", _Whole())
    get_quantity = _field("get_quantity", _Whole())
    minimum_subtotal = _field("minimum_subtotal", _Number())
    tier = _field("tier", _Text())
    starts_at = _field("starts_at", _Instant())
    ends_at = _field("ends_at", _Instant())
    max_uses = _field("max_uses", _Whole())
    max_uses_per_customer = _field("max_uses_per_customer", _Whole())
    is_active = _field("is_active", _Truth())

    class Meta:
        model = Coupon
        fields = (
            *("code", "name", "kind", "value", "currency", "buy_quantity", "get_quantity"),
            *("minimum_subtotal", "tier", "starts_at", "ends_at"),
            *("max_uses", "max_uses_per_customer", "is_active"),
        )
        import_id_fields = ("code",)
        clean_model_instances = True
        skip_unchanged = True
        skip_html_diff = True
        store_instance = True

    def save_instance(self, instance: Any, is_create: bool, row: Any, **_: Any) -> None:  # noqa: FBT001 - the library's hook
        """Nothing yet: `_Coupons` writes all of them at once."""

    def before_import_row(self, row: Any, **_: Any) -> None:
        if not str(row["code"] or "").strip():
            raise ValidationError(
                {"code": "must not be empty: a promotion without one is changed by hand"}
            )

    def validate_instance(
        self, instance: Any, import_validation_errors: Any = None, **kwargs: Any
    ) -> None:
        wrong: dict[str, Any] = dict(import_validation_errors or {})
        if instance.currency:
            amounts = ["minimum_subtotal", *(["value"] if instance.kind == "fixed" else [])]
            for name in amounts:
                try:
                    money.exact(Decimal(getattr(instance, name) or 0), instance.currency)
                except (money.InvalidAmountError, money.UnsupportedCurrencyError) as exc:
                    wrong[name] = [f"not payable: {exc}"]
        if instance.max_uses is not None and instance.max_uses < instance.times_used:
            wrong["max_uses"] = [f"it has been used {instance.times_used} times"]
        super().validate_instance(instance, wrong, **kwargs)


class CategoryImport(_Import):
    """Categories by slug; one that lies on another comes behind it."""

    slug = _field("slug", _Text())
    name = _field("name", _Text())
    parent = _field("parent", _Parent())

    class Meta:
        model = Category
        fields = ("slug", "name", "parent")
        import_id_fields = ("slug",)
        clean_model_instances = True
        skip_unchanged = True
        skip_html_diff = True
        store_instance = True


class _Rows:
    """The lines of a file that have the shape of its header, for import-export to look at."""

    def __init__(
        self, lines: _Lines, importer: _Import, *, key: str, shown: frozenset[str] = frozenset()
    ) -> None:
        self.outcome = Outcome(ignored_columns=lines.without(shown))
        _check_header(lines.header, known=set(importer.fields), key=key)
        self._table, self._numbers = _table(lines, self.outcome, key=key)
        self._importer = importer
        self._key = key

    def check(self, *, writing: bool) -> list[Any]:
        """Look at each, in the caller's transaction if the importer writes what is right."""
        # Not its `dry_run`, which would write within a transaction and take it back.
        result = self._importer.import_data(
            self._table, use_transactions=writing, rollback_on_validation_errors=writing
        )
        _tell(result, self.outcome, self._numbers, key=self._key)
        return [row for row in result.rows if row.import_type != row.IMPORT_TYPE_SKIP]


class _Categories:
    """Written to be checked, and taken back for a preview: one may lie on one of a line above."""

    def __init__(self, lines: _Lines, progress: Progress) -> None:
        self._rows = _Rows(lines, CategoryImport(), key="slug")
        progress(self._rows.outcome.lines)

    def preview(self) -> Outcome:
        with transaction.atomic():
            _wait_for_turn()
            self._rows.check(writing=True)
            transaction.set_rollback(True)
        return self._rows.outcome

    def write(self) -> Outcome:
        outcome = self._rows.outcome
        with transaction.atomic():
            _wait_for_turn()
            rows = self._rows.check(writing=True)
            if outcome.bad_lines:
                transaction.set_rollback(True)
            else:
                _record(rows, Category, outcome)
        return outcome


class _Coupons:
    """Checked without a lock; those that are there are locked when all else is done.

    An order that uses a coupon waits for it, and not for long.
    """

    def __init__(self, lines: _Lines, progress: Progress) -> None:
        rows = _Rows(lines, CouponImport(progress), key="code", shown=frozenset({"times_used"}))
        self._rows = rows.check(writing=False)
        self._outcome = rows.outcome
        self._in_file = [name for name in lines.header if name != "code"]

    def preview(self) -> Outcome:
        return self._outcome

    def write(self) -> Outcome:
        if self._outcome.bad_lines:
            return self._outcome
        new = [row for row in self._rows if row.import_type == row.IMPORT_TYPE_NEW]
        old = [row for row in self._rows if row.import_type != row.IMPORT_TYPE_NEW]
        try:
            with transaction.atomic():
                _wait_for_turn()
                Coupon.objects.bulk_create([row.instance for row in new], batch_size=BATCH)
                _record(self._rows, Coupon, self._outcome)
                self._update(old)
        except IntegrityError as exc:  # a code that is new no more, a limit that was used up
            raise UnusableFileError(
                f"coupons were changed while the file was read: try again"
                f" ({violated_constraint(exc)})"
            ) from exc
        return self._outcome

    def _update(self, rows: list[Any]) -> None:
        names = self._in_file
        locked = Coupon.objects.select_for_update(no_key=True).order_by("pk")
        now = locked.in_bulk([row.instance.pk for row in rows])
        for row in rows:
            present = now.get(row.instance.pk)
            if present is None or any(
                getattr(present, name) != getattr(row.original, name) for name in names
            ):
                raise UnusableFileError(
                    f"{row.instance.code} was changed while the file was read: try again"
                )
        if rows:  # alone what the file has: uses are counted meanwhile
            Coupon.objects.bulk_create(
                [row.instance for row in rows],
                batch_size=BATCH,
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=names,
            )


def _wait_for_turn() -> None:
    sql.execute("SELECT pg_advisory_xact_lock(%(lock)s)", lock=LOCK)


def _check_header(header: list[str], *, known: set[str], key: str) -> None:
    if key not in header:
        raise UnusableFileError(f"the first line names the columns, and needs one called {key}")
    for name in header:
        if name not in known:
            raise UnusableFileError(f"column {name[:50]!r} is not known")
        if header.count(name) > 1:
            raise UnusableFileError(f"column {name!r} is there twice")


def _table(lines: _Lines, outcome: Outcome, *, key: str) -> tuple[tablib.Dataset, list[int]]:
    """The lines that have the header's shape, and their numbers."""
    table, numbers = tablib.Dataset(headers=lines.header), []
    seen: dict[str, int] = {}
    place = lines.header.index(key)
    while True:
        number = lines.line_num + 1
        try:
            cells = next(lines, None)
        except csv.Error as exc:
            outcome.lines += 1
            outcome.complain(number, f"is not CSV, and nothing behind it was read: {exc}")
            break
        if cells is None:
            break
        if not any(cells):
            continue
        outcome.lines += 1
        if outcome.lines > MOST_ROWS:
            raise UnusableFileError(f"the file has more than {MOST_ROWS:,} lines: split it")
        if len(cells) != len(lines.header):
            outcome.complain(number, f"has {len(cells)} cells, the header {len(lines.header)}")
            continue
        name = cells[place].strip().upper()
        if name and name in seen:
            outcome.complain(number, f"{key}: stands on line {seen[name]} already")
            continue
        seen[name] = number
        table.append(cells)
        numbers.append(number)
    return table, numbers


def _tell(result: Any, outcome: Outcome, numbers: list[int], *, key: str) -> None:
    for line, row in zip(numbers, result.rows, strict=True):
        if row.validation_error is not None:
            outcome.complain(line, _reason(row.validation_error))
        elif row.errors:
            outcome.complain(line, _reason(row.errors[0].error))
        elif row.import_type == row.IMPORT_TYPE_SKIP:
            outcome.unchanged += 1
        else:
            is_new = row.import_type == row.IMPORT_TYPE_NEW
            outcome.created += is_new
            outcome.updated += not is_new
            if len(outcome.changes) < MOST_CHANGES:
                before, after = _difference(row)
                outcome.changes.append(
                    _told(getattr(row.instance, key), before=before, after=after)
                )


def _difference(row: Any) -> tuple[dict[str, str | None] | None, dict[str, str | None]]:
    is_new = row.import_type == row.IMPORT_TYPE_NEW
    names = [one.name for one in row.instance._meta.concrete_fields if one.editable]  # noqa: SLF001 - Django's API
    after = {name: _value(row.instance, name) for name in names if name != "id"}
    if is_new:
        return None, {name: value for name, value in after.items() if value}
    before = {name: _value(row.original, name) for name in after}
    changed = [name for name in after if after[name] != before[name]]
    return {name: before[name] for name in changed}, {name: after[name] for name in changed}


def _value(instance: Any, name: str) -> str | None:
    value = getattr(instance, name)
    return None if value is None else str(value)


def _reason(error: Exception) -> str:
    """One line; of what nobody foresaw only the kind."""
    if isinstance(error, ValidationError):
        if hasattr(error, "error_dict"):
            told = error.message_dict.items()
            return "; ".join(
                " ".join(texts) if name == "__all__" else f"{name}: {' '.join(texts)}"
                for name, texts in told
            )
        return " ".join(error.messages)
    return f"cannot be written ({type(error).__name__})"


def _record(rows: list[Any], model: type[Model], outcome: Outcome) -> None:
    """An audit row for each row that is written, with before and after, and one for the file."""
    for row in rows:
        before, after = _difference(row)
        told: dict[str, Any] = {"values": after}
        if before is not None:
            told = {"changed": list(after), "before": before, "after": after}
        audit.record(
            "STAFF_ADDED" if before is None else "STAFF_CHANGED",
            entity_type=entity_type(model),
            entity_id=row.instance.pk,
            data={**told, "by": "import"},
        )
    outcome.written = True
    counts = {name: getattr(outcome, name) for name in ("lines", "created", "updated", "unchanged")}
    plural = model._meta.verbose_name_plural  # noqa: SLF001 - Django's API
    audit.record(f"{plural}_IMPORTED".upper(), data=counts)


def _told(
    key: Any, *, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "key": key,
        "before": before and {name: _clip(value) for name, value in before.items()},
        "after": {name: _clip(value) for name, value in after.items()},
    }


def _clip(value: str | None) -> str | None:
    if value is None or len(value) <= LONGEST_VALUE:
        return value
    return f"{value[:LONGEST_VALUE]}…"


IMPORTS: Final[Mapping[str, Check]] = {
    "products": _check_products,
    "categories": lambda lines, progress: nullcontext(_Categories(lines, progress)),
    "coupons": lambda lines, progress: nullcontext(_Coupons(lines, progress)),
}
PERMISSIONS: Final = {
    "products": "inventory.import_products",
    "categories": "inventory.import_products",
    "coupons": "orders.import_coupons",
}
