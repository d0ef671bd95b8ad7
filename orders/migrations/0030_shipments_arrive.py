# Columns with a default that the catalogue keeps: no row is rewritten.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0029b_item_tax_class_kept'),
    ]

    operations = [
        migrations.AddField(
            model_name='shipment',
            name='status',
            field=models.CharField(choices=[('sent', 'Sent'), ('in_transit', 'In Transit'), ('delivered', 'Delivered')], db_default='sent', default='sent', max_length=20),
        ),
        migrations.AddField(
            model_name='shipment',
            name='delivered_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
