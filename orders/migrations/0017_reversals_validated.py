# Reads the whole table, while documents are issued: it takes no lock that they wait for.

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0016_reversals'),
    ]

    operations = [
        migrations.RunSQL('SET LOCAL statement_timeout = 0', migrations.RunSQL.noop),
        ValidateConstraint(model_name='invoice', name='invoice_kind_has_its_series'),
    ]
