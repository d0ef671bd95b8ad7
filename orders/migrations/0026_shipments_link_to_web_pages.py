# Apart from the orders: whoever ships locks the order first.

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0025_what_waits_for_staff'),
    ]

    operations = [
        AddConstraintNotValid(  # validated by the next one
            model_name='shipment',
            constraint=models.CheckConstraint(condition=models.Q(('tracking_url', ''), ('tracking_url__regex', '^https?://'), _connector='OR'), name='shipment_tracking_url_is_a_web_page', violation_error_message='An address begins with https:// or http://.'),
        ),
    ]
