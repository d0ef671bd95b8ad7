from django.db import migrations

# `catalogue` is English with accents folded, where the server has `unaccent`: "Crème" is "creme".
CONFIGURATION = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TEXT SEARCH CONFIGURATION catalogue (COPY = english);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'unaccent') THEN
        CREATE EXTENSION IF NOT EXISTS unaccent;
        ALTER TEXT SEARCH CONFIGURATION catalogue
            ALTER MAPPING FOR hword, hword_part, word WITH unaccent, english_stem;
    END IF;
END;
$$;
"""
# Unknown to the model: it would be read with every product, and only PostgreSQL looks into it.
COLUMN = """
SET LOCAL statement_timeout = 0;
ALTER TABLE products ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS (
    setweight(to_tsvector('catalogue', name), 'A')
    || setweight(to_tsvector('catalogue', description), 'C')
    || setweight(jsonb_to_tsvector('catalogue', attributes, '["string", "numeric"]'), 'D')
) STORED;
CREATE INDEX idx_products_search ON products USING gin (search);
CREATE INDEX idx_products_name_trigrams ON products USING gin (name gin_trgm_ops);
"""


class Migration(migrations.Migration):
    """Writes the table of products anew, under its lock: some seconds for 100,000 of them.

    However long it takes, nobody reads or orders a product meanwhile: docs/catalogue.md.
    """

    dependencies = [("inventory", "0006_category_tree")]

    operations = [
        migrations.RunSQL(CONFIGURATION, "DROP TEXT SEARCH CONFIGURATION catalogue"),
        migrations.RunSQL(
            COLUMN,
            "DROP INDEX idx_products_name_trigrams; ALTER TABLE products DROP COLUMN search",
        ),
    ]
