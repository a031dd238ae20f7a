-- Where a journey divides people finer than there are people: small audiences, branches that hardly anybody takes, or nobody can.
CREATE FUNCTION journey._branches() RETURNS TABLE (journey text, version integer, step text, place integer, condition text, to_step text, never text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 50
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH branch AS (
        SELECT d.name, d.version, s.key AS step, b.n::integer AS place, b.value ->> 'when' AS condition, b.value ->> 'to' AS to_step
        FROM journey.document AS d CROSS JOIN LATERAL jsonb_each(d.doc -> 'steps') AS s
        CROSS JOIN LATERAL (SELECT * FROM jsonb_array_elements(s.value -> 'branch') WITH ORDINALITY AS e (value, n)
                            UNION ALL SELECT jsonb_build_object('to', s.value -> 'else'), 1000000) AS b
        WHERE d.kind = 'journey' AND d.state = 'active' AND s.value ? 'branch' AND journey._unreadable(d.kind, d.name, d.doc) IS NULL),
    judged AS (
        -- a condition that reads nothing is what it is
        SELECT b.*, CASE WHEN journey._names_read(b.condition) = '{}' AND journey._bare(b.condition) !~* '\m(now|current_\w+|local\w+|\w+_timestamp|key|stage)\M'
                         THEN coalesce(journey._rule_value(b.condition) = 'true', false) END AS always
        FROM branch AS b)
    SELECT j.name, j.version, j.step, j.place, j.condition, j.to_step,
           CASE WHEN o.place IS NOT NULL AND o.always THEN format('"%s" before it takes everybody', o.condition)
                WHEN o.place IS NOT NULL THEN 'the same condition stands before it'
                WHEN NOT j.always THEN 'its condition is true of nobody' END
    FROM judged AS j
    LEFT JOIN LATERAL (SELECT p.place, p.condition, p.always FROM judged AS p
                       WHERE p.name = j.name AND p.step = j.step AND p.place < j.place AND (p.always OR p.condition = j.condition)
                       ORDER BY p.place LIMIT 1) AS o ON true;
END
$$;
COMMENT ON FUNCTION journey._branches() IS
    'The branches of live journeys, "else" as the last with no condition, and why nobody can ever take one; null = somebody may.';

CREATE FUNCTION journey.narrow_paths(since interval DEFAULT '30 days', few integer DEFAULT 20)
    RETURNS TABLE (journey text, step text, branch text, to_step text, people bigint, of bigint, finding text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
    SET search_path = pg_catalog, journey, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM journey._demand_span(narrow_paths.since, 'narrow_paths');
    RETURN QUERY
    WITH taken AS (
        SELECT d.journey, d.version, d.step, d.rule, count(DISTINCT d.profile_id) AS people
        FROM journey.decision AS d
        WHERE d.kind = 'branch' AND d.verdict = 'branch' AND d.decided_at > journey.clock() - narrow_paths.since
        GROUP BY 1, 2, 3, 4),
    branches AS (
        SELECT b.*, coalesce(t.people, 0) AS people, (SELECT coalesce(sum(x.people), 0)::bigint FROM taken AS x WHERE (x.journey, x.version, x.step) = (b.journey, b.version, b.step)) AS of
        FROM journey._branches() AS b
        LEFT JOIN taken AS t ON (t.journey, t.version, t.step) = (b.journey, b.version, b.step) AND t.rule IS NOT DISTINCT FROM b.condition),
    found AS (
        SELECT b.journey, b.step, coalesce(b.condition, 'else') AS branch, b.to_step, b.people, b.of, b.place,
               CASE WHEN b.never IS NOT NULL THEN 'unreachable' WHEN b.of < few THEN NULL WHEN b.people = 0 THEN 'never taken' WHEN b.people < few THEN 'tiny' END AS finding,
               CASE WHEN b.never IS NOT NULL THEN b.never || ': remove it, or mend the condition.'
                    WHEN b.people = 0 THEN 'See whether what it reads ever comes: journey.requirements(). Else remove it.'
                    ELSE 'So few tell nothing by themselves: join it with another branch.' END AS hint
        FROM branches AS b
        UNION ALL
        SELECT d.name, NULL, 'entry', NULL, e.people, e.people, 0, CASE WHEN e.people < few THEN 'tiny' END,
               CASE WHEN e.people = 0 THEN 'Nobody has entered: see journey.requirements() and journey.why_not().' ELSE 'So few tell nothing by themselves: widen the entry.' END
        FROM journey.document AS d
        CROSS JOIN LATERAL (SELECT count(DISTINCT e.profile_id) AS people FROM journey.enrollment AS e
                            WHERE e.journey = d.name AND e.entered_at > journey.clock() - narrow_paths.since) AS e
        WHERE d.kind = 'journey' AND d.state = 'active'
          AND (SELECT min(a.activated_at) FROM journey.document AS a WHERE a.kind = d.kind AND a.name = d.name) <= journey.clock() - narrow_paths.since)
    SELECT f.journey, f.step, f.branch, f.to_step, f.people, f.of, f.finding, f.hint
    FROM found AS f WHERE f.finding IS NOT NULL ORDER BY f.journey, f.step NULLS FIRST, f.place;
END
$$;
COMMENT ON FUNCTION journey.narrow_paths(interval, integer) IS
    'Live journeys that divide people too finely: branches that nobody can reach (unreachable), that nobody took (never taken) or fewer than few did (tiny) in the time since, of a step that at least few came to; and journeys older than since that fewer than few entered. of = how many came to the step. No row: nothing to complain about. Reads the decisions of that time whole.';
