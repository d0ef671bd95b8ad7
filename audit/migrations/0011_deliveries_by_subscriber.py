"""Indexes by which each subscriber's deliveries are taken by themselves, in the order of the facts.

Built while orders go on: nothing waits for it. Each statement commits by itself, and all of them
may be run again after one has failed.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

PENDING = models.Q(('status', 'pending'))
NEW = {
    'idx_deliveries_due': (['subscriber', 'next_attempt_at', 'id'], PENDING),
    'idx_deliveries_in_order': (['subscriber', 'aggregate_type', 'aggregate_id', 'message'], PENDING),
    'idx_deliveries_given_up': (['subscriber', 'id'], models.Q(('status', 'dead'))),
}
# Those that wait, or were given up: few, unlike those that were delivered.
BACKFILL = """
    UPDATE deliveries SET aggregate_type = message.aggregate_type,
        aggregate_id = message.aggregate_id
    FROM outbox_messages AS message
    WHERE message.id = deliveries.message_id AND deliveries.status <> 'delivered'
"""
RECEIVERS = """
    INSERT INTO receivers (subscriber)
    SELECT DISTINCT subscriber FROM deliveries WHERE status <> 'delivered'
    ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('audit', '0010_receivers'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        # What a try that failed has left over.
        *(
            migrations.RunSQL(f'DROP INDEX CONCURRENTLY IF EXISTS {name}', migrations.RunSQL.noop)
            for name in NEW
        ),
        *(
            AddIndexConcurrently(
                model_name='delivery',
                index=models.Index(condition=condition, fields=fields, name=name),
            )
            for name, (fields, condition) in NEW.items()
        ),
        migrations.RunSQL(BACKFILL, migrations.RunSQL.noop),
        migrations.RunSQL(RECEIVERS, migrations.RunSQL.noop),
        RemoveIndexConcurrently(model_name='delivery', name='idx_deliveries_waiting'),
        RemoveIndexConcurrently(model_name='delivery', name='idx_deliveries_dead'),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
