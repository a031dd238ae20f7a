-- What a journey depends on: each event, property, column and person's datum that it
-- reads, and whether this database has it. readiness() asks for the least of every use case.

-- Names that an expression reads, with the types of event that are at hand where it stands.
CREATE FUNCTION journey._names_read(expression text) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    bare text := journey._bare(expression);
    features text[] := ARRAY(SELECT d.name FROM journey.document AS d WHERE d.kind = 'feature' AND d.state IN ('active', 'draft'));
BEGIN
    RETURN ARRAY(
        SELECT CASE WHEN r[2] LIKE '"%' THEN lower(r[1]) || '.' || btrim(r[2], '"') ELSE lower(r[1] || '.' || r[2]) END
        FROM regexp_matches(bare, '\m([a-z]+)\.("[^"]+"|[a-z_][a-z0-9_]*)', 'gi') AS r
        WHERE lower(r[1]) <> 'source'
        UNION
        SELECT 'source.' || r[1] FROM regexp_matches(expression, '\msource\.age\(\s*''([^'']+)''', 'gi') AS r
        UNION
        SELECT 'feature.' || lower(r[1]) FROM regexp_matches(bare, '(?<![.\w"])([a-z_][a-z0-9_]*)(?![\w.(])', 'gi') AS r
        WHERE lower(r[1]) = ANY (features)
        ORDER BY 1);
END
$$;
COMMENT ON FUNCTION journey._names_read(text) IS
    'Names that a condition or an expression reads: of the vocabulary as they stand, features as feature.name, ages of sources as source.name.';

-- What of each kind of attached table gives a name, and what event brings it to a shop that attaches none.
CREATE FUNCTION journey._name_sources(name text, OUT kinds text[], OUT fields text[], OUT types text[], OUT property text)
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part text := substr(name, strpos(name, '.') + 1);
BEGIN
    SELECT s.kinds, s.fields, s.types, s.property INTO kinds, fields, types, property
    FROM (VALUES
        ('cart.id', '{cart_line}'::text[], '{key}'::text[], '{cart_item_added}'::text[], 'cart_id'),
        ('cart.status', '{cart,cart_line}', '{status,key}', '{cart_item_added}', 'cart_id'),
        ('cart.items', '{cart_line}', '{key}', '{cart_item_added}', 'cart_id'),
        ('cart.lines', '{cart_line}', '{key}', '{cart_item_added}', 'cart_id'),
        ('cart.age', '{cart_line}', '{key}', '{cart_item_added}', 'cart_id'),
        ('cart.value', '{cart_line}', '{price}', '{cart_item_added}', 'price'),
        ('cart.currency', '{cart}', '{currency}', '{cart_item_added}', 'currency'),
        ('cart.skus', '{cart_line}', '{sku}', '{cart_item_added}', 'sku'),
        ('cart.top_sku', '{cart_line}', '{sku}', '{cart_item_added}', 'sku'),
        ('cart.categories', '{product}', '{category}', '{product_changed}', 'category'),
        ('cart.top_category', '{product}', '{category}', '{product_changed}', 'category'),
        ('order.id', '{order}', '{key}', '{order_placed}', 'order_id'),
        ('order.placed_at', '{order}', '{at}', '{order_placed}', NULL),
        ('order.lines', '{order_line}', '{key}', '{order_placed}', 'lines'),
        ('order.skus', '{order_line}', '{sku}', '{order_placed}', 'lines'),
        ('orders.count', '{order}', '{key}', '{order_placed}', 'order_id'),
        ('orders.sum', '{order}', '{amount}', '{order_placed}', 'amount'),
        ('orders.last_at', '{order}', '{at}', '{order_placed}', NULL),
        ('orders.days_since', '{order}', '{at}', '{order_placed}', NULL),
        ('shipment.id', '{shipment}', '{key}', '{shipment_shipped}', 'shipment_id'),
        ('shipment.order_id', '{shipment}', '{order}', '{shipment_shipped}', 'order_id'),
        ('returns.last_reason', '{return}', '{reason}', '{return_requested}', 'reason'),
        ('product.views', '{}', '{}', '{product_viewed}', 'sku'),
        ('product.repeat_views', '{}', '{}', '{product_viewed}', 'sku'),
        ('product.dwell_seconds', '{}', '{}', '{product_engaged}', 'dwell_seconds'),
        ('product.available', '{stock,product}', '{available,available}', '{stock_changed}', 'available'),
        ('product.price', '{product}', '{price}', '{product_changed,price_changed}', 'price')
    ) AS s (name, kinds, fields, types, property)
    WHERE s.name = _name_sources.name;
    IF FOUND THEN
        RETURN;
    END IF;
    CASE split_part(name, '.', 1)
    WHEN 'order' THEN kinds := '{order}'; types := '{order_placed}';
    WHEN 'shipment' THEN kinds := '{shipment}'; types := '{shipment_shipped}';
    WHEN 'returns' THEN kinds := '{return}'; types := '{return_requested}'; part := 'key';
    WHEN 'product' THEN kinds := '{product}'; types := '{product_changed}';
    WHEN 'profile' THEN kinds := '{customer}'; types := '{identified}';
    WHEN 'session' THEN kinds := '{}'; types := '{session_started}';
    WHEN 'tickets' THEN kinds := '{}'; types := '{ticket_opened}';
    ELSE RETURN;
    END CASE;
    fields := array_fill(part, ARRAY[cardinality(kinds)]);
    property := CASE WHEN kinds <> '{}' AND part <> 'key' THEN part END;
