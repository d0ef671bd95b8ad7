# Apart from the new tables: movements go on meanwhile.

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0010_stock_documents'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='stockmovement',
            name='stock_movement_kind_known',
        ),
        migrations.RemoveConstraint(
            model_name='stockmovement',
            name='stock_movement_moves_something',
        ),
        migrations.AddField(
            model_name='stockmovement',
            name='document',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='movements', to='inventory.stockdocument'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='kind',
            field=models.CharField(choices=[('receive', 'Receive'), ('adjust', 'Adjust'), ('count', 'Count'), ('transfer', 'Transfer'), ('ship', 'Ship'), ('return', 'Return')], max_length=20),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='stockmovement',
            trigger=pgtrigger.compiler.Trigger(name='transfer_adds_up_to_zero', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (NEW."kind" = \'transfer\')', constraint='CONSTRAINT', func="\n                    IF (SELECT sum(quantity) FROM stock_movements\n                            WHERE document_id = NEW.document_id AND kind = 'transfer') <> 0 THEN\n                        RAISE EXCEPTION 'transfer % does not add up', NEW.document_id;\n                    END IF;\n                    RETURN NULL;\n                ", hash='0ff23d34f41e60e1feb016c24062d607ca2edec9', operation='INSERT', pgid='pgtrigger_transfer_adds_up_to_zero_5b872', table='stock_movements', timing='DEFERRABLE INITIALLY DEFERRED', when='AFTER')),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='stockmovement',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['receive', 'adjust', 'count', 'transfer', 'ship', 'return'])), name='stock_movement_kind_known'),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='stockmovement',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('quantity', 0), _negated=True), ('kind', 'count'), _connector='OR'), name='stock_movement_moves_something'),
        ),
        AddConstraintNotValid(  # validated by the next one
            model_name='stockmovement',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('document__isnull', False), models.Q(('kind__in', ['ship', 'return']), _negated=True)), models.Q(('document__isnull', True), models.Q(('kind__in', ['count', 'transfer']), _negated=True)), _connector='OR'), name='stock_movement_document_fits_kind'),
        ),
    ]
