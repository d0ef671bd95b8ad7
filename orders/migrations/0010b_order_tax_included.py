# Apart from the coupons: an order that is being placed has read them and goes on to write here.

import django.db.models.expressions
import pgtrigger.compiler
import pgtrigger.migrations
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0010_pricing_terms'),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='order',
            name='amounts_are_frozen',
        ),
        migrations.RemoveConstraint(
            model_name='order',
            name='order_total_adds_up',
        ),
        migrations.AddField(
            model_name='order',
            name='tax_included',
            field=models.BooleanField(db_default=False, default=False),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='order',
            trigger=pgtrigger.compiler.Trigger(name='amounts_are_frozen', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD."public_id" IS DISTINCT FROM (NEW."public_id") OR OLD."order_number" IS DISTINCT FROM (NEW."order_number") OR OLD."subtotal" IS DISTINCT FROM (NEW."subtotal") OR OLD."tax_amount" IS DISTINCT FROM (NEW."tax_amount") OR OLD."shipping_amount" IS DISTINCT FROM (NEW."shipping_amount") OR OLD."discount_amount" IS DISTINCT FROM (NEW."discount_amount") OR OLD."total_amount" IS DISTINCT FROM (NEW."total_amount") OR OLD."tax_included" IS DISTINCT FROM (NEW."tax_included") OR OLD."currency" IS DISTINCT FROM (NEW."currency"))', func="RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;", hash='265fdc027d93c02ca7f1bb53bfc63b5baa971efd', operation='UPDATE', pgid='pgtrigger_amounts_are_frozen_e0c57', table='orders', when='BEFORE')),
        ),
        AddConstraintNotValid(  # without reading the table under its lock; validated by the next one
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('tax_included', False), ('total_amount', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('subtotal'), '-', models.F('discount_amount')), '+', models.F('shipping_amount')), '+', models.F('tax_amount')))), models.Q(('tax_amount__lte', models.F('total_amount')), ('tax_included', True), ('total_amount', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('subtotal'), '-', models.F('discount_amount')), '+', models.F('shipping_amount')))), _connector='OR'), name='order_total_adds_up'),
        ),
    ]