END
$$;
COMMENT ON FUNCTION journey._name_sources(text) IS
    'What gives a name of the vocabulary: kinds of attached tables with the field of each, and types of event with the property. Nulls for one that needs nothing.';

-- What the rows of each kind of attached table make events of. A status that no word of the map leads to never comes.
CREATE FUNCTION journey._type_sources(type text, OUT kind text, OUT statuses text[], OUT field text)
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT s.kind, s.statuses, s.field INTO kind, statuses, field
    FROM (VALUES
        ('order_placed', 'order', '{placed,paid,shipped,delivered}'::text[], NULL::text),
        ('order_paid', 'order', '{paid}', NULL), ('order_updated', 'order', NULL, NULL),
        ('order_cancelled', 'order', '{cancelled}', 'on_delete'), ('order_refunded', 'order', '{refunded}', NULL),
        ('order_line_placed', 'order_line', NULL, NULL), ('order_line_returned', 'order_line', '{returned}', NULL),
        ('cart_item_added', 'cart_line', NULL, NULL), ('cart_item_removed', 'cart_line', NULL, NULL),
        ('shipment_shipped', 'shipment', '{shipped}', 'shipped_at'), ('shipment_updated', 'shipment', NULL, NULL),
        ('shipment_delivered', 'shipment', '{delivered}', 'delivered_at'), ('delivery_delayed', 'shipment', '{}', 'expected_at'),
        ('pickup_ready', 'shipment', '{ready}', 'ready_at'), ('picked_up', 'shipment', '{picked_up}', NULL),
        ('return_requested', 'return', '{requested}', 'requested_at'), ('return_updated', 'return', NULL, NULL),
        ('return_received', 'return', '{received}', 'received_at'),
        ('identified', 'customer', NULL, NULL), ('product_changed', 'product', NULL, NULL), ('price_changed', 'product', '{}', 'price'),
        ('stock_changed', 'stock', NULL, NULL), ('consent_granted', 'consent', NULL, NULL), ('consent_revoked', 'consent', NULL, NULL)
    ) AS s (type, kind, statuses, field)
    WHERE s.type = _type_sources.type;
    IF NOT FOUND AND (type LIKE 'message\_%' OR type = 'unsubscribed') THEN
        kind := 'message_event';
        statuses := ARRAY[type];
    END IF;
