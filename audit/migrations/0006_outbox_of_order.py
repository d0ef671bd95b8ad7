"""What an order's page asks the outbox. Built while facts are stated: nothing waits for it.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('audit', '0005_staff_permissions'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        # What a try that failed has left over.
        migrations.RunSQL(
            'DROP INDEX CONCURRENTLY IF EXISTS idx_outbox_of_order', migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            model_name='outboxmessage',
            index=models.Index(condition=models.Q(('aggregate_type', 'order')), fields=['aggregate_id'], name='idx_outbox_of_order'),
        ),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
