"""Indexes for two heaps of "Not moving". Built while orders go on: nothing waits for them.

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
        ('orders', '0024_roles'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        *index('return', models.Index(condition=models.Q(('status', 'received')), fields=['received_at'], name='idx_returns_to_refund')),
        *index('refundproposal', models.Index(condition=models.Q(('status', 'waiting')), fields=['proposed_at'], name='idx_refund_proposals_waiting')),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
