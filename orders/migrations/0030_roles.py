from django.db import migrations


def make(apps, schema_editor):
    # The table as it is now: a migration that comes after a change of it calls this again.
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0029b_item_tax_class_kept'),
        ('audit', '0012_right_to_export'),
        ('integrations', '0001_support_and_marketing'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
