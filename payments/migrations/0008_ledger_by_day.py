"""Finds the ledger's entries of a period, for reports. Built while orders go on: nothing waits.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('payments', '0007_rights_to_export'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        # What a try that failed has left over.
        migrations.RunSQL(
            'DROP INDEX CONCURRENTLY IF EXISTS idx_ledger_created_at', migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            'ledgerentry',
            BrinIndex(autosummarize=True, fields=['created_at'], name='idx_ledger_created_at'),
        ),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
