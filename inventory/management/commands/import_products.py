"""`import_products`: creates and updates products from a CSV file, by SKU."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.db import IntegrityError

from config.kernel.commands import ServiceCommand, bad_argument, bar
from inventory.errors import UnusableFileError
from inventory.imports import Imported, import_products

if TYPE_CHECKING:
    from argparse import ArgumentParser

BLOCK: Final = 1 << 20  # bytes


class Command(ServiceCommand):
    help = (
        "Create and update products from a CSV file in UTF-8, by SKU. Columns: sku, name, "
        "description, category (a slug), image_urls, image_alts, tax_class, weight_grams, "
        "is_active, attributes (JSON), price_USD and the like. What no column names stays as it "
        "is; stock is never touched. Exit code: 0 every line is written (or would be); 1 a line is "
        "bad: each is told with its reason, and nothing is changed unless --skip-bad-lines is "
        "given; or the file is none; 2 it cannot be read, or the database is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="CSV in UTF-8, with a header line")
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="check all, change nothing; with --json also tell what would change, by product",
        )
        parser.add_argument(
            "--skip-bad-lines", action="store_true", help="import the good lines all the same"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            done = self.load(options)
        except UnusableFileError as exc:
            raise CommandError(str(exc)) from exc
        except UnicodeDecodeError as exc:
            raise CommandError(f"the file is not UTF-8 (byte {exc.start})") from exc
        except OSError as exc:
            raise bad_argument(f"the file cannot be read: {exc.strerror}") from exc
        except IntegrityError as exc:  # the catalogue changed beneath it
            reason = str(exc).partition("\n")[0]
            raise CommandError(f"nothing was changed: {reason}") from exc
        self.complain(done)
        self.answer(
            options,
            {**asdict(done), "dry_run": options["dry_run"]},
            _as_text(done, dry_run=options["dry_run"]),
            all_is_well=not done.bad_lines,
        )

    def load(self, options: dict[str, Any]) -> Imported:
        """Import with a progress bar for a person who watches."""
        path: Path = options["file"]
        with (
            path.open(encoding="utf-8-sig", newline="") as file,
            bar("Lines", quiet=options["json"], total=_count_lines(path)) as show,
        ):
            return import_products(
                file=file,
                dry_run=options["dry_run"],
                tell_changes=options["dry_run"] and options["json"],
                skip_bad_lines=options["skip_bad_lines"],
                progress=lambda lines: show(lines, None),
            )

    def complain(self, done: Imported) -> None:
        """Say what is bad, line by line."""
        for problem in done.problems:
            self.stderr.write(f"line {problem.line}: {problem.reason}")
        if (more := done.bad_lines - len(done.problems)) > 0:
            self.stderr.write(f"and {more} more bad lines")


def _as_text(done: Imported, *, dry_run: bool) -> str:
    if done.written:
        did = "Written"
    elif dry_run:
        did = "Nothing was changed (--dry-run); would be written"
    else:
        did = f"Nothing was changed: {done.bad_lines} bad lines. Good ones"
    return (
        f"{did}: {done.created} products created, {done.updated} updated, "
        f"{done.prices} prices set, of {done.lines} lines."
    )


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))
