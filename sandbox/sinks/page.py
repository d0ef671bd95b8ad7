"""What came in, for people: one page without a script."""

import html
from datetime import UTC, datetime

import orjson
from aiohttp import web

from sandbox.sinks.calls import NAMES
from sandbox.sinks.store import Kept, Store

SHOWN = 20
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sinks</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
summary {{ overflow-wrap: anywhere; }}
th, td {{ padding: .15rem .6rem; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
pre {{ overflow-x: auto; padding: .5rem; border: 1px solid #8886; }}
</style>
<h1>Sinks</h1>
<p>What this shop has told other systems. None of them is real.</p>
<div class="wide"><table>
<tr><th>Receiver<th>Calls<th>Kept<th>Duplicates<th>Refused<th>Spoiled</tr>
{rows}
</table></div>
{received}
</html>
"""


def show(store: Store) -> web.Response:
    """Answer `GET /`."""
    counts = {name: store.counts(receiver=name) for name in NAMES}
    columns = ("calls", "kept", "duplicates", "refused", "spoiled")
    rows = [
        f"<tr><td>{_linked(name) if counted['kept'] else name}"
        + "".join(f"<td>{counted[column]}" for column in columns)
        + "</tr>"
        for name, counted in counts.items()
    ]
    received = [
        f'<h2 id="{name}">{name}</h2>'
        + "".join(map(_item, store.latest(receiver=name, limit=SHOWN)))
        for name in NAMES
        if counts[name]["kept"]
    ]
    page = _PAGE.format(rows="\n".join(rows), received="\n".join(received))
    return web.Response(text=page, content_type="text/html", headers=_HEADERS)


def _linked(name: str) -> str:
    return f'<a href="#{name}">{name}</a>'


def _item(kept: Kept) -> str:
    at = datetime.fromtimestamp(kept.time, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    again = f", came {kept.copies} times again" if kept.copies else ""
    kind = kept.body["type"] if kept.kind == "event" else kept.kind
    body = orjson.dumps(kept.body, option=orjson.OPT_INDENT_2).decode()
    return (
        f"<details><summary>{at} {html.escape(kind)} {html.escape(kept.key)}{again}</summary>"
        f"<pre>{html.escape(body)}</pre></details>\n"
    )
