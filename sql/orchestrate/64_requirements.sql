CREATE FUNCTION journey._need_ready(need text, name text, types text[], OUT ready boolean, OUT provided_by text, OUT detail text, OUT hint text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    s record;
    state record;
    on_channel text := regexp_replace(name, '_[^_]+$', '');
    for_purpose text := regexp_replace(name, '^.*_', '');
BEGIN
    CASE need
    WHEN 'event' THEN
        SELECT * INTO ready, provided_by, detail, hint FROM journey._event_ready(name);
    WHEN 'property' THEN
        -- as the columns of the table give it whose rows make the event, or as it was sent
        SELECT array_agg(m.kind) AS kinds, array_agg(CASE name
                    WHEN 'order_id' THEN CASE WHEN m.kind IN ('order', 'order_line') THEN 'key' ELSE 'order' END
                    WHEN 'cart_id' THEN CASE m.kind WHEN 'cart_line' THEN 'key' ELSE 'cart' END
                    WHEN 'shipment_id' THEN 'key' WHEN 'return_id' THEN 'key' ELSE name END) AS fields
        INTO s FROM unnest(types) AS t, journey._type_sources(t) AS m WHERE m.kind IS NOT NULL;
        SELECT * INTO ready, provided_by, detail, hint FROM journey._field_ready(s.kinds, s.fields, types, name);
    WHEN 'field', 'trait', 'stock' THEN
        s := journey._name_sources(CASE need WHEN 'trait' THEN 'profile.' || name ELSE name END);
        SELECT * INTO ready, provided_by, detail, hint FROM journey._field_ready(s.kinds, s.fields, s.types, s.property);
    WHEN 'address' THEN
        s := journey._attached_field('customer', name);
        ready := s.given IS NOT NULL OR EXISTS (SELECT FROM journey.contact_point AS c WHERE c.channel = name);
        provided_by := coalesce(s.given, CASE WHEN ready THEN 'what is sent' END);
        detail := coalesce(s.fault, CASE WHEN s.given IS NOT NULL THEN format('"%s" of customer', name) WHEN ready THEN 'there are such addresses' ELSE 'nobody has such an address' END);
        hint := CASE WHEN NOT ready THEN format('Map "%s" when attaching the table of customers, or send it with identified.', name) END;
    WHEN 'consent' THEN
        SELECT quote_ident(a.rel_schema) || '.' || quote_ident(a.rel_name) AS rel INTO s FROM journey.attachment AS a
        WHERE a.detached_at IS NULL AND a.broken IS NULL
          AND (a.kind = 'consent' OR a.kind = 'customer' AND a.map -> 'consents' @> jsonb_build_array(jsonb_build_object('channel', on_channel, 'purpose', for_purpose)))
        ORDER BY a.attachment LIMIT 1;
        ready := s.rel IS NOT NULL OR EXISTS (SELECT FROM journey.consent AS c WHERE c.channel IN (on_channel, '*') AND c.purpose IN (for_purpose, '*'));
        provided_by := coalesce(s.rel, CASE WHEN ready THEN 'what is sent' END);
        detail := CASE WHEN ready THEN 'stated by ' || provided_by ELSE 'nobody has stated any: nobody may be contacted' END;
        hint := CASE WHEN NOT ready THEN format('Map "consents" for %s and %s when attaching the table of customers, attach one as consent, or send consent_granted.', on_channel, for_purpose) END;
    WHEN 'source' THEN
        SELECT x.last_received_at, x.max_lag INTO s FROM journey.source AS x WHERE x.source = name;
        ready := s.last_received_at IS NOT NULL;
        provided_by := CASE WHEN ready THEN name END;
        detail := CASE WHEN ready THEN format('heard of last at %s', s.last_received_at) ELSE 'nothing has come from it' END;
        hint := CASE WHEN NOT ready THEN 'Check its name: journey.source lists those that are known.' END;
    WHEN 'feature' THEN
        SELECT f.broken, f.counting INTO state FROM journey._feature_states() AS f WHERE f.name = _need_ready.name;
        ready := FOUND AND state.broken IS NULL AND NOT state.counting;
        provided_by := CASE WHEN journey._lookup('feature', name, '[]') IS NOT NULL THEN 'feature/' || name END;
        detail := CASE WHEN ready THEN 'counted' WHEN state.counting THEN 'still being counted' ELSE coalesce(state.broken, 'there is no such feature') END;
        hint := CASE WHEN NOT ready THEN CASE WHEN state.counting THEN 'Wait: journey.stat_progress shows how far it is.' ELSE 'Apply it, or mend what it reads.' END END;
    ELSE
        ready := journey._lookup(need, name, '[]') IS NOT NULL;
        provided_by := CASE WHEN ready THEN need || '/' || name END;
        detail := CASE WHEN ready THEN 'is live' ELSE 'there is no live one' END;
        hint := CASE WHEN NOT ready THEN format('Apply the %s.', need) END;
    END CASE;
END
$$;
COMMENT ON FUNCTION journey._need_ready(text, text, text[]) IS 'Whether a need of a journey is met, by what, and what to do when it is not.';

CREATE FUNCTION journey._newest(kind text, name text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (SELECT d.doc FROM journey.document AS d WHERE d.kind = _newest.kind AND d.name = _newest.name
            ORDER BY d.state = 'active' DESC, d.version DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION journey._newest(text, text) IS 'The live version of a document, else the newest there is.';

CREATE FUNCTION journey.requirements(journey text)
    RETURNS TABLE (need text, item text, ready boolean, provided_by text, detail text, hint text, needed_by text[])
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 30
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    asked jsonb := journey._newest('journey', requirements.journey);
BEGIN
    IF asked IS NULL THEN
        RAISE EXCEPTION 'there is no journey "%"', left(requirements.journey, 100) USING ERRCODE = 'undefined_object',
            HINT = coalesce(journey._did_you_mean(left(requirements.journey, 100),
                                                  ARRAY(SELECT DISTINCT d.name FROM journey.document AS d WHERE d.kind = 'journey' ORDER BY 1)),
                            'Apply it; a draft will do.');
    END IF;
    RETURN QUERY
    WITH RECURSIVE read (need, name, types, place) AS (
        SELECT n.need, n.name, n.types, n.pointer FROM journey._needs(asked) AS n
        UNION
        -- a feature needs what it counts
        SELECT n.need, n.name, n.types, 'feature/' || r.name || n.pointer
        FROM read AS r CROSS JOIN LATERAL journey._needs(journey._newest('feature', r.name)) AS n
        WHERE r.need = 'feature' AND r.place NOT LIKE '%feature/' || r.name || '/%'),
    needs AS (
        SELECT r.need, r.name, t.type, array_agg(DISTINCT r.place ORDER BY r.place) AS places
        FROM read AS r LEFT JOIN LATERAL unnest(r.types) AS t (type) ON true
        WHERE r.need <> 'property' OR t.type IS NOT NULL
        GROUP BY r.need, r.name, t.type)
    SELECT n.need, concat_ws('.', n.type, n.name), r.ready, r.provided_by, r.detail, r.hint, n.places
    FROM needs AS n CROSS JOIN LATERAL journey._need_ready(n.need, n.name, CASE WHEN n.type IS NOT NULL THEN ARRAY[n.type] END) AS r
    ORDER BY r.ready, n.need, 2;
END
$$;
COMMENT ON FUNCTION journey.requirements(text) IS
    'What a journey, live or a draft, depends on: a row for each event, property of an event, field, trait, feature, consent, address, stock, source, channel and template that its entry, conditions, waits, sends and frozen data name; the column of an attached table that gives it (provided_by), or what has been sent; and where in the document it is needed. Not ready first, each with what to do. Raises 42704 for an unknown journey.';
