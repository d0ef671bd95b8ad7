# A small table: as many rows as labels were ever bought.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0004_roles'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='shippinglabel',
            index=models.Index(condition=models.Q(('status', 'asked')), fields=['created_at'], name='idx_shipping_labels_asked'),
        ),
    ]
