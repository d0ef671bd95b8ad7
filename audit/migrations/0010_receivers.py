"""How it stands with each subscriber, and of what a delivery is about: the work of a moment.

The new columns are NULL in the rows there are: PostgreSQL writes none of them.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0009_xid_index'),
    ]

    operations = [
        migrations.CreateModel(
            name='Receiver',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subscriber', models.CharField(max_length=60, unique=True)),
                ('failures', models.PositiveIntegerField(db_default=0, default=0)),
                ('trials', models.PositiveIntegerField(db_default=0, default=0)),
                ('failing_since', models.DateTimeField(blank=True, null=True)),
                ('retry_at', models.DateTimeField(blank=True, null=True)),
                ('spent_until', models.DateTimeField(blank=True, null=True)),
                ('paused_at', models.DateTimeField(blank=True, null=True)),
                ('last_told_at', models.DateTimeField(blank=True, null=True)),
                ('last_error', models.CharField(blank=True, db_default='', default='', max_length=500)),
            ],
            options={
                'db_table': 'receivers',
                'permissions': [('pause_receiver', 'Can pause deliveries to a receiver, and go on')],
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='aggregate_id',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='aggregate_type',
            field=models.CharField(blank=True, max_length=30, null=True),
        ),
    ]
