# Reads the whole table, while orders go on: it takes no lock that they wait for.

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0031_language'),
    ]

    operations = [
        migrations.RunSQL('SET LOCAL statement_timeout = 0', migrations.RunSQL.noop),
        ValidateConstraint(model_name='order', name='order_language_is_a_code'),
    ]
