from django.db import migrations

# For the role that runs the migrations, in this database, from its next connection on. Another
# role for the application needs the same three lines: docs/configuration.md.
TIME_LIMITS = """
DO $$
DECLARE
    limits text[][] := ARRAY[
        ['lock_timeout', '2s'],
        ['statement_timeout', '15s'],
        ['idle_in_transaction_session_timeout', '10s']
    ];
    item text[];
BEGIN
    FOREACH item SLICE 1 IN ARRAY limits LOOP
        EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET %s = %L',
                       current_database(), item[1], item[2]);
    END LOOP;
END;
$$;
"""


class Migration(migrations.Migration):
    """No statement and no lock is waited for for ever, whatever goes wrong around it."""

    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunSQL(TIME_LIMITS, migrations.RunSQL.noop)]
