"""What an order's page asks the outbox; facts are stated and delivered while it is built."""

from django.db import migrations, models

FORWARDS = [
    'SET statement_timeout = 0; SET lock_timeout = 0',  # it waits for others, nobody for it
    'DROP INDEX CONCURRENTLY IF EXISTS idx_outbox_of_order',
    "CREATE INDEX CONCURRENTLY idx_outbox_of_order ON outbox_messages (aggregate_id)"
    " WHERE aggregate_type = 'order'",
    'RESET statement_timeout; RESET lock_timeout',
]


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('audit', '0003_one_index_less'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(FORWARDS, 'DROP INDEX CONCURRENTLY idx_outbox_of_order'),
            ],
            state_operations=[
                migrations.AddIndex(
                    model_name='outboxmessage',
                    index=models.Index(condition=models.Q(('aggregate_type', 'order')), fields=['aggregate_id'], name='idx_outbox_of_order'),
                ),
            ],
        ),
    ]
