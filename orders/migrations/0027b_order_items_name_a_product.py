"""Make sure that `order_items.product_id` has its foreign key; where it has, this changes nothing.

An earlier form of 0019 dropped it and made it anew. Where the second step failed it is missing.
"""

from django.db import migrations

NAME = 'order_items_product_id_dd557d5a_fk_products_id'


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('orders', '0027_proposals_that_end_an_order'),
    ]

    operations = [
        # NOT VALID: no row is looked at under the lock. Then all are, and nobody waits for it.
        migrations.RunSQL(
            f"""
            DO $$ BEGIN
                IF NOT EXISTS (
                    SELECT FROM pg_constraint
                    WHERE conrelid = 'order_items'::regclass AND conname = '{NAME}'
                ) THEN
                    ALTER TABLE order_items ADD CONSTRAINT {NAME}
                        FOREIGN KEY (product_id) REFERENCES products (id)
                        DEFERRABLE INITIALLY DEFERRED NOT VALID;
                END IF;
            END $$
            """,
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL('SET statement_timeout = 0', migrations.RunSQL.noop),
        migrations.RunSQL(f'ALTER TABLE order_items VALIDATE CONSTRAINT {NAME}', migrations.RunSQL.noop),
        migrations.RunSQL('RESET statement_timeout', migrations.RunSQL.noop),
    ]
