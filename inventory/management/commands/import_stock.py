"""`import_stock`: receives, adjusts and counts stock from a CSV file, all of it or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from config.kernel.commands import ServiceCommand, bad_argument
from config.kernel.errors import DomainError
from inventory import documents, stock_files
from inventory.errors import StockFileRefusedError, UnusableFileError

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(ServiceCommand):
    help = (
        "Receive, adjust and count stock from a CSV file in UTF-8, all of it or nothing. Columns: "
        "sku, warehouse, quantity, mode (receive, adjust, count), reason, and expected if it is "
        "known. The same file again changes nothing. Exit code: 0 all of it is on record; 1 lines "
        "are bad or would break a promise: each is told, and nothing is changed; or the file is "
        "none; 2 it cannot be read, or the database is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="CSV in UTF-8, with a header line")
        parser.add_argument("--reason", required=True, help="of the whole; kept with the document")
        parser.add_argument(
            "--key",
            help="the same key is the same file, applied once; else the file's content is its key",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if problem := documents.problem_of_reason(options["reason"].strip()):
            raise bad_argument(f"--reason: {problem}")
        try:
            content: bytes = options["file"].read_bytes()
            text = content.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise CommandError(f"the file is not UTF-8 (byte {exc.start})") from exc
        except OSError as exc:
            raise bad_argument(f"the file cannot be read: {exc.strerror}") from exc
        key = options["key"] or f"file:{hashlib.sha256(content).hexdigest()}"
        try:
            document = stock_files.apply_file(
                text=text, reason=options["reason"].strip(), request_key=key
            )
        except UnusableFileError as exc:
            raise CommandError(str(exc)) from exc
        except StockFileRefusedError as exc:
            for bad in exc.problems:
                self.stderr.write(f"line {bad.line}: {bad.reason}")
            raise CommandError("nothing was changed") from exc
        except DomainError as exc:
            raise CommandError(f"nothing was changed: {exc.message}") from exc
        moved = list(document.movements.values_list("quantity", flat=True))
        changed = sum(quantity != 0 for quantity in moved)
        self.answer(
            options,
            {"document": document.pk, "lines": len(moved), "changed": changed},
            f"Document {document.pk}: {len(moved)} lines, {changed} of them changed what is on"
            " hand.",
        )
