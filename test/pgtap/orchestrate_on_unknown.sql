-- A signal that is missing, misread or too old: each rule does what it says it does then.
-- mission: 182
-- What would break if this failed: a veto about a signal that stopped coming lets everything out.
\ir ../fixtures/orchestrate.sql
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.define_name('profile.level', 'numeric', 'a number, if it is one');


-- Each case in a scope of its own, of which only its rule speaks.
CREATE TEMP TABLE cases (n serial, round int, kind text, declared jsonb, words text DEFAULT 'profile.points::integer > 10', expected text);
INSERT INTO cases (round, kind, declared, expected) VALUES
    (1, 'veto', '{}', 'refused sent sent held:stale_data'),
    (1, 'veto', '{"on_unknown": "pass"}', 'refused sent sent held:stale_data'),
    (1, 'veto', '{"on_unknown": "hold"}', 'refused sent held:stale_data held:stale_data'),
    (1, 'veto', '{"on_unknown": "refuse"}', 'refused sent refused refused'),
    (1, 'suppress', '{}', 'refused sent sent held:stale_data'),
    (1, 'suppress', '{"on_unknown": "hold"}', 'refused sent held:stale_data held:stale_data'),
    (1, 'suppress', '{"on_unknown": "refuse"}', 'refused sent refused refused'),
    (1, 'eligible', '{}', 'sent refused refused held:stale_data'),
    (1, 'eligible', '{"on_unknown": "pass"}', 'sent refused sent held:stale_data'),
    (1, 'eligible', '{"on_unknown": "hold"}', 'sent refused held:stale_data held:stale_data'),
    (1, 'eligible', '{"on_unknown": "refuse"}', 'sent refused refused refused'),
    (1, 'require', '{}', 'sent refused refused refused'),
    (1, 'require', '{"on_unknown": "pass"}', 'sent refused sent held:stale_data'),
    (1, 'require', '{"on_unknown": "hold"}', 'sent refused held:stale_data held:stale_data'),
    (1, 'require', '{"on_unknown": "refuse"}', 'sent refused refused refused');
-- declared as a number, what is none is missing, not failing
INSERT INTO cases (round, kind, declared, words, expected)
SELECT 1, kind, declared, 'profile.level > 10', regexp_replace(expected, '(\S+) \S+$', '\1 \1') FROM cases WHERE kind IN ('veto', 'require');
-- a source that may be silent for 20 minutes: in the first round it is not, in the second it is
INSERT INTO cases (round, kind, declared, expected)
SELECT r, kind, declared || '{"max_age": {"erp": "20 minutes"}}',
       CASE WHEN r = 1 THEN expected WHEN declared ->> 'on_unknown' = 'pass' THEN 'sent sent sent sent' WHEN declared ->> 'on_unknown' = 'refuse' THEN 'refused refused refused refused'
            ELSE 'held:stale_data held:stale_data held:stale_data held:stale_data' END
FROM cases, generate_series(1, 2) r WHERE declared ? 'on_unknown' AND words LIKE '%points%' ORDER BY r, n;
INSERT INTO cases (round, kind, declared, expected) VALUES
    (1, 'veto', '{"on_unknown": "refuse", "max_age": {"erp": "20 minutes", "nobody": "20 minutes"}}', 'refused refused refused refused');
SELECT plan((SELECT count(*)::integer FROM cases) + 7);

