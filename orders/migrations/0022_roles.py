from django.db import migrations


def make(apps, schema_editor):
    # The table as it is now: permissions that a later migration brings are in it already, and
    # this makes them, too. A migration that comes after a change of the table calls it again.
    from orders.roles import make_roles

    make_roles()


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0021_refund_proposals'),
        ('customers', '0006_staff_permissions'),
        ('inventory', '0009_product_image_alt'),
        ('payments', '0006_staff_permissions'),
        ('audit', '0005_staff_permissions'),
        ('account', '0009_emailaddress_unique_primary_email'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('mfa', '0003_authenticator_type_uniq'),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
