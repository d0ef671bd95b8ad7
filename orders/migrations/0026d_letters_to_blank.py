"""An index by which old letters are found. Built while letters go out: nothing waits for it.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('orders', '0026c_forgotten_keys'),
    ]

    operations = [
        # It waits for others, nobody for it.
        migrations.RunSQL('SET statement_timeout = 0; SET lock_timeout = 0', migrations.RunSQL.noop),
        # What a try that failed has left over.
        migrations.RunSQL(
            'DROP INDEX CONCURRENTLY IF EXISTS idx_letters_readable', migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            model_name='letter',
            index=models.Index(condition=models.Q(('body_text', ''), _negated=True), fields=['sent_at'], name='idx_letters_readable'),
        ),
        migrations.RunSQL('RESET statement_timeout; RESET lock_timeout', migrations.RunSQL.noop),
    ]
