# Apart from the orders: whoever reads lines with their orders may lock them the other way round.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0029_tax_class_of_shipping_kept'),
    ]

    operations = [
        migrations.AddField(
            model_name='orderitem',
            name='tax_class',
            field=models.CharField(blank=True, editable=False, max_length=30, null=True),
        ),
    ]
