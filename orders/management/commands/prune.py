"""`prune`: forgets what is kept no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone
from rich.table import Table

from config.kernel.commands import ServiceCommand, bars, rendered
from orders.services import retention

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(ServiceCommand):
    help = (
        "Forget what is kept no longer, table by table and batch by batch; what is unfinished stays"
        " however old it is. Beat does the same each night. It may be stopped at any moment, and"
        " run while orders go on. How long what is kept, and why: docs/data.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="count what would go, and change nothing"
        )
        parser.add_argument(
            "--table",
            action="append",
            choices=retention.tables(),
            metavar="NAME",
            help=f"only this one; may be repeated: {', '.join(retention.tables())}",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        now = timezone.now()
        tables = options["table"] or retention.tables()
        if options["dry_run"]:
            rows = retention.count(now=now, tables=tables)
        else:
            is_watched = not options["json"]
            with bars(quiet=not is_watched) as show:
                rows = retention.prune(
                    now=now, tables=tables, on_progress=show if is_watched else None
                )
        self.answer(
            options,
            {"dry_run": options["dry_run"], "rows": rows},
            _as_text(rows, is_dry=options["dry_run"]),
        )


def _as_text(rows: dict[str, int], *, is_dry: bool) -> str:
    table = Table("table", "what goes", "kept", "rows would go" if is_dry else "rows went")
    for policy in retention.POLICIES:
        if policy.table in rows:
            table.add_row(policy.table, policy.what, policy.kept, str(rows[policy.table]))
    return rendered(table)
