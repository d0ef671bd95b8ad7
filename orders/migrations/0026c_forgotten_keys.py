# That an order's key is forgotten is no change of it: updated_at stays.

import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0026b_shipments_validated'),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='order',
            name='touch_updated_at',
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='order',
            trigger=pgtrigger.compiler.Trigger(name='touch_updated_at', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (NOT (OLD.idempotency_key_id IS NOT NULL AND NEW.idempotency_key_id IS NULL AND NEW.erased_at IS NOT DISTINCT FROM OLD.erased_at))', func='NEW.updated_at = now(); RETURN NEW;', hash='b80c6a74c3ef69762a257ab45e5d0969afe580e8', operation='UPDATE', pgid='pgtrigger_touch_updated_at_fd1e9', table='orders', when='BEFORE')),
        ),
    ]
