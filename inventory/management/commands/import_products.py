"""`import_products`: creates and updates products from a CSV file, by SKU."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.progress import Progress

from inventory.errors import UnusableFileError
from inventory.imports import Imported, import_products

if TYPE_CHECKING:
    from argparse import ArgumentParser

BLOCK: Final = 1 << 20  # bytes


class Command(BaseCommand):
    help = (
        "Create and update products from a CSV file in UTF-8, by SKU. Columns: sku, name, "
        "description, category (a slug), image_urls, image_alts, tax_class, weight_grams, "
        "is_active, attributes (JSON), price_USD and the like. What no column names stays as it "
        "is; stock is never touched. Exit code: 0 every line is written (or would be); 1 a line is "
        "bad: each is told with its reason, and nothing is changed unless --skip-bad-lines is "
        "given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="check all, change nothing")
        parser.add_argument(
            "--skip-bad-lines", action="store_true", help="import the good lines all the same"
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            done = self.load(options)
        except UnusableFileError as exc:
            raise CommandError(str(exc)) from exc
        except UnicodeDecodeError as exc:
            raise CommandError(f"the file is not UTF-8 (byte {exc.start})") from exc
        except OSError as exc:
            raise CommandError(f"the file cannot be read: {exc.strerror}") from exc
        except DatabaseError as exc:
            reason = str(exc).partition("\n")[0]
            raise CommandError(f"nothing was changed: {reason}") from exc
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(done), "dry_run": options["dry_run"]}))
        else:
            self.tell(done, dry_run=options["dry_run"])
        if done.bad_lines:
            raise SystemExit(1)

    def load(self, options: dict[str, Any]) -> Imported:
        """Import with a progress bar for a person who watches."""
        path: Path = options["file"]
        console = Console(stderr=True)
        with (
            path.open(encoding="utf-8-sig", newline="") as file,
            Progress(console=console, disable=options["json"] or not console.is_terminal) as bar,
        ):
            task = bar.add_task("Products", total=_count_lines(path))
            return import_products(
                file=file,
                dry_run=options["dry_run"],
                skip_bad_lines=options["skip_bad_lines"],
                progress=lambda lines: bar.update(task, completed=lines),
            )

    def tell(self, done: Imported, *, dry_run: bool) -> None:
        """What is bad, line by line; then what was done, in one."""
        for problem in done.problems:
            self.stderr.write(f"line {problem.line}: {problem.reason}")
        if (more := done.bad_lines - len(done.problems)) > 0:
            self.stderr.write(f"and {more} more bad lines")
        if done.written:
            did = "Written"
        elif dry_run:
            did = "Nothing was changed (--dry-run); would be written"
        else:
            did = f"Nothing was changed: {done.bad_lines} bad lines. Good ones"
        self.stdout.write(
            f"{did}: {done.created} products created, {done.updated} updated, "
            f"{done.prices} prices set, of {done.lines} lines."
        )


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))
