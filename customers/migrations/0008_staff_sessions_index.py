"""Built while shoppers log in: nothing waits for it. May be run again after it has failed."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('customers', '0007_staff_sessions'),
    ]

    operations = [
        migrations.RunSQL(
            'DROP INDEX CONCURRENTLY IF EXISTS idx_sessions_staff', migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            model_name='session',
            index=models.Index(
                condition=models.Q(('staff_since__isnull', False)),
                fields=['staff_since'],
                name='idx_sessions_staff',
            ),
        ),
    ]
