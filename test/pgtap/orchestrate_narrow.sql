-- Where a journey divides people more finely than there are people.
-- mission: 180
-- What would break if this failed: a journey grows branches that nobody takes, and nobody notices.
\ir ../fixtures/orchestrate.sql
SELECT plan(9);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE FUNCTION pg_temp.narrow(since interval DEFAULT '30 days', few int DEFAULT 5) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', journey, step, branch, to_step, people || ' of ' || of, finding) FROM journey.narrow_paths(since, few) $$;
SELECT count(*) FROM journey.apply(jsonb_build_array(
    pg_temp.journey_doc('fork', '{"on": "wishlist_added"}',
        '{"way": {"branch": [{"when": "event.sku = ''A''", "to": "a"}, {"when": "event.sku = ''B''", "to": "b"}, {"when": "event.sku = ''C''", "to": "c"}, {"when": "event.sku = ''A''", "to": "c"}], "else": "done", "on_unknown": "done"},
          "a": {"exit": "a"}, "b": {"exit": "b"}, "c": {"exit": "c"}, "done": {"exit": "finished"}}'),
    pg_temp.journey_doc('wall', '{"on": "searched"}',
        '{"way": {"branch": [{"when": "1 = 2", "to": "a"}, {"when": "true", "to": "b"}, {"when": "profile.tier = ''gold''", "to": "a"}], "else": "done", "on_unknown": "done"},
          "a": {"exit": "a"}, "b": {"exit": "b"}, "done": {"exit": "finished"}}'),
    pg_temp.journey_doc('dawn', '{"on": "group_joined"}',
        '{"way": {"branch": [{"when": "localtimestamp < timestamp ''2001-01-01''", "to": "a"}], "else": "done", "on_unknown": "done"}, "a": {"exit": "a"}, "done": {"exit": "finished"}}')));
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.narrow()$$, $$VALUES ('fork | way | event.sku = ''A'' | c | 0 of 0 | unreachable'), ('wall | way | 1 = 2 | a | 0 of 0 | unreachable'),
    ('wall | way | profile.tier = ''gold'' | a | 0 of 0 | unreachable'), ('wall | way | else | done | 0 of 0 | unreachable')$$,
    'before anybody has come: what nobody can reach, behind its like, behind what takes everybody, or by itself');
SELECT journey.retire('journey', 'dawn');
SELECT is((SELECT hint FROM journey.narrow_paths() WHERE journey = 'wall' AND branch = 'else'), '"true" before it takes everybody: remove it, or mend the condition.', 'and why');

SELECT pg_temp.person('p' || i), journey.track('shop', 'wishlist_added', pg_temp.who('p' || i), jsonb_build_object('sku', CASE WHEN i <= 6 THEN 'A' WHEN i <= 8 THEN 'B' ELSE 'D' END)) FROM generate_series(1, 14) i;
SELECT journey.run_until_idle();
SELECT is((SELECT count(DISTINCT exit_reason) FROM journey.enrollment WHERE journey = 'fork'), 3::bigint, 'people have gone three ways');
SELECT results_eq($$SELECT n FROM pg_temp.narrow() n WHERE n LIKE 'fork%' AND n NOT LIKE '%unreachable'$$,
    $$VALUES ('fork | way | event.sku = ''B'' | b | 2 of 14 | tiny'), ('fork | way | event.sku = ''C'' | c | 0 of 14 | never taken')$$, 'a branch of two people, and one of none; not those of six');
SELECT is_empty($$SELECT n FROM pg_temp.narrow(few => 15) n WHERE n LIKE 'fork%' AND n NOT LIKE '%unreachable'$$, 'of a step that few have come to nobody can tell');
SELECT is_empty($$SELECT n FROM pg_temp.narrow(few => 2) n WHERE n LIKE 'fork%tiny'$$, 'how few is few may be said');

-- a journey that has been live for as long and brought in hardly anybody
UPDATE journey.document SET activated_at = '2026-01-01' WHERE kind = 'journey';
SELECT results_eq($$SELECT n FROM pg_temp.narrow() n WHERE n LIKE '%entry%'$$, $$VALUES ('wall | entry | 0 of 0 | tiny')$$, 'an audience of nobody');
SET ROLE journey_analyst;
SELECT isnt_empty($$SELECT * FROM journey.narrow_paths()$$, 'an analyst may read it');
RESET ROLE;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
