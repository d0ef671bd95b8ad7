from django.db import migrations


def make(apps, schema_editor):
    # The table as it is now: a migration that comes after a change of it calls this again.
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0022_background_jobs'),
        ('customers', '0009_rights_to_export'),
        ('inventory', '0012_rights_to_export'),
        ('payments', '0007_rights_to_export'),
        ('audit', '0005_staff_permissions'),
        ('account', '0009_emailaddress_unique_primary_email'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('mfa', '0003_authenticator_type_uniq'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
