# Apart from the orders: whoever reads lines with their orders may lock them the other way round.

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0014_tax_rates_kept'),
    ]

    operations = [
        migrations.AddField(
            model_name='orderitem',
            name='tax_rate',
            field=models.DecimalField(blank=True, decimal_places=5, editable=False, max_digits=6, null=True),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='orderitem',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('tax_rate__gte', 0), ('tax_rate__lt', 1)), ('tax_rate__isnull', True), _connector='OR'), name='order_item_tax_rate_is_a_fraction'),
        ),
    ]
