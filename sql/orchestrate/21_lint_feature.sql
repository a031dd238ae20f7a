CREATE FUNCTION journey._lint_ratio(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    field text;
    part jsonb;
BEGIN
    FOREACH field IN ARRAY ARRAY['numerator', 'denominator'] LOOP
        IF NOT doc ? field THEN
            found := found || journey._finding('error', 'feature_ratio', base, format('a ratio needs a %s', field), format('Set %s to the name of a feature.', field));
            CONTINUE;
        END IF;
        part := journey._lookup('feature', doc ->> field, bundle);
        IF part ->> 'aggregate' IN ('ratio', 'recent') THEN
            found := found || journey._finding('error', 'feature_ratio', base || '/' || field,
                format('the %s is %s', field, CASE part ->> 'aggregate' WHEN 'ratio' THEN 'a ratio itself' ELSE 'no number' END),
                'Name a feature that is a number and not a ratio.');
        END IF;
    END LOOP;
    FOREACH field IN ARRAY ARRAY['on', 'where', 'of', 'window', 'grain', 'half_life', 'limit', 'amount'] LOOP
        IF doc ? field THEN
            found := found || journey._finding('error', 'feature_ratio', base || '/' || field, format('a ratio takes no %s', field),
                                               'Events and windows are those of its numerator and denominator.');
        END IF;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_ratio(jsonb, text, jsonb) IS
    'A feature that is the ratio of two others.';

CREATE FUNCTION journey._lint_window(doc jsonb, base text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    aggregate text := doc ->> 'aggregate';
    most integer := CASE aggregate WHEN 'distinct' THEN 64 ELSE 10000 END;
    decayed boolean := aggregate LIKE 'decayed%';
BEGIN
    IF doc ? 'window' AND aggregate NOT IN ('count', 'sum', 'min', 'max', 'avg', 'distinct', 'recent') THEN
        found := found || journey._finding('error', 'feature_window', base || '/window', format('%s takes no window', aggregate),
            CASE WHEN decayed THEN 'Remove window: half_life says how long events matter.' ELSE 'Remove window, or count or sum.' END);
    END IF;
    IF doc ? 'grain' AND (NOT doc ? 'window' OR aggregate = 'recent') THEN
        found := found || journey._finding('error', 'feature_grain', base || '/grain', 'there is no window that the grain could move',
            CASE aggregate WHEN 'recent' THEN 'Remove grain: recent needs none.' ELSE 'Remove grain, or set window.' END);
    ELSIF (doc ->> 'grain')::interval < interval '1 second' OR (doc ->> 'grain')::interval > (doc ->> 'window')::interval THEN
        found := found || journey._finding('error', 'feature_grain', base || '/grain', 'the grain does not fit its window', 'A grain is at least a second and at most the window.');
    ELSIF (doc ->> 'window')::interval > (doc ->> 'grain')::interval * most THEN
        found := found || journey._finding('error', 'feature_grain', base || '/grain', 'the grain is too fine for its window', format('A window may have at most %s grains.', most));
    END IF;
    IF decayed AND NOT doc ? 'half_life' THEN
        found := found || journey._finding('error', 'feature_half_life', base, format('%s needs a half-life', aggregate), 'Set half_life, for example to "7 days".');
    ELSIF doc ? 'half_life' AND NOT decayed THEN
        found := found || journey._finding('error', 'feature_half_life', base || '/half_life', format('%s takes no half-life', aggregate), 'Remove half_life, or use decayed_count or decayed_sum.');
    ELSIF (doc ->> 'half_life')::interval < interval '1 minute' THEN
        found := found || journey._finding('error', 'feature_half_life', base || '/half_life', 'the half-life is below a minute', 'Set it to a minute or more.');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_window(jsonb, text) IS
    'Window, grain and half-life of a feature.';

CREATE FUNCTION journey._lint_feature(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    aggregate text := doc ->> 'aggregate';
    field text;
BEGIN
    IF aggregate = 'ratio' THEN
        RETURN journey._lint_ratio(doc, base, bundle);
    END IF;
    IF NOT doc ? 'on' THEN
        found := found || journey._finding('error', 'feature_on', base, format('%s needs events', aggregate), 'Set on to an event type or a list of them.');
    END IF;
    IF aggregate IN ('count', 'days_since', 'decayed_count') AND doc ? 'of' THEN
        found := found || journey._finding('error', 'feature_value', base || '/of', format('%s takes no value', aggregate), 'Remove of.');
    ELSIF aggregate NOT IN ('count', 'days_since', 'decayed_count') AND NOT doc ? 'of' THEN
        found := found || journey._finding('error', 'feature_value', base, format('%s needs a value', aggregate), 'Set of, for example "of": "event.amount".');
    END IF;
    IF aggregate = 'recent' AND NOT doc ? 'limit' THEN
        found := found || journey._finding('error', 'feature_limit', base, 'recent needs a limit', 'Set limit to 1 to 200.');
    END IF;
    FOREACH field IN ARRAY ARRAY['limit', 'amount', 'numerator', 'denominator'] LOOP
        IF doc ? field AND NOT (aggregate = 'recent' AND field IN ('limit', 'amount')) THEN
            found := found || journey._finding('error', CASE WHEN field IN ('limit', 'amount') THEN 'feature_limit' ELSE 'feature_ratio' END,
                                               base || '/' || field, format('%s takes no %s', aggregate, field), format('Remove %s.', field));
        END IF;
    END LOOP;
    RETURN found || journey._lint_window(doc, base);
END
$$;
COMMENT ON FUNCTION journey._lint_feature(jsonb, text, jsonb) IS
    'What each aggregate of a feature takes and needs.';
