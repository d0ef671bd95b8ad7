# Reads the table, while orders go on: it takes no lock that they wait for.

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0030c_shipments_go_one_way'),
    ]

    operations = [
        migrations.RunSQL('SET LOCAL statement_timeout = 0', migrations.RunSQL.noop),
        ValidateConstraint(model_name='shipment', name='shipment_status_known'),
        ValidateConstraint(
            model_name='shipment', name='shipment_delivered_at_follows_the_status'
        ),
    ]
