from django.db import migrations


def make(apps, schema_editor):
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0022_roles'),
        ('inventory', '0011b_stock_movement_once_per_document'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
