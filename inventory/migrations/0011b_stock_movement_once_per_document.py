"""Reads all movements while others are written, and stops none of them.

Each statement commits by itself, and all of them may be run again after one has failed.
"""

from django.db import migrations, models

FORWARDS = [
    'SET statement_timeout = 0; SET lock_timeout = 0',  # it waits for others, nobody for it
    'ALTER TABLE stock_movements VALIDATE CONSTRAINT stock_movement_kind_known',
    'ALTER TABLE stock_movements VALIDATE CONSTRAINT stock_movement_moves_something',
    'ALTER TABLE stock_movements VALIDATE CONSTRAINT stock_movement_document_fits_kind',
    'DROP INDEX CONCURRENTLY IF EXISTS stock_movement_once_per_document',
    'CREATE UNIQUE INDEX CONCURRENTLY stock_movement_once_per_document'
    ' ON stock_movements (document_id, stock_level_id) WHERE document_id IS NOT NULL',
    'RESET statement_timeout; RESET lock_timeout',
]


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('inventory', '0011_stock_movements_of_documents'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    FORWARDS, 'DROP INDEX CONCURRENTLY stock_movement_once_per_document'
                ),
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name='stockmovement',
                    constraint=models.UniqueConstraint(condition=models.Q(('document__isnull', False)), fields=('document', 'stock_level'), name='stock_movement_once_per_document'),
                ),
            ],
        ),
    ]
