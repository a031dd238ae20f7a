-- The needs of one document: (kind, name, where in the document).
CREATE FUNCTION journey._needs(doc jsonb) RETURNS TABLE (need text, name text, types text[], pointer text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    mark record;
    path text[];
    at_hand text[];
    word text;
BEGIN
    FOR mark IN SELECT f ->> 'mark' AS means, f ->> 'pointer' AS pointer, f ->> 'value' AS value
                FROM jsonb_array_elements(journey._schema_check(journey.json_schema() -> '$defs', '{"$ref": "#/$defs/document"}', doc, '')) AS f
                WHERE f ? 'mark'
                -- the short forms of a key are expressions, too
                UNION ALL
                SELECT 'expression', format('/entry/%s/key', n - 1),
                       'event.' || CASE e ->> 'key' WHEN 'product' THEN 'sku' ELSE e ->> 'key' || '_id' END
                FROM jsonb_array_elements(doc -> 'entry') WITH ORDINALITY AS t (e, n) WHERE jsonb_typeof(e -> 'key') = 'string' LOOP
        pointer := mark.pointer;
        types := NULL;
        IF mark.means IN ('event_type', 'channel', 'template', 'feature') THEN
            need := CASE mark.means WHEN 'event_type' THEN 'event' ELSE mark.means END;
            name := mark.value;
            IF name <> '*' THEN
                RETURN NEXT;
            END IF;
        ELSIF mark.means IN ('condition', 'expression', 'event_value') THEN
            -- the event at hand is that of the entry, exit, match or feature in which it stands
            path := string_to_array(replace(replace(substr(mark.pointer, 2), '~1', '/'), '~0', '~'), '/');
            at_hand := NULL;
            FOR i IN REVERSE cardinality(path) .. 0 LOOP
                IF jsonb_typeof(doc #> path[1:i]) = 'object' AND doc #> path[1:i] ? 'on' THEN
                    at_hand := journey._list(doc #> path[1:i] -> 'on');
                    EXIT;
                END IF;
            END LOOP;
            FOREACH word IN ARRAY journey._names_read(CASE WHEN mark.means = 'event_value'
                                                           THEN regexp_replace(mark.value, '^[a-z0-9_]+$', 'event.\&') ELSE mark.value END) LOOP
                need := CASE split_part(word, '.', 1)
                    WHEN 'event' THEN 'property' WHEN 'feature' THEN 'feature' WHEN 'source' THEN 'source' WHEN 'consent' THEN 'consent'
                    WHEN 'profile' THEN 'trait' ELSE 'field' END;
                name := CASE need WHEN 'field' THEN word ELSE substr(word, strpos(word, '.') + 1) END;
                types := CASE need WHEN 'property' THEN at_hand END;
                CONTINUE WHEN word IN ('event.type', 'event.occurred_at', 'event.source', 'event.scope', 'profile.stage', 'profile.confidence')
                    OR need = 'field' AND (journey._name_sources(word)).kinds IS NULL;
                RETURN NEXT;
            END LOOP;
        END IF;
    END LOOP;
    types := NULL;
    -- what a send asks for without saying so
    FOR mark IN SELECT s.key, s.value -> 'send' AS send FROM jsonb_each(doc -> 'steps') AS s WHERE s.value ? 'send' LOOP
        pointer := journey._pointer('/steps', mark.key) || '/send';
        IF EXISTS (SELECT FROM jsonb_array_elements_text(mark.send -> 'require') AS r WHERE r LIKE 'stock:%') THEN
            need := 'stock'; name := 'product.available';
            RETURN NEXT;
        END IF;
        need := 'source';
        FOR name IN SELECT DISTINCT jsonb_object_keys(r -> 'max_age') FROM jsonb_array_elements(mark.send -> 'require') AS r WHERE r ? 'max_age' ORDER BY 1 LOOP
            RETURN NEXT;
        END LOOP;
        FOREACH word IN ARRAY journey._list(mark.send -> 'channel') LOOP
            need := 'address'; name := journey._lookup('channel', word, '[]') ->> 'address';
            IF name IS NOT NULL THEN
                RETURN NEXT;
                need := 'consent'; name := word || '_marketing';
                IF doc ->> 'purpose' = 'marketing' THEN
                    RETURN NEXT;
                END IF;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._needs(jsonb) IS
    'What a journey or feature names: events, their properties (of these types; null = of whichever is at hand), fields, traits, features, consents, addresses, stock, sources, channels and templates, each with its place in the document.';

-- How often the newest events of a type have a property; never scanned for a type that was not seen.
CREATE FUNCTION journey._property_seen(type text, property text, OUT seen bigint, OUT having_it bigint)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    SELECT count(*), count(*) FILTER (WHERE e.props -> property <> 'null') INTO seen, having_it
    FROM (SELECT x.props FROM journey.event AS x
          WHERE x.type = _property_seen.type AND x.received_at > journey.clock() - interval '30 days'
            AND EXISTS (SELECT FROM journey.event_type AS t WHERE t.type = _property_seen.type AND t.seen > 0)
          LIMIT 1000) AS e;
END
$$;
COMMENT ON FUNCTION journey._property_seen(text, text) IS
    'Of up to 1,000 events of a type of the last 30 days: how many there are, and how many have the property.';

CREATE FUNCTION journey._event_ready(type text, OUT ready boolean, OUT provided_by text, OUT detail text, OUT hint text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    seen journey.event_type;
    attached record := journey._attached_type(type);
BEGIN
    SELECT t.* INTO seen FROM journey.event_type AS t WHERE t.type = _event_ready.type;
    provided_by := coalesce(attached.given, CASE WHEN seen.seen > 0 THEN 'what is sent' END);
    ready := provided_by IS NOT NULL AND (attached.fault IS NULL OR seen.seen > 0);
    detail := concat_ws('; ', attached.fault,
                        CASE WHEN seen.seen > 0 THEN format('%s seen, the last at %s', seen.seen, seen.last_at)
                             WHEN attached.given IS NOT NULL THEN 'none seen yet' ELSE 'never seen' END);
    IF NOT ready THEN
        hint := CASE WHEN attached.fault IS NOT NULL THEN 'Attach the table again with a map that says it, or send it with journey.track().'
                     WHEN (journey._type_sources(type)).kind IS NULL THEN 'Have the system that knows of it send it with journey.track().'
                     ELSE format('Attach a table as %s, or send it with journey.track().', (journey._type_sources(type)).kind) END;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._event_ready(text) IS 'Whether events of a type come, and whence.';

-- Of a name of the vocabulary: by attached tables first, else by what the events that are sent have.
CREATE FUNCTION journey._field_ready(kinds text[], fields text[], types text[], property text,
                                     OUT ready boolean, OUT provided_by text, OUT detail text, OUT hint text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    attached record;
    counted record;
    faults text[] := '{}';
    i integer;
    type text;
BEGIN
    FOR i IN 1 .. coalesce(cardinality(kinds), 0) LOOP
        attached := journey._attached_field(kinds[i], fields[i]);
        IF attached.given IS NOT NULL THEN
            ready := true;
            provided_by := attached.given;
            detail := format('"%s" of %s', fields[i], kinds[i]);
            RETURN;
        END IF;
        faults := faults || attached.fault;
    END LOOP;
    FOREACH type IN ARRAY coalesce(types, '{}') LOOP
        counted := journey._property_seen(type, coalesce(property, ''));
        IF counted.having_it > 0 OR property IS NULL AND counted.seen > 0 THEN
            ready := true;
            provided_by := 'what is sent';
            detail := CASE WHEN property IS NULL THEN format('%s was seen', type)
                           ELSE format('%s of the newest %s %s have "%s"', counted.having_it, counted.seen, type, property) END;
            RETURN;
        END IF;
        faults := faults || CASE WHEN counted.seen = 0 THEN format('%s was not seen in 30 days', type)
                                 ELSE format('none of the newest %s %s has "%s"', counted.seen, type, property) END;
    END LOOP;
    ready := false;
    detail := array_to_string(array_remove(faults, NULL), '; ');
    hint := concat_ws(' ',
        CASE WHEN cardinality(kinds) > 0 THEN format('Map "%s" when attaching the table of kind %s%s', fields[1], kinds[1],
                                                     CASE WHEN cardinality(types) > 0 THEN ', or send' ELSE '.' END) ELSE 'Send' END,
        CASE WHEN cardinality(types) > 0 THEN format('%s%s with journey.track().', array_to_string(types, ' or '),
                                                     CASE WHEN property IS NOT NULL THEN format(' with "%s"', property) ELSE '' END) END);
END
$$;
COMMENT ON FUNCTION journey._field_ready(text[], text[], text[], text) IS
    'Whether one of these fields of attached tables, or the property of one of these events, is there.';
