# The tables of fulfilment: new ones, which nobody waits for.

import config.kernel.models
import django.db.models.deletion
import django.db.models.functions.datetime
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('orders', '0031d_shipments_validated'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TrackingEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source', models.CharField(choices=[('generic', 'Generic'), ('easypost', 'EasyPost')], max_length=20)),
                ('event_id', models.CharField(max_length=255)),
                ('tracking_number', models.CharField(max_length=100)),
                ('carrier', models.CharField(blank=True, db_default='', default='', max_length=50)),
                ('stage', models.CharField(choices=[('announced', 'Announced'), ('in_transit', 'In Transit'), ('out_for_delivery', 'Out For Delivery'), ('delivered', 'Delivered'), ('trouble', 'Trouble'), ('unknown', 'Unknown')], max_length=20)),
                ('told', models.CharField(help_text="The carrier's own word for it.", max_length=50)),
                ('happened_at', models.DateTimeField()),
                ('received_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('status', models.CharField(choices=[('received', 'Received'), ('unmatched', 'Unmatched'), ('processed', 'Processed')], db_default='received', default='received', max_length=20)),
                ('processed_at', models.DateTimeField(blank=True, null=True)),
                ('attempts', models.PositiveIntegerField(db_default=0, default=0)),
                ('next_attempt_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('last_error', models.CharField(blank=True, db_default='', default='', max_length=200)),
                ('shipment', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tracking_events', to='orders.shipment')),
            ],
            options={
                'db_table': 'tracking_events',
            },
        ),
        migrations.CreateModel(
            name='ShippingLabel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uuid', models.UUIDField(db_default=models.Func(function='gen_random_uuid'), default=config.kernel.models.new_uuid, editable=False, unique=True)),
                ('request_key', models.CharField(max_length=255, unique=True)),
                ('provider', models.CharField(choices=[('generic', 'Generic'), ('easypost', 'EasyPost')], max_length=20)),
                ('provider_id', models.CharField(blank=True, db_default='', default='', max_length=100)),
                ('status', models.CharField(choices=[('asked', 'Asked'), ('bought', 'Bought'), ('failed', 'Failed'), ('discarded', 'Discarded')], db_default='asked', default='asked', max_length=20)),
                ('units', models.JSONField()),
                ('wanted_service', models.CharField(blank=True, db_default='', default='', max_length=50)),
                ('weight_grams', models.PositiveIntegerField()),
                ('length_mm', models.PositiveIntegerField(blank=True, null=True)),
                ('width_mm', models.PositiveIntegerField(blank=True, null=True)),
                ('height_mm', models.PositiveIntegerField(blank=True, null=True)),
                ('carrier', models.CharField(blank=True, db_default='', default='', max_length=50)),
                ('service', models.CharField(blank=True, db_default='', default='', max_length=50)),
                ('tracking_number', models.CharField(blank=True, db_default='', default='', max_length=100)),
                ('tracking_url', models.URLField(blank=True, db_default='', default='', max_length=500)),
                ('amount', models.DecimalField(blank=True, decimal_places=2, max_digits=12, null=True)),
                ('currency', models.CharField(blank=True, db_default='', default='', max_length=3)),
                ('label_url', models.URLField(blank=True, db_default='', default='', max_length=500)),
                ('last_error', models.CharField(blank=True, db_default='', default='', max_length=500)),
                ('leased_until', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('bought_at', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('order', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='labels', to='orders.order')),
                ('shipment', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='label', to='orders.shipment')),
            ],
            options={
                'db_table': 'shipping_labels',
                'permissions': [('buy_label', 'Can buy a shipping label')],
                'indexes': [models.Index(condition=models.Q(('status', 'asked')), fields=['created_at'], name='idx_shipping_labels_asked')],
                'constraints': [models.CheckConstraint(condition=models.Q(('provider__in', ['generic', 'easypost'])), name='shipping_label_provider_known'), models.CheckConstraint(condition=models.Q(('status__in', ['asked', 'bought', 'failed', 'discarded'])), name='shipping_label_status_known'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'bought'), _negated=True), models.Q(('amount__isnull', False), ('bought_at__isnull', False), models.Q(('currency', ''), _negated=True), models.Q(('carrier', ''), _negated=True), models.Q(('tracking_number', ''), _negated=True)), _connector='OR'), name='shipping_label_bought_has_its_price'), models.CheckConstraint(condition=models.Q(('amount__isnull', True), ('amount__gte', 0), _connector='OR'), name='shipping_label_amount_not_negative'), models.CheckConstraint(condition=models.Q(('shipment__isnull', True), ('status', 'bought'), _connector='OR'), name='shipping_label_sent_was_bought'), models.CheckConstraint(condition=models.Q(models.Q(('label_url', ''), ('label_url__regex', '^https?://'), _connector='OR'), models.Q(('tracking_url', ''), ('tracking_url__regex', '^https?://'), _connector='OR')), name='shipping_label_links_to_web_pages'), models.CheckConstraint(condition=models.Q(('weight_grams__gt', 0)), name='shipping_label_weighs_something')],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='shippinglabel',
            trigger=pgtrigger.compiler.Trigger(name='begins_at_the_beginning', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (NOT (NEW."status" IN (\'asked\')))', func="RAISE EXCEPTION 'pgtrigger: Cannot insert rows from % table', TG_TABLE_NAME;", hash='3808799daf2d7a44fa75e9ea0d1dc90a854e55b4', operation='INSERT', pgid='pgtrigger_begins_at_the_beginning_778a1', table='shipping_labels', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='shippinglabel',
            trigger=pgtrigger.compiler.Trigger(name='legal_transitions', sql=pgtrigger.compiler.UpsertTriggerSql(condition="WHEN (OLD.status IS DISTINCT FROM NEW.status AND NOT (OLD.status || '>' || NEW.status) IN ('asked>bought', 'asked>failed', 'asked>discarded', 'bought>discarded'))", declare='DECLARE _is_valid_transition BOOLEAN;', func='SELECT CONCAT(OLD."status", \':\', NEW."status") = ANY(\'{asked:bought,asked:failed,asked:discarded,bought:discarded}\'::text[]) INTO _is_valid_transition; IF (_is_valid_transition IS FALSE AND OLD."status" IS DISTINCT FROM NEW."status") THEN RAISE EXCEPTION \'pgtrigger: Invalid transition of field "status" from "%" to "%" on table %\', OLD."status", NEW."status", TG_TABLE_NAME; ELSE RETURN NEW; END IF;', hash='48247f5377d4d12ea871e2e73c16cf6fbb300e47', operation='UPDATE', pgid='pgtrigger_legal_transitions_5106b', table='shipping_labels', when='BEFORE')),
        ),
        migrations.AddIndex(
            model_name='trackingevent',
            index=models.Index(condition=models.Q(('status', 'received')), fields=['next_attempt_at'], name='idx_tracking_events_due'),
        ),
        migrations.AddIndex(
            model_name='trackingevent',
            index=models.Index(fields=['tracking_number'], name='idx_tracking_events_number'),
        ),
        migrations.AddConstraint(
            model_name='trackingevent',
            constraint=models.UniqueConstraint(fields=('source', 'event_id'), name='tracking_event_once_per_source'),
        ),
        migrations.AddConstraint(
            model_name='trackingevent',
            constraint=models.CheckConstraint(condition=models.Q(('source__in', ['generic', 'easypost'])), name='tracking_event_source_known'),
        ),
        migrations.AddConstraint(
            model_name='trackingevent',
            constraint=models.CheckConstraint(condition=models.Q(('stage__in', ['announced', 'in_transit', 'out_for_delivery', 'delivered', 'trouble', 'unknown'])), name='tracking_event_stage_known'),
        ),
        migrations.AddConstraint(
            model_name='trackingevent',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['received', 'unmatched', 'processed'])), name='tracking_event_status_known'),
        ),
        migrations.AddConstraint(
            model_name='trackingevent',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('processed_at__isnull', False), ('shipment__isnull', False), ('status', 'processed')), models.Q(models.Q(('status', 'processed'), _negated=True), ('processed_at__isnull', True), ('shipment__isnull', True)), _connector='OR'), name='tracking_event_processed_about_a_parcel'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='trackingevent',
            trigger=pgtrigger.compiler.Trigger(name='begins_at_the_beginning', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (NOT (NEW."status" IN (\'received\')))', func="RAISE EXCEPTION 'pgtrigger: Cannot insert rows from % table', TG_TABLE_NAME;", hash='45a7df5a8a2e0222ef94291cc454d576b494b202', operation='INSERT', pgid='pgtrigger_begins_at_the_beginning_47258', table='tracking_events', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='trackingevent',
            trigger=pgtrigger.compiler.Trigger(name='legal_transitions', sql=pgtrigger.compiler.UpsertTriggerSql(condition="WHEN (OLD.status IS DISTINCT FROM NEW.status AND NOT (OLD.status || '>' || NEW.status) IN ('received>unmatched', 'received>processed', 'unmatched>processed'))", declare='DECLARE _is_valid_transition BOOLEAN;', func='SELECT CONCAT(OLD."status", \':\', NEW."status") = ANY(\'{received:unmatched,received:processed,unmatched:processed}\'::text[]) INTO _is_valid_transition; IF (_is_valid_transition IS FALSE AND OLD."status" IS DISTINCT FROM NEW."status") THEN RAISE EXCEPTION \'pgtrigger: Invalid transition of field "status" from "%" to "%" on table %\', OLD."status", NEW."status", TG_TABLE_NAME; ELSE RETURN NEW; END IF;', hash='256b9d8b7a75f3f59e6ac2645b7af5cbffdfe67c', operation='UPDATE', pgid='pgtrigger_legal_transitions_48f54', table='tracking_events', when='BEFORE')),
        ),
    ]
