"""Indexes for what staff ask for. Built while orders go on: nothing waits for them.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.conf import settings
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
        ('orders', '0019_staff_indexes'),
        ('payments', '0004_illegal_moves_alone_call'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        *index('payment', models.Index(condition=models.Q(('status', 'quarantined')), fields=['id'], name='idx_payments_quarantined')),
        *index('providerevent', models.Index(condition=models.Q(('status', 'quarantined')), fields=['received_at'], name='idx_provider_events_odd')),
        *index('refund', models.Index(fields=['created_at'], name='idx_refunds_created_at')),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
