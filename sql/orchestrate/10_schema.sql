-- The published JSON Schema, interpreted: the only description of what a document may hold.

CREATE FUNCTION journey._finding(severity text, code text, pointer text, message text, hint text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN jsonb_build_array(jsonb_build_object(
        'severity', severity, 'code', code, 'pointer', pointer, 'message', message, 'hint', hint));
END
$$;
COMMENT ON FUNCTION journey._finding(text, text, text, text, text) IS
    'One finding of lint, as an array of one.';

CREATE FUNCTION journey._did_you_mean(name text, among text[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    nearest text := journey._nearest(name, among);
BEGIN
    RETURN CASE
        WHEN nearest IS NOT NULL THEN format('Did you mean "%s"?', nearest)
        WHEN cardinality(among) BETWEEN 1 AND 24 THEN
            'It may be one of: ' || (SELECT string_agg(a, ', ' ORDER BY a) FROM unnest(among) AS a) || '.'
    END;
END
$$;
COMMENT ON FUNCTION journey._did_you_mean(text, text[]) IS
    'The hint for an unknown name: the nearest one, or the whole choice when it is short.';

CREATE FUNCTION journey._pointer(base text, token text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN base || '/' || replace(replace(token, '~', '~0'), '/', '~1');
END
$$;
COMMENT ON FUNCTION journey._pointer(text, text) IS
    'A JSON Pointer one level deeper (RFC 6901).';

CREATE FUNCTION journey._schema_rule(defs jsonb, rule jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    form jsonb;
BEGIN
    WHILE rule ? '$ref' LOOP
        form := defs -> substr(rule ->> '$ref', 9); -- '#/$defs/'
        IF form ? 'description' AND NOT rule ? 'x-form' THEN
            form := form || jsonb_build_object('x-form', form -> 'description');
        END IF;
        rule := form || (rule - '$ref');
    END LOOP;
    RETURN rule;
END
$$;
COMMENT ON FUNCTION journey._schema_rule(jsonb, jsonb) IS
    'A rule of the schema with its references followed; words beside a reference win. The description of what is referred to stays as x-form: it says what the value looks like.';

CREATE FUNCTION journey._schema_fits(rule jsonb, doc jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(doc);
BEGIN
    IF rule ? 'type' AND rule ->> 'type' <> kind AND NOT (rule ->> 'type' = 'integer' AND kind = 'number')
        OR rule ? 'const' AND rule -> 'const' <> doc
        OR rule ? 'enum' AND NOT rule -> 'enum' @> jsonb_build_array(doc)
    THEN
        RETURN false;
    END IF;
    IF kind = 'string' THEN
        RETURN NOT rule ? 'pattern' OR doc #>> '{}' ~ (rule ->> 'pattern');
    ELSIF kind <> 'object' THEN
        RETURN true;
    END IF;
    RETURN (NOT rule ? 'required' OR NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(rule -> 'required') AS r WHERE NOT doc ? r))
       AND (NOT rule ? 'anyOf' OR EXISTS (
                SELECT FROM jsonb_array_elements(rule -> 'anyOf') AS a WHERE doc ? (a #>> '{required,0}')))
       AND NOT EXISTS (
                SELECT FROM jsonb_each(rule -> 'properties') AS p
                WHERE doc ? p.key AND (p.value ? 'const' AND p.value -> 'const' <> doc -> p.key
                    OR p.key = 'kind' AND p.value ? 'enum' AND NOT p.value -> 'enum' @> jsonb_build_array(doc -> p.key)));
END
$$;
COMMENT ON FUNCTION journey._schema_fits(jsonb, jsonb) IS
    'Whether a value looks like the one that an alternative of the schema means: type, fixed values, pattern, required fields. The depth is left to _schema_check.';

CREATE FUNCTION journey._schema_by_fields(defs jsonb, rule jsonb, same jsonb[], doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    choice jsonb;
    best jsonb;
    score bigint;
    best_score bigint := 0;
    ties integer := 0;
    names text[];
    label text;
BEGIN
    FOREACH choice IN ARRAY same LOOP
        SELECT count(*) INTO score FROM jsonb_object_keys(doc) AS k WHERE choice -> 'properties' ? k;
        IF score > best_score THEN
            best := choice;
            best_score := score;
            ties := 1;
        ELSIF score = best_score THEN
            ties := ties + 1;
        END IF;
    END LOOP;
    IF best_score > 0 AND ties = 1 THEN
        RETURN journey._schema_check(defs, best, doc, pointer);
    END IF;
    SELECT array_agg(DISTINCT r) INTO names
    FROM unnest(same) AS c, jsonb_array_elements_text(c -> 'required') AS r WHERE NOT c ? 'not';
    SELECT k INTO label
    FROM jsonb_object_keys(doc) AS k
    WHERE NOT EXISTS (SELECT FROM unnest(same) AS c WHERE c -> 'properties' ? k)
    ORDER BY k LIMIT 1;
    IF label IS NOT NULL THEN
        RETURN journey._finding('error', 'unknown_field', journey._pointer(pointer, label),
                                format('unknown field "%s"', label), journey._did_you_mean(label, names));
    END IF;
    RETURN journey._finding('error', 'missing_field', pointer,
        format('one of the fields %s is needed', (SELECT string_agg(format('"%s"', n), ', ' ORDER BY n) FROM unnest(names) AS n)),
        rule ->> 'description');
END
$$;
COMMENT ON FUNCTION journey._schema_by_fields(jsonb, jsonb, jsonb[], jsonb, text) IS
    'Checks an object against the one of several kinds of object that knows most of its fields, or says that none is meant.';

CREATE FUNCTION journey._schema_choice(defs jsonb, rule jsonb, doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    choices jsonb[];
    same jsonb[];
    choice jsonb;
    names text[];
BEGIN
    FOR choice IN SELECT c FROM jsonb_array_elements(rule -> 'oneOf') WITH ORDINALITY AS t (c, n) ORDER BY n LOOP
        choice := journey._schema_rule(defs, choice);
        -- alternatives of an alternative are alternatives: event_types is a text or an array
        IF journey._schema_fits(choice, doc)
            AND (NOT choice ? 'oneOf' OR choice ? 'type' OR EXISTS (
                SELECT FROM jsonb_array_elements(choice -> 'oneOf') AS c
                WHERE journey._schema_fits(journey._schema_rule(defs, c), doc)))
        THEN
            RETURN journey._schema_check(defs, choice, doc, pointer);
        END IF;
        choices := choices || choice;
        IF choice ->> 'type' = jsonb_typeof(doc) THEN
            same := same || choice;
        END IF;
    END LOOP;

    IF cardinality(same) = 1 THEN
        RETURN journey._schema_check(defs, same[1], doc, pointer);
    ELSIF same IS NULL OR jsonb_typeof(doc) <> 'object' THEN
        RETURN journey._finding('error', CASE WHEN same IS NULL AND NOT rule -> 'oneOf' @> '[{"enum": []}]' THEN 'wrong_type' ELSE 'wrong_value' END,
            pointer, format('%s does not fit here', left(doc::text, 60)),
            'Expected: ' || (SELECT string_agg(coalesce(c ->> 'x-form', c ->> 'description', c ->> 'const', c ->> 'enum'), ' Or: ')
                             FROM unnest(choices) AS c WHERE NOT c ? 'not'));
    END IF;

    -- Several kinds of object: told apart by a fixed field, or by the fields it has?
    IF (SELECT bool_and(c #> '{properties,kind}' IS NOT NULL) FROM unnest(same) AS c) THEN
        SELECT array_agg(k) INTO names
        FROM unnest(same) AS c,
             jsonb_array_elements_text(coalesce(c #> '{properties,kind,enum}', jsonb_build_array(c #> '{properties,kind,const}'))) AS k
        WHERE NOT c ? 'not';
        FOREACH choice IN ARRAY same LOOP
            IF choice #> '{properties,kind,const}' = doc -> 'kind'
                OR choice #> '{properties,kind,enum}' @> jsonb_build_array(doc -> 'kind') THEN
                RETURN journey._schema_check(defs, choice, doc, pointer);
            END IF;
        END LOOP;
        IF NOT doc ? 'kind' THEN
            RETURN journey._finding('error', 'missing_field', pointer, 'the field "kind" is missing',
                                    journey._did_you_mean('', names));
        END IF;
        RETURN journey._finding('error', 'wrong_value', pointer || '/kind',
            format('unknown kind %s', doc -> 'kind'), journey._did_you_mean(coalesce(doc ->> 'kind', ''), names));
    END IF;

    RETURN journey._schema_by_fields(defs, rule, same, doc, pointer);
END
$$;
COMMENT ON FUNCTION journey._schema_choice(jsonb, jsonb, jsonb, text) IS
    'Finds the alternative that a value means and checks it against that one, so that a mistake is reported where it is and not as "fits none".';

CREATE FUNCTION journey._is_a(type text, word text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF type = 'interval' THEN
        PERFORM word::interval;
    ELSE
        PERFORM word::timestamptz;
    END IF;
    RETURN true;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION journey._is_a(text, text) IS
    'Whether a text that looks like an interval or a moment is one: "1 day 2 days" and "2026-02-31" are not.';

CREATE FUNCTION journey._schema_scalar(rule jsonb, doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(doc);
    word text := doc #>> '{}';
    wrong boolean := false;
BEGIN
    IF rule ? 'const' AND rule -> 'const' <> doc THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('must be %s, not %s', rule -> 'const', left(doc::text, 60)),
                                rule ->> 'description');
    ELSIF rule ? 'enum' AND NOT rule -> 'enum' @> jsonb_build_array(doc) THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('%s is not one of its values', left(doc::text, 60)),
            journey._did_you_mean(word, ARRAY(SELECT jsonb_array_elements_text(rule -> 'enum'))));
    END IF;
    IF kind = 'string' AND length(word) > (rule ->> 'maxLength')::integer THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('a text of %s characters is too long', length(word)),
                                format('At most %s fit here.', rule ->> 'maxLength'));
    ELSIF kind = 'string' THEN
        wrong := rule ? 'pattern' AND word !~ (rule ->> 'pattern')
            OR rule ? 'minLength' AND length(word) < (rule ->> 'minLength')::integer;
    ELSIF kind = 'number' THEN
        wrong := rule ? 'minimum' AND word::numeric < (rule ->> 'minimum')::numeric
            OR rule ? 'maximum' AND word::numeric > (rule ->> 'maximum')::numeric
            OR rule ? 'exclusiveMinimum' AND word::numeric <= (rule ->> 'exclusiveMinimum')::numeric
            OR rule ? 'exclusiveMaximum' AND word::numeric >= (rule ->> 'exclusiveMaximum')::numeric;
    END IF;
    IF wrong OR rule ? 'x-type' AND NOT journey._is_a(rule ->> 'x-type', word) THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('%s does not fit here', left(doc::text, 60)),
                                'Expected: ' || coalesce(rule ->> 'x-form', rule ->> 'description'));
    END IF;
    IF rule ? 'x-journey' THEN
        RETURN jsonb_build_array(jsonb_build_object('mark', rule -> 'x-journey', 'pointer', pointer, 'value', doc));
    END IF;
    RETURN '[]';
END
$$;
COMMENT ON FUNCTION journey._schema_scalar(jsonb, jsonb, text) IS
    'Checks a text, number, boolean or null; gives a mark for one whose meaning the schema tells (x-journey).';

CREATE FUNCTION journey._schema_check(defs jsonb, rule jsonb, doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(doc);
    found jsonb := '[]';
    item record;
    later text;
BEGIN
    rule := journey._schema_rule(defs, rule);
    IF rule ? 'not' THEN
        SELECT a #>> '{required,0}' INTO later
        FROM jsonb_array_elements(rule -> 'anyOf') AS a WHERE doc ? (a #>> '{required,0}') LIMIT 1;
        RETURN journey._finding('error', 'not_in_release', pointer || coalesce('/' || later, ''),
            format('"%s" is not in this release', coalesce(later, regexp_replace(pointer, '^.*/', ''))),
            'Leave it out; docs/schema/journey.schema.json lists what this release understands.');
    ELSIF rule ? 'oneOf' THEN
        RETURN journey._schema_choice(defs, rule, doc, pointer);
    ELSIF rule ? 'type' AND rule ->> 'type' <> kind
        AND NOT (rule ->> 'type' = 'integer' AND kind = 'number' AND trunc((doc #>> '{}')::numeric) = (doc #>> '{}')::numeric)
    THEN
        RETURN journey._finding('error', 'wrong_type', pointer,
            format('must be %s, not %s', rule ->> 'type', kind), 'Expected: ' || (rule ->> 'description'));
    ELSIF kind NOT IN ('object', 'array') OR rule ? 'enum' OR rule ? 'const' THEN
        RETURN journey._schema_scalar(rule, doc, pointer);
    END IF;

    IF kind = 'array' THEN
        IF jsonb_array_length(doc) < coalesce((rule ->> 'minItems')::integer, 0) THEN
            found := journey._finding('error', 'wrong_value', pointer, 'the list is too short', rule ->> 'description');
        ELSIF rule ? 'uniqueItems' AND (SELECT count(DISTINCT e) < count(*) FROM jsonb_array_elements(doc) AS e) THEN
            found := journey._finding('error', 'not_unique', pointer, 'the list names something twice', 'Name it once.');
        END IF;
        FOR item IN SELECT (n - 1)::text AS key, e AS value FROM jsonb_array_elements(doc) WITH ORDINALITY AS t (e, n) LOOP
            found := found || journey._schema_check(defs, rule -> 'items', item.value, pointer || '/' || item.key);
        END LOOP;
        RETURN found;
    END IF;

    FOR item IN SELECT r AS key FROM jsonb_array_elements_text(rule -> 'required') AS r WHERE NOT doc ? r LOOP
        found := found || journey._finding('error', 'missing_field', pointer, format('the field "%s" is missing', item.key),
            journey._schema_rule(defs, coalesce(rule #> ARRAY['properties', item.key], '{}')) ->> 'description');
    END LOOP;
    IF (SELECT count(*) FROM jsonb_object_keys(doc))
        NOT BETWEEN coalesce((rule ->> 'minProperties')::bigint, 0) AND coalesce((rule ->> 'maxProperties')::bigint, 1000000) THEN
        found := found || journey._finding('error', 'wrong_value', pointer, 'too few or too many fields', rule ->> 'description');
    END IF;
    FOR item IN SELECT key, value FROM jsonb_each(doc) LOOP
        IF rule -> 'properties' ? item.key THEN
            found := found || journey._schema_check(defs, rule #> ARRAY['properties', item.key], item.value,
                                                    journey._pointer(pointer, item.key));
        ELSIF jsonb_typeof(rule -> 'additionalProperties') = 'object' THEN
            IF rule ? 'propertyNames' THEN
                found := found || journey._schema_check(defs, rule -> 'propertyNames', to_jsonb(item.key),
                                                        journey._pointer(pointer, item.key));
            END IF;
            found := found || journey._schema_check(defs, rule -> 'additionalProperties', item.value,
                                                    journey._pointer(pointer, item.key));
        ELSE
            found := found || journey._finding('error', 'unknown_field', journey._pointer(pointer, item.key),
                format('unknown field "%s"', item.key),
                journey._did_you_mean(item.key, ARRAY(SELECT jsonb_object_keys(rule -> 'properties'))));
        END IF;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._schema_check(jsonb, jsonb, jsonb, text) IS
    'Interprets the JSON Schema: an array of findings, and of marks {mark, pointer, value} for every text whose meaning the schema tells.';
