from django.db import migrations


def make(apps, schema_editor):
    # The table as it is now: a migration that comes after a change of it calls this again.
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0023_letters_notes_links'),
        ('customers', '0010_notes'),
        ('inventory', '0012_rights_to_export'),
        ('payments', '0007_rights_to_export'),
        ('audit', '0006_outbox_of_order'),
        ('account', '0009_emailaddress_unique_primary_email'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('mfa', '0003_authenticator_type_uniq'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
