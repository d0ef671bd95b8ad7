"""An index by which old facts are found. Built while orders go on: nothing waits for it.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('audit', '0006_outbox_of_order'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        # What a try that failed has left over.
        migrations.RunSQL(
            'DROP INDEX CONCURRENTLY IF EXISTS idx_outbox_fanned_out', migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            model_name='outboxmessage',
            index=models.Index(condition=models.Q(('fanned_out_at__isnull', False)), fields=['occurred_at'], name='idx_outbox_fanned_out'),
        ),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
