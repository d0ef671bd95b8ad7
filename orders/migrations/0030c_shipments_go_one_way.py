# Apart from the orders: whoever ships locks the order first.

import pgtrigger.compiler
import pgtrigger.migrations
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0030b_shipments_that_arrived'),
    ]

    operations = [
        pgtrigger.migrations.AddTrigger(
            model_name='shipment',
            trigger=pgtrigger.compiler.Trigger(name='begins_at_the_beginning', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (NOT (NEW."status" IN (\'sent\')))', func="RAISE EXCEPTION 'pgtrigger: Cannot insert rows from % table', TG_TABLE_NAME;", hash='120c5cb6a67b0653f9d24dd6b5832a83724cffbc', operation='INSERT', pgid='pgtrigger_begins_at_the_beginning_bf310', table='shipments', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='shipment',
            trigger=pgtrigger.compiler.Trigger(name='legal_transitions', sql=pgtrigger.compiler.UpsertTriggerSql(condition="WHEN (OLD.status IS DISTINCT FROM NEW.status AND NOT (OLD.status || '>' || NEW.status) IN ('sent>in_transit', 'sent>delivered', 'in_transit>delivered'))", declare='DECLARE _is_valid_transition BOOLEAN;', func='SELECT CONCAT(OLD."status", \':\', NEW."status") = ANY(\'{sent:in_transit,sent:delivered,in_transit:delivered}\'::text[]) INTO _is_valid_transition; IF (_is_valid_transition IS FALSE AND OLD."status" IS DISTINCT FROM NEW."status") THEN RAISE EXCEPTION \'pgtrigger: Invalid transition of field "status" from "%" to "%" on table %\', OLD."status", NEW."status", TG_TABLE_NAME; ELSE RETURN NEW; END IF;', hash='1e6dee223e41a70f312759a075e6dd0b68435573', operation='UPDATE', pgid='pgtrigger_legal_transitions_776a6', table='shipments', when='BEFORE')),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='shipment',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['sent', 'in_transit', 'delivered'])), name='shipment_status_known'),
        ),
        AddConstraintNotValid(  # likewise
            model_name='shipment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('delivered_at__isnull', False), ('status', 'delivered')), models.Q(models.Q(('status', 'delivered'), _negated=True), ('delivered_at__isnull', True)), _connector='OR'), name='shipment_delivered_at_follows_the_status'),
        ),
    ]
