"""Apart from the tables of carts: orders go on meanwhile, and what is built here stops none.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.db import migrations, models

FORWARDS = [
    'ALTER TABLE orders ADD COLUMN IF NOT EXISTS cart_id uuid NULL',
    'SET statement_timeout = 0; SET lock_timeout = 0',  # it waits for others, nobody for it
    'DROP INDEX CONCURRENTLY IF EXISTS order_one_living_per_cart',
    "CREATE UNIQUE INDEX CONCURRENTLY order_one_living_per_cart ON orders (cart_id)"
    " WHERE NOT status = 'cancelled' AND cart_id IS NOT NULL",
    'RESET statement_timeout; RESET lock_timeout',
]


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('orders', '0009_carts'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(FORWARDS, 'ALTER TABLE orders DROP COLUMN cart_id'),
            ],
            state_operations=[
                migrations.AddField(
                    model_name='order',
                    name='cart_id',
                    field=models.UUIDField(blank=True, editable=False, null=True),
                ),
                migrations.AddConstraint(
                    model_name='order',
                    constraint=models.UniqueConstraint(condition=models.Q(models.Q(('status', 'cancelled'), _negated=True), ('cart_id__isnull', False)), fields=('cart_id',), name='order_one_living_per_cart'),
                ),
            ],
        ),
    ]
