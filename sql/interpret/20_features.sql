CREATE FUNCTION journey.features(subject jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
    AS 'MODULE_PATHNAME', 'journey_features';
COMMENT ON FUNCTION journey.features(jsonb) IS
    'The features of a person at journey.clock(), by name; null for an unknown person. A feature without a value, a broken one, or one that is still being counted (journey.stat_progress), is null.';

CREATE FUNCTION journey._ship_features() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    -- Features that most houses want. Versions of a retailer's own replace these.
    docs jsonb := $doc$[
{"kind": "feature", "name": "product_views_7d", "description": "Product pages seen in the last 7 days.",
 "on": "product_viewed", "aggregate": "count", "window": "7 days"},
{"kind": "feature", "name": "cart_adds_7d", "description": "Additions to a cart in the last 7 days.",
 "on": "cart_item_added", "aggregate": "count", "window": "7 days"},
{"kind": "feature", "name": "last_viewed_sku", "description": "Product seen last.",
 "on": "product_viewed", "aggregate": "last", "of": "event.sku"},
{"kind": "feature", "name": "viewed_products", "description": "Products of the newest page views, newest first: what product.views counts.",
 "on": "product_viewed", "aggregate": "recent", "of": "event.sku", "limit": 30, "window": "30 days"},
{"kind": "feature", "name": "dwelled_products", "description": "Products whose pages were used, with the seconds: what product.dwell_seconds sums up.",
 "on": "product_engaged", "where": "event.dwell_seconds is not null", "aggregate": "recent", "of": "event.sku", "amount": "event.dwell_seconds",
 "limit": 20, "window": "30 days"},
{"kind": "feature", "name": "days_since_order", "description": "Whole days since the last order was placed.",
 "on": "order_placed", "aggregate": "days_since"}
]$doc$;
BEGIN
    SELECT jsonb_agg(f) INTO docs FROM jsonb_array_elements(docs) AS f
    WHERE NOT EXISTS (SELECT FROM journey.document AS d WHERE d.kind = 'feature' AND d.name = f ->> 'name');
    IF docs IS NOT NULL THEN
        PERFORM journey._apply(docs, 'journey_owner', 'journey_owner', true, NULL);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._ship_features() IS
    'Applies the features that come with journey and have never been there: a house may have replaced or retired them. For install() and migrate().';

CREATE FUNCTION journey._recount(profile_ids uuid[])
    RETURNS TABLE (profile_id uuid, features bytea, last_event_at timestamptz, last_order_at timestamptz, orders integer, events bigint)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
    AS 'MODULE_PATHNAME', 'journey_recount';
COMMENT ON FUNCTION journey._recount(uuid[]) IS
    'What journey.profile_state should hold of each person, counted anew from the event log and the table of orders. Changes nothing.';

CREATE FUNCTION journey._feature_states()
    RETURNS TABLE (name text, type text, grain_us bigint, buckets bigint, broken text, counting boolean)
    LANGUAGE C STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_feature_states';
COMMENT ON FUNCTION journey._feature_states() IS
    'The active features as this session has them: type, grain in microseconds, grains in the window, why one is broken, and whether it is still being counted.';

CREATE FUNCTION journey._feature_check(doc jsonb) RETURNS void
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_feature_check';
COMMENT ON FUNCTION journey._feature_check(jsonb) IS
    'Raises an error when a document of kind feature could not be computed.';

CREATE FUNCTION journey._rule_value(expression text, context jsonb DEFAULT '{}') RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
    AS 'MODULE_PATHNAME', 'journey_rule_value';
COMMENT ON FUNCTION journey._rule_value(text, jsonb) IS
    'Value of an expression without a person; context as in explain_rule. Null when it is unknown or cannot be computed.';

CREATE FUNCTION journey._feature_recount(name text, profile_id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
    def jsonb := (SELECT d.doc FROM journey.document d
                  WHERE d.kind = 'feature' AND d.name = _feature_recount.name AND d.state = 'active');
    state record;
    types text[];
    part text := def ->> 'of';
    today bigint;
    top jsonb;
    bottom jsonb;
    result jsonb;
BEGIN
    IF def ->> 'aggregate' = 'ratio' THEN
        top := journey._feature_recount(def ->> 'numerator', _feature_recount.profile_id);
        bottom := journey._feature_recount(def ->> 'denominator', _feature_recount.profile_id);
        RETURN coalesce(to_jsonb((top #>> '{}')::numeric / nullif((bottom #>> '{}')::numeric, 0)), 'null');
    END IF;
    SELECT s.* INTO state FROM journey._feature_states() AS s WHERE s.name = _feature_recount.name;
    types := CASE jsonb_typeof(def -> 'on') WHEN 'array'
             THEN ARRAY(SELECT jsonb_array_elements_text(def -> 'on')) ELSE ARRAY[def ->> 'on'] END;
    IF part ~ '^[a-z0-9_]+$' THEN
        part := 'event.' || part;
    END IF;
    -- microseconds since 2000-01-01 UTC
    today := floor(((extract(epoch FROM journey.clock()) - 946684800) * 1000000) / state.grain_us);
    WITH counted AS (
        SELECT least(e.occurred_at, e.received_at) AS at, e.seq, v.value
        FROM journey.event e
        CROSS JOIN LATERAL (
            SELECT jsonb_build_object('event', jsonb_build_object(
                'type', e.type, 'occurred_at', e.occurred_at, 'source', e.source,
                'scope', e.scope, 'props', e.props)) AS event) AS c
        CROSS JOIN LATERAL (
            SELECT CASE WHEN part IS NOT NULL THEN journey._rule_value(part, c.event) #>> '{}' END AS value) AS v
        WHERE e.bucket = journey.bucket(_feature_recount.profile_id)
          AND e.profile_id = _feature_recount.profile_id
          AND e.type = ANY (types)
          AND (NOT def ? 'where' OR journey._rule_value(def ->> 'where', c.event) = 'true')
          AND (part IS NULL OR v.value IS NOT NULL)
    ), windowed AS (
        SELECT * FROM counted
        WHERE (NOT (def ->> 'aggregate' = 'recent' AND def ? 'window')
               OR at > journey.clock() - (def ->> 'window')::interval)
          AND (state.grain_us IS NULL
           OR floor(((extract(epoch FROM at) - 946684800) * 1000000) / state.grain_us)
              BETWEEN today - state.buckets + 1 AND today)
    )
    SELECT CASE def ->> 'aggregate'
        WHEN 'count' THEN (SELECT to_jsonb(count(*)) FROM windowed)
        WHEN 'sum' THEN (SELECT to_jsonb(coalesce(sum(value::numeric), 0)) FROM windowed)
        WHEN 'avg' THEN (SELECT to_jsonb(avg(value::numeric)) FROM windowed)
        WHEN 'min' THEN (SELECT CASE state.type WHEN 'numeric' THEN to_jsonb(min(value::numeric)) ELSE to_jsonb(min(value COLLATE "C")) END FROM windowed)
        WHEN 'max' THEN (SELECT CASE state.type WHEN 'numeric' THEN to_jsonb(max(value::numeric)) ELSE to_jsonb(max(value COLLATE "C")) END FROM windowed)
        -- approximate beyond 128
        WHEN 'distinct' THEN (SELECT to_jsonb(count(DISTINCT value)) FROM windowed)
        WHEN 'decayed_count' THEN (SELECT to_jsonb(coalesce(sum(2 ^ (extract(epoch FROM at - journey.clock())::float8 * 1000000 / state.grain_us)), 0)) FROM windowed)
        WHEN 'decayed_sum' THEN (SELECT to_jsonb(coalesce(sum(value::float8 * 2 ^ (extract(epoch FROM at - journey.clock())::float8 * 1000000 / state.grain_us)), 0)) FROM windowed)
        WHEN 'recent' THEN (SELECT to_jsonb(coalesce(array_agg(value ORDER BY at DESC, seq DESC, value COLLATE "C" DESC), '{}'))
                            FROM (SELECT * FROM windowed ORDER BY at DESC, seq DESC, value COLLATE "C" DESC LIMIT (def ->> 'limit')::integer) AS newest)
        WHEN 'days_since' THEN (SELECT to_jsonb(floor(greatest(extract(epoch FROM journey.clock() - max(at)), 0) / 86400))
                             FROM windowed HAVING count(*) > 0)
        WHEN 'last' THEN (SELECT CASE state.type WHEN 'numeric' THEN to_jsonb(value::numeric) ELSE to_jsonb(value) END
                          FROM windowed ORDER BY at DESC, seq DESC, value COLLATE "C" DESC LIMIT 1)
        WHEN 'first' THEN (SELECT CASE state.type WHEN 'numeric' THEN to_jsonb(value::numeric) ELSE to_jsonb(value) END
                           FROM windowed ORDER BY at, seq, value COLLATE "C" LIMIT 1)
        END INTO result;
    RETURN coalesce(result, 'null');
END
$$;
COMMENT ON FUNCTION journey._feature_recount(text, uuid) IS
    'A feature counted from the event log by the documented formula (docs/rules.md): the oracle for what is kept incrementally.';
