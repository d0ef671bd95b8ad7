# Reads both tables, while orders go on: it takes no lock that they wait for.

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0014b_item_tax_rates_kept'),
    ]

    operations = [
        migrations.RunSQL('SET LOCAL statement_timeout = 0', migrations.RunSQL.noop),
        ValidateConstraint(model_name='order', name='order_shipping_tax_rate_is_a_fraction'),
        ValidateConstraint(model_name='orderitem', name='order_item_tax_rate_is_a_fraction'),
    ]
