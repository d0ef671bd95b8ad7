from django.db import migrations


def make(apps, schema_editor):
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0023_background_jobs'),
        ('customers', '0009_rights_to_export'),
        ('inventory', '0010_rights_to_export'),
        ('payments', '0007_rights_to_export'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
