"""Indexes for what staff ask for. Built while accounts are used: nothing waits for them.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Upper


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
        ('customers', '0006b_saved_views'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        *index('customer', models.Index(Upper('last_name'), name='idx_customers_last_name')),
        *index('customer', models.Index(condition=models.Q(('is_staff', True)), fields=['id'], name='idx_customers_staff')),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
