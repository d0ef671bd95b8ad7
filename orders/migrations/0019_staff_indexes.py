"""Indexes for what staff ask for. Built while orders go on: nothing waits for them.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
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
        ('inventory', '0009_product_image_alt'),
        ('orders', '0018_erase_requested'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        RemoveIndexConcurrently(model_name='order', name='idx_orders_status'),
        *index('order', models.Index(fields=['status', '-created_at', '-id'], name='idx_orders_status')),
        *index('order', models.Index(condition=models.Q(('payment_status__in', ['requires_action', 'processing', 'partially_refunded', 'refunded', 'disputed'])), fields=['payment_status', '-created_at', '-id'], name='idx_orders_odd_payment')),
        *index('orderitem', models.Index(fields=['product', '-order'], name='idx_order_items_product')),
        *index('shipment', models.Index(condition=models.Q(('tracking_number', ''), _negated=True), fields=['tracking_number'], name='idx_shipments_tracking_number')),
        # Django would drop the foreign key with the index, and make it anew: a scan of both tables
        # under a lock that orders wait for.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    'DROP INDEX CONCURRENTLY IF EXISTS order_items_product_id_dd557d5a',
                    'CREATE INDEX CONCURRENTLY IF NOT EXISTS order_items_product_id_dd557d5a ON order_items (product_id)',
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name='orderitem',
                    name='product',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='inventory.product'),
                ),
            ],
        ),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
