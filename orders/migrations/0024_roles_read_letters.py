from django.db import migrations


def make(apps, schema_editor):
    # Letters, notes and payment links are there now, for the roles that were to have them.
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0023_letters_notes_links'),
        ('customers', '0007_notes'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
