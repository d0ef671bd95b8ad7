from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0030d_shipments_validated'),
    ]

    operations = [
        migrations.AddField(
            model_name='order',
            name='language',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=2),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('language__regex', '^([a-z]{2})?$')), name='order_language_is_a_code'),
        ),
    ]
