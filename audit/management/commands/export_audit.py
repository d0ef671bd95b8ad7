"""`export_audit`: a period of the audit log with its seals, for an auditor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit import services as audit
from audit.seals import export
from config.kernel import files
from config.kernel.commands import ServiceCommand, add_period, bad_argument, bar, instants
from config.kernel.errors import NotFoundError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from audit.seals.export import Exported


class Command(ServiceCommand):
    help = (
        "Write a period of the audit log with the seals that cover it into a ZIP that anybody can "
        "verify without the shop's database: the rows and seals as JSON lines, a signed manifest, "
        "the public keys, and the program that verifies it. It has what the log has of people: "
        "account numbers, network addresses, browsers; keep it as carefully. In constant memory. "
        "Exit code: 0 all of it is written, 1 rows of the period have no seal yet and are not in "
        "it, or rows are not as they were sealed (run verify_audit), 2 it could not be written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_period(parser, what="rows written")
        parser.add_argument(
            "--output",
            type=Path,
            required=True,
            metavar="FILE.zip",
            help="write there, and replace what is there, once all is written",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        begin, end = instants(options)
        output = options["output"]
        try:
            extent = export.find_extent(begin=begin, end=end)
        except NotFoundError as exc:
            raise bad_argument(exc.message) from exc
        told = {"subject": "audit_log", "from": begin.isoformat(), "to": end.isoformat()}
        audit.record("EXPORT_REQUESTED", data=told)
        try:
            with (
                files.replacing(output) as file,
                bar("Writing rows", quiet=options["json"], total=extent.rows) as show,
            ):
                done = export.write(file, extent, on_progress=show)
        except OSError as exc:
            raise bad_argument(f"it could not be written: {exc}") from exc
        audit.record("EXPORT", data={**told, "rows": done.rows, "seals": done.seals})
        self.answer(
            options,
            {**asdict(done), "output": str(output)},
            _as_text(done, output),
            all_is_well=done.is_whole,
        )


def _as_text(done: Exported, output: Path) -> str:
    told = [f"{done.rows} rows in {done.seals} seals written to {output}."]
    if done.gone:
        told.append(f"{done.gone} rows of these seals were dropped on purpose before.")
    if done.unsealed:
        told.append(f"{done.unsealed} rows of the period have no seal yet: seal_audit, then again.")
    if done.differing:
        told.append(f"The rows of {done.differing} seals are not as they were: verify_audit.")
    return "\n".join(told)
