-- What a rule does when nobody can tell: said, where silence would let a message go or leave a limit without effect.
CREATE FUNCTION journey._lint_unknown(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    rule record;
    name text;
BEGIN
    FOR rule IN
        SELECT format('/vetoes/%s', n - 1) AS pointer, 'veto' AS kind, r FROM jsonb_array_elements(doc -> 'vetoes') WITH ORDINALITY AS t (r, n)
        UNION ALL
        SELECT format('/rules/%s', n - 1), r ->> 'kind', r FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n)
        WHERE r ->> 'kind' <> 'stage'
        UNION ALL
        SELECT format('%s/send/require/%s', journey._pointer('/steps', s.key), n - 1), 'require', r
        FROM jsonb_each(doc -> 'steps') AS s, jsonb_array_elements(s.value #> '{send,require}') WITH ORDINALITY AS t (r, n)
        WHERE jsonb_typeof(r) = 'object'
    LOOP
        IF rule.r ? 'max_age' AND NOT rule.r ? 'on_unknown' THEN
            found := found || journey._finding('error', 'missing_on_unknown', base || rule.pointer, 'nothing says what becomes of a message while a source is older than max_age',
                'Set on_unknown: "hold" until it has told again, "refuse", or "pass".');
        ELSIF NOT rule.r ? 'on_unknown' AND (doc ->> 'high_risk')::boolean AND rule.kind = 'require' THEN
            found := found || journey._finding('error', 'missing_on_unknown', base || rule.pointer, 'a rule of a high-risk journey does not say what it does of whom nobody can tell',
                'Set on_unknown: "hold", "refuse" or "pass".');
        ELSIF NOT rule.r ? 'on_unknown' AND rule.kind IN ('veto', 'suppress')
            AND journey._bare(rule.r ->> 'when') !~* '\m(is\s+(not\s+)?(null|true|false|unknown|distinct)|coalesce)\M' THEN
            found := found || journey._finding('warning', 'missing_on_unknown', base || rule.pointer, format('this %s says nothing of whom it knows nothing: the message goes out', rule.kind),
                'Set on_unknown: "pass" if that is meant, else "hold" or "refuse".');
        END IF;
        FOR name IN SELECT jsonb_object_keys(rule.r -> 'max_age') ORDER BY 1 LOOP
            IF NOT EXISTS (SELECT FROM journey.source AS s WHERE s.source = name) AND journey._lookup('source', name, bundle) IS NULL THEN
                found := found || journey._finding('warning', 'unknown_source', journey._pointer(base || rule.pointer || '/max_age', name),
                    format('nothing has come from a source "%s"', name),
                    journey._did_you_mean(name, ARRAY(SELECT s.source FROM journey.source AS s UNION SELECT unnest(journey._names('source', bundle)) ORDER BY 1)));
            END IF;
        END LOOP;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_unknown(jsonb, text, jsonb) IS
    'Vetoes, rules before an action and conditions of a send that leave open what they do when their condition is unknown, or name a source that nobody knows.';
