"""Indexes for what staff ask for. Built while orders go on: nothing waits for them.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def index(model, index):
    """Drop what a try that failed has left over, then build it."""
    return [
        migrations.RunSQL(
            f'DROP INDEX CONCURRENTLY IF EXISTS {index.name}', migrations.RunSQL.noop
        ),
        AddIndexConcurrently(model, index),
    ]


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('audit', '0003_one_index_less'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        *index('delivery', models.Index(condition=models.Q(('status', 'dead')), fields=['id'], name='idx_deliveries_dead')),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