END
$$;
COMMENT ON FUNCTION journey._type_sources(text) IS
    'Kind of attached table whose rows make events of a type: those with one of these statuses, or with a value in this field. Null: no table does.';

-- A table that gives a field, or why the one that is attached does not.
CREATE FUNCTION journey._attached_field(kind text, field text, OUT given text, OUT fault text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    item record;
    col text;
BEGIN
    FOR item IN SELECT quote_ident(a.rel_schema) || '.' || quote_ident(a.rel_name) AS rel, a.map, a.broken, c.oid
                FROM journey.attachment AS a
                LEFT JOIN pg_namespace AS n ON n.nspname = a.rel_schema
                LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = a.rel_name
                WHERE a.kind = _attached_field.kind AND a.detached_at IS NULL ORDER BY a.attachment LOOP
        SELECT CASE WHEN p.how ? 'const' THEN '=' ELSE coalesce(p.how ->> 'column', p.how #>> '{}') END INTO col
        FROM (SELECT item.map -> field AS how
              UNION ALL SELECT item.map -> o -> field FROM unnest('{props,traits,subject}'::text[]) AS o WHERE jsonb_typeof(item.map -> o) = 'object'
              UNION ALL SELECT to_jsonb(field) FROM unnest('{props,traits}'::text[]) AS o WHERE jsonb_typeof(item.map -> o) = 'array' AND item.map -> o ? field
             ) AS p WHERE p.how IS NOT NULL LIMIT 1;
        IF col IS NULL THEN
            fault := coalesce(fault, format('%s is attached as %s without "%s"', item.rel, kind, field));
        ELSIF item.broken IS NOT NULL THEN
            fault := format('%s: %s', item.rel, item.broken);
        ELSIF item.oid IS NULL THEN
            fault := format('%s is gone', item.rel);
        ELSIF col <> '=' AND col <> ALL (journey._rel_columns(item.oid)) THEN
            fault := format('%s has no column %s any more', item.rel, quote_ident(col));
        ELSE
            given := item.rel || CASE WHEN col = '=' THEN ' (fixed)' ELSE '.' || quote_ident(col) END;
            fault := NULL;
            RETURN;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._attached_field(text, text) IS
    'The column that gives a field of a kind of attached table, as schema.table.column; or why none does. Both null: no table of that kind is attached.';

CREATE FUNCTION journey._attached_type(type text, OUT given text, OUT fault text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    made record := journey._type_sources(type);
    item record;
    how jsonb;
BEGIN
    FOR item IN SELECT quote_ident(a.rel_schema) || '.' || quote_ident(a.rel_name) AS rel, a.map, a.broken
                FROM journey.attachment AS a WHERE a.kind = made.kind AND a.detached_at IS NULL ORDER BY a.attachment LOOP
        how := item.map -> CASE made.kind WHEN 'message_event' THEN 'type' ELSE 'status' END;
        IF item.broken IS NOT NULL THEN
            fault := format('%s: %s', item.rel, item.broken);
        ELSIF made.statuses IS NULL OR coalesce(item.map ? made.field, false)
            OR made.statuses <> '{}' AND (jsonb_typeof(how) = 'string'
                OR how -> 'const' <@ to_jsonb(made.statuses) OR how ? 'column' AND NOT how ? 'values'
                OR EXISTS (SELECT FROM jsonb_each_text(how -> 'values') AS v WHERE v.value = ANY (made.statuses))) THEN
            given := item.rel || ' as ' || made.kind;
            fault := NULL;
            RETURN;
        ELSE
            fault := coalesce(fault, format('%s is attached as %s, and nothing in its map leads to %s', item.rel, made.kind,
                              CASE made.statuses WHEN '{}' THEN '"' || made.field || '"' ELSE array_to_string(made.statuses, ' or ') END));
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._attached_type(text) IS
    'The attached table whose rows make events of a type; or why the attached one does not. Both null: none is attached.';
