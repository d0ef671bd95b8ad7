from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0006c_staff_indexes'),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='staff_since',
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
