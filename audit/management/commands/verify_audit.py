"""`verify_audit`: holds the audit log against its seals, and names what is not as it was."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils import timezone
from rich.table import Table

from audit.seals import verification
from config.kernel.commands import NOT_DONE, ServiceCommand, bar, rendered
from config.kernel.errors import NotFoundError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from audit.seals.verification import Report

SHOWN = 50
"""Findings of the table; --json has up to a thousand."""


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number of a seal: 1, 2, 3 …")
    return int(text)


class Command(ServiceCommand):
    help = (
        "Hold the audit log's rows against its seals, the seals against each other and against "
        "their copies outside the database; names every row and seal that is not as it was. "
        "Changes nothing. Exit code: 0 all is as it was sealed, 1 something is not, 2 it could not "
        "be looked at."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--from-number",
            type=_number,
            default=1,
            metavar="N",
            help="begin with the seal of this number; without it, with the first",
        )
        parser.add_argument(
            "--record",
            action="store_true",
            help="keep the outcome for the admin, as each night's verification does",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            with bar("Verifying", quiet=options["json"]) as show:
                report = verification.verify(first_seal=options["from_number"], on_progress=show)
        except NotFoundError as exc:
            raise CommandError(exc.message, returncode=NOT_DONE) from exc
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise CommandError(
                f"the copies of the seals cannot be read: {reason}", returncode=NOT_DONE
            ) from exc
        if options["record"]:
            verification.keep(report)
        self.answer(options, _as_json(report), _as_text(report), all_is_well=not report.count)


def _as_json(report: Report) -> dict[str, Any]:
    oldest = report.lag.oldest_at
    return {
        "first_seal": report.first_seal,
        "seals": report.seals,
        "rows": report.rows,
        "rows_retired": report.retired,
        "count": report.count,
        "findings": [finding.as_json() for finding in report.findings],
        "rows_waiting": report.lag.rows,
        "oldest_waiting_at": oldest.isoformat() if oldest else None,
        "seconds": round(report.seconds, 3),
    }


def _as_text(report: Report) -> str:
    told = [
        f"{report.seals} seals and {report.rows} rows are as they were sealed"
        if not report.count
        else f"{report.count} findings in {report.seals} seals",
        f" ({report.seconds:.1f} s).",
    ]
    if report.retired:
        told.append(f" {report.retired} rows were dropped on purpose.")
    if report.lag.oldest_at:
        seconds = (timezone.now() - report.lag.oldest_at).total_seconds()
        told.append(f" {report.lag.rows} rows wait for a seal, the oldest for {seconds:.0f} s.")
    if not report.count:
        return "".join(told)
    table = Table("finding", "seal", "row", "copy", "which means")
    for finding in report.findings[:SHOWN]:
        last = finding.last_seal
        seal = "" if finding.seal is None else str(finding.seal)
        if last not in {None, finding.seal}:
            seal = f"{seal} to {last}"
        row = "" if finding.row is None else str(finding.row)
        table.add_row(finding.kind, seal, row, finding.place, verification.KINDS[finding.kind])
    return rendered(table, "".join(told))
