"""Finds the audit log's rows by their transaction, for its seals. Nothing waits while it is built.

A BRIN index is a few pages and costs an INSERT next to nothing. It knows no xid8, hence the number.
The parent's is made first and empty, so that a partition made meanwhile has one, too; then each
partition's, concurrently; the parent's is valid once all are attached. Each statement commits by
itself, and all of them may be run again after one has failed.
"""

from django.db import migrations

KIND = 'USING brin ((((xid)::text)::bigint)) WITH (autosummarize = on)'
WITHOUT_IT = """
    SELECT inhrelid::regclass::text FROM pg_inherits partition
    WHERE inhparent = 'audit_logs'::regclass AND NOT EXISTS (
        SELECT FROM pg_inherits attached JOIN pg_index ON indexrelid = attached.inhrelid
        WHERE attached.inhparent = 'idx_audit_logs_xid'::regclass
          AND indrelid = partition.inhrelid
    )
    ORDER BY 1
"""


def build(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(WITHOUT_IT)
        for partition in [name for (name,) in cursor.fetchall()]:
            # What a try that failed has left over.
            cursor.execute('SET lock_timeout = 0')
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS {partition}_xid')
            cursor.execute(f'CREATE INDEX CONCURRENTLY {partition}_xid ON {partition} {KIND}')
            # Writers wait behind this one, should it have to wait: not for long.
            cursor.execute('RESET lock_timeout')
            cursor.execute(f'ALTER INDEX idx_audit_logs_xid ATTACH PARTITION {partition}_xid')
            cursor.execute(f'ANALYZE {partition}')


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('audit', '0008_seals'),
    ]

    operations = [
        # Of the parent alone: the work of a moment, under the role's limits.
        migrations.RunSQL(
            f'CREATE INDEX IF NOT EXISTS idx_audit_logs_xid ON ONLY audit_logs {KIND}',
            'DROP INDEX idx_audit_logs_xid',
        ),
        migrations.RunSQL('SET statement_timeout = 0', migrations.RunSQL.noop),
        migrations.RunPython(build, migrations.RunPython.noop),
        migrations.RunSQL('RESET statement_timeout', migrations.RunSQL.noop),
    ]
