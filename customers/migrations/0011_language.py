from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0010_notes'),
    ]

    operations = [
        migrations.AddField(
            model_name='customer',
            name='language',
            field=models.CharField(blank=True, choices=[('en', 'English'), ('de', 'Deutsch'), ('fr', 'Français'), ('ar', 'العربية')], db_default='', default='', help_text="Which letters are written in; without one, that of the order, or the shop's", max_length=2),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='customer',
            constraint=models.CheckConstraint(condition=models.Q(('language__regex', '^([a-z]{2})?$')), name='customer_language_is_a_code'),
        ),
    ]
