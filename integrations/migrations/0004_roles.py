from django.db import migrations


def make(apps, schema_editor):
    # The table as it is now: a migration that comes after a change of it calls this again.
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0003_webhooks'),
        ('audit', '0012_right_to_export'),
        ('customers', '0013_email_suppressions'),
        ('orders', '0033_stock_alerts'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
