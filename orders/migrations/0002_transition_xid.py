from django.db import migrations

# The writing transaction, as audit_logs has it: the books compare the two. The Django model does
# not need the column.
ADD = """
ALTER TABLE order_transitions ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()
"""
DROP = "ALTER TABLE order_transitions DROP COLUMN xid"


class Migration(migrations.Migration):
    """Show that a transition and its audit row were written by one transaction."""

    dependencies = [("orders", "0001_initial")]

    operations = [migrations.RunSQL(ADD, DROP)]
