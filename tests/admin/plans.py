"""Asks PostgreSQL whether a page's statements each have an index to go by."""

from __future__ import annotations

from django.db import connection


def read_without_an_index(queries):
    """The statements that read a table as a whole, by the table's name."""
    without = {}
    with connection.cursor() as cursor:
        # As if they were large: of a table with one row, as autovacuum may have found it, an index
        # picks out nothing, and the planner does not try it.
        cursor.execute(
            """
            SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', relname::text,
                'relpages', 1000, 'reltuples', 100000::real)
            FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            """
        )
        # Whatever the tables hold: what remains allowed always has a condition for its index,
        # and where there is no such index, all of it is read in spite of this.
        # Nor may a join read a table to look it through once, however small it was when analyzed.
        for way in ("seqscan", "indexscan", "indexonlyscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        for query in queries:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {query['sql']}")
            ((plan,),) = cursor.fetchall()
            without |= dict.fromkeys(_read_whole(plan[0]["Plan"]), query["sql"])
    return without


def _read_whole(node):
    """Tables, and indexes, of which a plan reads all."""
    kind = node["Node Type"]
    is_scan = "Relation Name" in node and "Scan" in kind and "Bitmap" not in kind
    if is_scan and "Index Cond" not in node:
        yield node["Relation Name"]
    for part in node.get("Plans", []):
        yield from _read_whole(part)
