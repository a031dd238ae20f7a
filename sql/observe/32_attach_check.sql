-- Raises what is wrong with one field of a map.
CREATE FUNCTION journey._attach_check_field(rel regclass, kind text, field text, how jsonb) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    columns text[] := journey._rel_columns(rel);
    allowed text[] := journey._attach_values(kind, split_part(field, '.', 1));
    col text := CASE jsonb_typeof(how) WHEN 'string' THEN how #>> '{}' WHEN 'object' THEN how ->> 'column' END;
    key text;
    value jsonb;
BEGIN
    IF jsonb_typeof(how) NOT IN ('string', 'object') OR (col IS NULL AND NOT how ? 'const') THEN
        RAISE EXCEPTION 'field "%" of the map has the wrong shape', field
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write a column name, {"column": name, "values": {shop value: canonical value}} or {"const": value}.';
    END IF;
    IF col IS NOT NULL AND NOT col = ANY (columns) THEN
        RAISE EXCEPTION 'column "%" of the map''s field "%" does not exist in %', col, field, rel
            USING ERRCODE = 'undefined_column',
                  HINT = COALESCE('Did you mean "' || journey._nearest(col, columns) || '"?',
                                  'It has the columns ' || array_to_string(columns, ', ') || '.');
    END IF;
    IF jsonb_typeof(how) = 'object' THEN
        FOR key IN SELECT k FROM jsonb_object_keys(how) k WHERE k NOT IN ('column', 'values', 'const', 'channel', 'purpose', 'basis', 'at') LOOP
            RAISE EXCEPTION 'unknown word "%" in field "%" of the map', key, field
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = COALESCE('Did you mean "' || journey._nearest(key, '{column,values,const}') || '"?', 'Known are column, values and const.');
        END LOOP;
        -- the trigger and whoever names the same person or order elsewhere take keys as they are
        IF how ? 'values' AND (field LIKE 'subject.%' OR field IN ('key', 'order', 'cart', 'line', 'sku')) THEN
            RAISE EXCEPTION 'field "%" of the map is a key and has no values to map', field
                USING ERRCODE = 'invalid_parameter_value',
                      DETAIL = 'People and objects are known by what the column holds.',
                      HINT = 'Name the column alone; a key that other systems write otherwise is a key of its own in the subject.';
        END IF;
        IF how ? 'values' AND jsonb_typeof(how -> 'values') <> 'object' THEN
            RAISE EXCEPTION 'values of field "%" must be an object', field
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write {"shop value": "canonical value", ...}; "" stands for null and "*" for every other value.';
        END IF;
        FOR key, value IN
            SELECT v.key, v.value FROM jsonb_each(COALESCE(how -> 'values', '{}')) v
            UNION ALL SELECT 'const', how -> 'const' WHERE how ? 'const'
        LOOP
            IF jsonb_typeof(value) NOT IN ('string', 'number', 'boolean')
               OR (allowed IS NOT NULL AND NOT value #>> '{}' = ANY (allowed)) THEN
                RAISE EXCEPTION 'value "%" of field "%" is mapped to %, which is not a canonical value', key, field, value
                    USING ERRCODE = 'invalid_parameter_value',
                          HINT = COALESCE('Did you mean "' || journey._nearest(value #>> '{}', allowed) || '"?',
                                          'Canonical are ' || array_to_string(allowed, ', ') || '.',
                                          'Map it to a text, a number or a boolean.');
            END IF;
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_check_field(regclass, text, text, jsonb) IS
    'Raises 42703 for a column that does not exist and 22023 for what else is wrong with a field of a map, each with the nearest right name as hint.';

CREATE FUNCTION journey._attach_check_consents(rel regclass, consents jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    consent jsonb;
    result jsonb := '[]';
BEGIN
    IF jsonb_typeof(consents) <> 'array' THEN
        RAISE EXCEPTION 'consents of the map must be an array'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing", "values": {"true": "granted", "false": "denied"}}].';
    END IF;
    IF jsonb_array_length(consents) > 16 THEN -- JNY_SPEC_CONSENTS
        RAISE EXCEPTION 'the map names % consents', jsonb_array_length(consents)
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'A row of customers may state 16: each may be an opt-out, with a fence of its own.',
                  HINT = 'Keep the others in a table of their own, of kind consent.';
    END IF;
    FOR consent IN SELECT c FROM jsonb_array_elements(consents) c LOOP
        IF jsonb_typeof(consent -> 'channel') IS DISTINCT FROM 'string' OR NOT consent ? 'column' THEN
            RAISE EXCEPTION 'a consent of the map lacks its channel or column: %', consent
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write {"channel": "email", "purpose": "marketing", "column": "accepts_marketing"}.';
        END IF;
        -- a plain flag needs no words: yes is granted, no is denied
        consent := '{"purpose": "marketing", "values": {"true": "granted", "false": "denied"}}'::jsonb || consent;
        PERFORM journey._attach_check_field(rel, 'consent', 'state', consent);
        IF consent ? 'at' THEN
            PERFORM journey._attach_check_field(rel, 'consent', 'consents.at', consent -> 'at');
        END IF;
        result := result || jsonb_build_array(consent);
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION journey._attach_check_consents(regclass, jsonb) IS
    'Checks the consents of a customer map and returns them with purpose and values filled in.';

CREATE FUNCTION journey._attach_check_names(rel regclass, field text, what jsonb) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    item record;
    namespaces text[];
BEGIN
    IF jsonb_typeof(what) NOT IN ('object', 'array') OR (field = 'subject' AND jsonb_typeof(what) <> 'object') THEN
        RAISE EXCEPTION 'field "%" of the map has the wrong shape', field
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = CASE field WHEN 'subject' THEN 'Write {"customer_id": "customer", "email": "email"}.'
                                    ELSE 'Write an array of columns, or an object name -> column.' END;
    END IF;
    IF field = 'subject' THEN
        namespaces := ARRAY(SELECT n.namespace FROM journey.namespace n WHERE n.class <> 'object' ORDER BY 1);
        FOR item IN SELECT k AS name FROM jsonb_object_keys(what) k WHERE NOT k = ANY (namespaces) LOOP
            RAISE EXCEPTION 'unknown namespace "%" in the subject of the map', item.name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = COALESCE('Did you mean "' || journey._nearest(item.name, namespaces) || '"?',
                                      'Known are ' || array_to_string(namespaces, ', ') || '.');
        END LOOP;
        IF (SELECT count(*) FROM jsonb_object_keys(what)) > 14 THEN -- JNY_SUBJECT_KEYS
            RAISE EXCEPTION 'the subject of the map has % keys', (SELECT count(*) FROM jsonb_object_keys(what))
                USING ERRCODE = 'invalid_parameter_value', DETAIL = 'A row has room for 14.',
                      HINT = 'Name the keys by which people are known elsewhere; one or two will do.';
        END IF;
        IF what = '{}' THEN
            RAISE EXCEPTION 'the subject of the map is empty'
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Name at least one key, as in {"customer_id": "customer"}.';
        END IF;
    END IF;
    FOR item IN
        SELECT o.key AS name, o.value FROM jsonb_each(CASE jsonb_typeof(what) WHEN 'object' THEN what ELSE '{}' END) o
        UNION ALL
        SELECT a #>> '{}', a FROM jsonb_array_elements(CASE jsonb_typeof(what) WHEN 'array' THEN what ELSE '[]' END) a
    LOOP
        PERFORM journey._attach_check_field(rel, 'none', field || '.' || item.name, item.value);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._attach_check_names(regclass, text, jsonb) IS
    'Checks subject, props and traits of a map.';

CREATE FUNCTION journey._attach_check_age(how jsonb, map jsonb) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(how) <> 'string' OR how #>> '{}' !~ '^[1-9][0-9]{0,4} (minute|hour|day|week)s?$' THEN
        RAISE EXCEPTION 'field "max_age" of the map has the wrong value %', left(how::text, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write how old what a row says of the stock may be, as in "30 minutes".';
    ELSIF NOT map ? 'at' OR map -> 'at' ? 'const' THEN
        RAISE EXCEPTION 'the map has "max_age", and no column that says how old a row is'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name as "at" the column in which each place says when it counted.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_check_age(jsonb, jsonb) IS
    'Raises 22023 when the max_age of a map is no time, or nothing says how old its rows are.';

CREATE FUNCTION journey._attach_check(rel regclass, kind text, map jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    fields jsonb := journey._attach_fields(kind);
    names text[] := ARRAY(SELECT rtrim(k, '!') FROM jsonb_object_keys(fields) k) || 'source'::text;
    field text;
    how jsonb;
    missing text;
    deleted text := CASE kind WHEN 'order' THEN 'cancelled' ELSE 'revoked' END; -- the one thing that on_delete may say
BEGIN
    IF jsonb_typeof(map) <> 'object' THEN
        RAISE EXCEPTION 'the map must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write {"field": "column", ...}, as in {"key": "id", "subject": {"customer_id": "customer"}}.';
    END IF;
    FOR field, how IN SELECT m.key, m.value FROM jsonb_each(map) m LOOP
        IF NOT field = ANY (names) THEN
            RAISE EXCEPTION 'unknown field "%" in the map of kind %', field, kind
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = COALESCE(journey._attach_instead(kind, field),
                                      'Did you mean "' || journey._nearest(field, names) || '"?',
                                      'Known are ' || array_to_string(names, ', ') || '.');
        ELSIF field IN ('source', 'on_delete') THEN
            IF jsonb_typeof(how) <> 'string' OR (field = 'on_delete' AND how #>> '{}' <> deleted) THEN
                RAISE EXCEPTION 'field "%" of the map has the wrong value %', field, how
                    USING ERRCODE = 'invalid_parameter_value',
                          HINT = CASE field WHEN 'source' THEN 'Write the name of the source, as in "commerce".'
                                            ELSE format('Write "%s", or leave it out: then a deleted row changes nothing.', deleted) END;
            END IF;
        ELSIF field = 'max_age' THEN
            PERFORM journey._attach_check_age(how, map);
        ELSIF field = 'consents' THEN
            map := jsonb_set(map, '{consents}', journey._attach_check_consents(rel, how));
        ELSIF field IN ('subject', 'props', 'traits') THEN
            PERFORM journey._attach_check_names(rel, field, how);
        ELSE
            PERFORM journey._attach_check_field(rel, kind, field, how);
        END IF;
    END LOOP;
    -- an order table without a status holds orders; a consent without a purpose is for marketing
    map := CASE kind WHEN 'order' THEN '{"status": {"const": "placed"}}'::jsonb
                     WHEN 'consent' THEN '{"purpose": {"const": "marketing"}}' ELSE '{}' END || map;
    IF kind = 'order_line' AND map ? 'order' THEN
        IF map ? 'key' AND map -> 'key' <> map -> 'order' THEN
            RAISE EXCEPTION 'fields "key" and "order" of the map name two columns'
                USING ERRCODE = 'invalid_parameter_value', DETAIL = 'Both are the order that a line belongs to.',
                      HINT = 'Leave "key" out; the line''s own number is "line".';
        END IF;
        map := map || jsonb_build_object('key', map -> 'order');
    END IF;
    IF kind IN ('shipment', 'return') AND NOT map ?| '{order,subject}' THEN
        RAISE EXCEPTION 'the map of kind % names neither an order nor a person', kind
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name the column of the order it is of, "order", or of the person, "subject".';
    END IF;
    IF kind = 'customer' AND map ? 'on_delete' AND jsonb_array_length(COALESCE(map -> 'consents', '[]')) = 0 THEN
        RAISE EXCEPTION 'field "on_delete" of the map has nothing to revoke'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'A deleted customer takes back the consents that the map names, and it names none.',
                  HINT = 'Add "consents", or leave "on_delete" out.';
    END IF;
    SELECT string_agg('"' || rtrim(k, '!') || '"', ', ' ORDER BY k) INTO missing
    FROM jsonb_object_keys(fields) k WHERE k LIKE '%!' AND NOT map ? rtrim(k, '!');
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'the map of kind % lacks %', kind, missing
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The map is ' || map::text || '.',
                  HINT = 'Name the columns; the table has ' || array_to_string(journey._rel_columns(rel), ', ') || '.';
    END IF;
    RETURN map;
END
$$;
COMMENT ON FUNCTION journey._attach_check(regclass, text, jsonb) IS
    'Checks a map against the table and returns it with defaults filled in.';
