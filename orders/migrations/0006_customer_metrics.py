from django.db import migrations

# Orders from before there were metrics: their facts have long been delivered to everyone else.
# What is confirmed while this runs comes by its own fact.
FILL = """
    SET LOCAL statement_timeout = 0;
    INSERT INTO customer_metrics (customer_id, currency, order_count, lifetime_value)
    SELECT o.customer_id, p.currency,
           count(*) FILTER (WHERE o.status IN ('confirmed', 'processing', 'shipped', 'delivered')),
           coalesce(sum(p.amount_received - p.amount_refunded) FILTER (
               WHERE o.status IN ('confirmed', 'processing', 'shipped', 'delivered')), 0)
    FROM orders o JOIN payments p ON p.order_id = o.id AND p.status = 'succeeded'
    WHERE o.customer_id IS NOT NULL
    GROUP BY o.customer_id, p.currency
    ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0005_refund_lines'),
        ('customers', '0002_customer_metrics'),
    ]

    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
