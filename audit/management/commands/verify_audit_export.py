"""`verify_audit_export`: verifies a file of `export_audit`, by the program that is in it."""

from __future__ import annotations

import base64
from argparse import ArgumentTypeError
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.seals import keys, offline
from config.kernel.commands import ServiceCommand, bad_argument, bar

if TYPE_CHECKING:
    from argparse import ArgumentParser


def _key(text: str) -> bytes:
    try:
        return offline.parsed_key(text)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc


class Command(ServiceCommand):
    help = (
        "Verify a file of export_audit: each row, each seal, how they follow each other, and the "
        "signatures. Asks no database; without the shop's settings at hand, verify.py in the file "
        "does the same. Exit code: 0 all is as it was sealed, 1 something is not, 2 it could not "
        "be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, metavar="FILE.zip", help="what export_audit wrote")
        parser.add_argument(
            "--key",
            type=_key,
            action="append",
            default=[],
            metavar="BASE64",
            help="a public key that is believed, instead of those of AUDIT_SEAL_KEY and "
            "AUDIT_SEAL_TRUSTED_KEYS; may be said again",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        known = options["key"] or [base64.b64decode(key) for key in keys.believed().values()]
        try:
            with (
                options["file"].open("rb") as file,
                bar("Verifying", quiet=options["json"]) as show,
            ):
                found = offline.verify(file, keys=known, on_progress=show)
        except OSError as exc:
            raise bad_argument(f"the file cannot be read: {exc}") from exc
        except offline.UnreadableExportError as exc:
            raise bad_argument(str(exc)) from exc
        self.answer(
            options,
            asdict(found),
            offline.told(found, has_own_keys=False),
            all_is_well=not found.count,
        )