-- Of four people one has 20 points, one 5, one none that anybody told, and one "many".
CREATE TEMP TABLE people (i int, p text, t text);
INSERT INTO people VALUES (1, 'yes', '20'), (2, 'no', '5'), (3, 'null', NULL), (4, 'bad', 'many');
CREATE FUNCTION pg_temp.documents(wanted int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(d.doc) FROM cases c
    CROSS JOIN LATERAL (SELECT jsonb_build_object('when', c.words, 'reason', 'few') || c.declared AS rule) r
    CROSS JOIN LATERAL (
        SELECT jsonb_build_object('kind', 'source', 'name', 's' || c.n, 'system', 'commerce', 'scope', 'c' || c.n)
        UNION ALL SELECT jsonb_build_object('kind', 'rule_set', 'name', 'g' || c.n, 'scope', 'c' || c.n, 'rules', jsonb_build_array(r.rule || jsonb_build_object('kind', c.kind)))
        WHERE c.kind <> 'require'
        UNION ALL SELECT pg_temp.journey_doc('j' || c.n, '{"on": "wishlist_added"}',
            jsonb_build_object('mail', jsonb_build_object('send', '{"channel": "email", "template": "t_plain"}'::jsonb
                || CASE c.kind WHEN 'require' THEN jsonb_build_object('require', jsonb_build_array(r.rule)) ELSE '{}' END, 'next', 'done'),
                'done', '{"exit": "finished"}'::jsonb), jsonb_build_object('scope', 'c' || c.n))) AS d (doc)
    WHERE c.round = wanted $$;
CREATE FUNCTION pg_temp.tell(wanted int) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM (
        SELECT journey.track('s' || n, 'identified', pg_temp.who(p || n), jsonb_build_object('traits', jsonb_strip_nulls(jsonb_build_object('points', t, 'level', t)))),
               journey.track('s' || n, 'consent_granted', pg_temp.who(p || n), '{"channel": "email", "purpose": "marketing"}'),
               journey.track('s' || n, 'wishlist_added', pg_temp.who(p || n), '{}')
        FROM cases, people WHERE round = wanted OFFSET 0) AS told $$;
CREATE FUNCTION pg_temp.verdicts(case_n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(':', CASE d.verdict WHEN 'enqueue' THEN 'sent' ELSE d.verdict END, nullif(nullif(d.reason, ''), 'few')), ' ' ORDER BY i)
    FROM people LEFT JOIN journey.decision d ON d.profile_id = pg_temp.pid(p || case_n) AND d.kind = 'step' $$;

SELECT count(*) FROM journey.apply(pg_temp.documents(1));
SELECT journey.track('erp', 'price_changed', '{}', '{"sku": "J1", "price": 3}'), journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 10:20+00');
SELECT pg_temp.tell(1);
SELECT journey.run_until_idle();
SELECT is(pg_temp.verdicts(n), expected, format('%s %s: %s, of a signal that is there, missing, or no number', kind, declared, words)) FROM cases WHERE round = 1 ORDER BY n;
SELECT ok(d.inputs ? 'source.age:erp' AND d.clauses -> -1 ->> 'clause' LIKE 'CASE WHEN source.age(''erp'') <= interval ''20 minutes'' %profile.points::integer > 10%', 'the decision has the age, and the condition with it')
FROM journey.decision d WHERE d.profile_id = pg_temp.pid((SELECT 'yes' || max(n) FROM cases WHERE round = 1)) AND d.kind = 'step';

SELECT count(*) FROM journey.apply(pg_temp.documents(2));
SELECT pg_temp.move('2026-03-02 10:21+00');
SELECT pg_temp.tell(2);
SELECT journey.run_until_idle();
SELECT is(pg_temp.verdicts(n), expected, format('%s %s: older than that, whatever it says', kind, declared)) FROM cases WHERE round = 2 ORDER BY n;
SELECT is((SELECT count(*) FROM journey.outbox), (SELECT sum((length(expected) - length(replace(expected, 'sent', ''))) / 4) FROM cases), 'what is held or refused is not in the outbox');
SELECT journey.track('erp', 'price_changed', '{}', '{"sku": "J1", "price": 4}');
SELECT pg_temp.move('2026-03-02 10:22+00'), pg_temp.move('2026-03-02 10:27+00');
SELECT is((SELECT string_agg(DISTINCT d.verdict, ' ') FROM cases c, people, journey.decision d
           WHERE c.round = 2 AND c.kind = 'veto' AND c.declared ->> 'on_unknown' = 'hold' AND d.profile_id = pg_temp.pid(p || n) AND p = 'no' AND d.decided_at > '2026-03-02 10:25+00'),
          'enqueue', 'what was held goes out once the source has told again');

-- entries, exits and branches: who is not known to fit does not enter and does not leave, and takes an edge of its own
SELECT journey.apply(pg_temp.journey_doc('path', '{"on": "searched", "when": "event.query is null or profile.points::integer > 10"}',
    '{"rest": {"wait": {"for": "1 hour"}, "next": "fork"}, "fork": {"branch": [{"when": "profile.points::integer > 10", "to": "yes"}], "else": "no", "on_unknown": "nobody"},
      "yes": {"exit": "many"}, "no": {"exit": "few"}, "nobody": {"exit": "unknown"}}', '{"start": "rest", "defaults": {}, "exit": [{"on": "product_viewed", "when": "profile.points::integer > 10"}]}'));
SELECT journey.track('shop', 'searched', pg_temp.who(p || '2'), '{"query": "tent"}') FROM unnest('{"null",bad}'::text[]) p;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'path'), 0::bigint, 'unknown is not let in');
SELECT journey.track('shop', 'searched', pg_temp.who(p || '2'), '{}') FROM unnest('{no,"null",bad}'::text[]) p;
SELECT journey.track('shop', 'product_viewed', pg_temp.who(p || '2'), '{"sku": "J1"}') FROM unnest('{no,"null",bad}'::text[]) p;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'path' AND status = 'active'), 3::bigint, 'nor shown out');
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT is((SELECT string_agg(e.exit_reason, ' ' ORDER BY x.i) FROM unnest('{no,"null",bad}'::text[]) WITH ORDINALITY x (p, i) JOIN journey.enrollment e ON e.profile_id = pg_temp.pid(x.p || '2') AND e.journey = 'path'),
          'few unknown unknown', 'a branch has an edge for it');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
