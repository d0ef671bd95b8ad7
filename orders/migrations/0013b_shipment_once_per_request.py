"""Apart from the new tables: parcels go on meanwhile, and what is built here stops none.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.db import migrations, models

FORWARDS = [
    'ALTER TABLE shipments ADD COLUMN IF NOT EXISTS request_key varchar(255) NULL',
    'ALTER TABLE shipments DROP CONSTRAINT IF EXISTS shipment_once_per_request',
    'SET statement_timeout = 0; SET lock_timeout = 0',  # it waits for others, nobody for it
    'DROP INDEX CONCURRENTLY IF EXISTS shipment_once_per_request',
    'CREATE UNIQUE INDEX CONCURRENTLY shipment_once_per_request'
    ' ON shipments (order_id, request_key)',
    'RESET statement_timeout; RESET lock_timeout',
    'ALTER TABLE shipments ADD CONSTRAINT shipment_once_per_request'
    ' UNIQUE USING INDEX shipment_once_per_request',
]


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('orders', '0013_after_sales'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(FORWARDS, 'ALTER TABLE shipments DROP COLUMN request_key'),
            ],
            state_operations=[
                migrations.AddField(
                    model_name='shipment',
                    name='request_key',
                    field=models.CharField(blank=True, max_length=255, null=True),
                ),
                migrations.AddConstraint(
                    model_name='shipment',
                    constraint=models.UniqueConstraint(fields=('order', 'request_key'), name='shipment_once_per_request'),
                ),
            ],
        ),
    ]
