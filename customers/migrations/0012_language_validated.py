# Reads the whole table, while accounts are used: it takes no lock that they wait for.

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0011_language'),
    ]

    operations = [
        migrations.RunSQL('SET LOCAL statement_timeout = 0', migrations.RunSQL.noop),
        ValidateConstraint(model_name='customer', name='customer_language_is_a_code'),
    ]
