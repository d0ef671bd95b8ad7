"""`seal_audit`: seals what the audit log holds so far, and copies the seals outside."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from audit.seals import keys, sealing
from config.kernel.commands import NOT_DONE, ServiceCommand, bar, counted

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(ServiceCommand):
    help = (
        "Seal the audit log's rows that no seal covers yet, as a worker does every few seconds, "
        "and complete the copies of the seals outside the database. Exit code: 0 all is well, "
        "1 the copies could not be written, 2 nothing could be sealed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--new-key",
            action="store_true",
            help="seal nothing; print a new key for AUDIT_SEAL_KEY, and the public half of the "
            "present one, which AUDIT_SEAL_TRUSTED_KEYS has to keep when it is replaced",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if options["new_key"]:
            self.print_new_key(options)
            return
        try:
            with bar("Sealing", quiet=options["json"], total=sealing.find_lag().rows) as show:
                sealed = sealing.seal_all(on_progress=lambda rows: show(rows, None))
        except sealing.TransactionsBeganAnewError as exc:
            raise CommandError(exc.message, returncode=NOT_DONE) from exc
        waiting = sealing.find_lag().rows
        counts = {"seals": sealed.seals, "rows": sealed.rows, "copied": sealed.copied}
        counts["rows_waiting"] = waiting
        text = f"{counted(counts)}."
        if sealed.copy_error:
            text = f"{text}\nThe copies could not be written: {sealed.copy_error}."
        self.answer(
            options,
            asdict(sealed) | {"rows_waiting": waiting},
            text,
            all_is_well=not sealed.copy_error,
        )

    def print_new_key(self, options: dict[str, Any]) -> None:
        """Print a key that nobody has yet."""
        made = keys.new_key()
        present = keys.public_key()
        result = {
            "key": made.seed,
            "public_key": made.public,
            "key_id": made.key_id,
            "present_public_key": present,
        }
        text = (
            f"AUDIT_SEAL_KEY={made.seed}\n"
            f"AUDIT_SEAL_TRUSTED_KEYS={present}\n"
            f"The new key is {made.key_id}; the second line keeps the seals of the present one"
            " believed. Keep the first out of the database and of its backups."
        )
        self.answer(options, result, text)
