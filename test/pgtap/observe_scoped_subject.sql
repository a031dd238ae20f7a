-- A key of a namespace that does not cross scopes, named as events carry it:
-- every call that takes a subject finds the person, or says that there are two.
-- mission: 15
\set QUIET on
SET client_min_messages = warning;
SELECT plan(21);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
INSERT INTO journey.namespace (namespace, class, rank, crosses_scopes, confidence, meaning) VALUES ('till_no', 'person', 60, false, 0.9, 'number of a customer at one brand''s tills');
SELECT journey._invalidate('journey.namespace') \g /dev/null
SELECT journey.apply('[{"kind": "source", "name": "shop_a", "system": "commerce", "scope": "a"}, {"kind": "source", "name": "shop_b", "system": "commerce", "scope": "b"}]'::jsonb) \g /dev/null
SELECT journey.track('shop_a', 'page_viewed', '{"till_no": "1"}') \g /dev/null
SELECT journey.track('shop_a', 'page_viewed', '{"till_no": "2", "email": "a2@example.com"}') \g /dev/null
SELECT journey.track('shop_b', 'page_viewed', '{"till_no": "2", "email": "b2@example.com"}') \g /dev/null
SELECT journey.track('shop_' || s, 'page_viewed', '{"till_no": "3", "email": "c@example.com"}') FROM unnest(ARRAY['a', 'b']) s \g /dev/null
SELECT journey.track('web', 'page_viewed', '{"till_no": "4"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

SELECT isnt(journey.profile_id('{"till_no": "1"}'), NULL, 'as the event carries it');
SELECT is(journey.profile_id('{"till_no": "1"}'), journey.profile_id('{"till_no": "a:1"}'), 'and as it is stored');
SELECT isnt(journey.profile_id('{"till_no": "4"}'), NULL, 'in the scope of a source that nobody declared');
SELECT is(journey.profile_id('{"till_no": "1"}', 'b'), NULL, 'not in a scope where nobody has it');
SELECT is(journey.profile_id('{"till_no": "2"}', 'b'), journey.profile_id('{"email": "b2@example.com"}'), 'where the scope is given, that of the scope');
SELECT is(journey.profile_id('{"till_no": "2", "email": "a2@example.com"}'), journey.profile_id('{"email": "a2@example.com"}'), 'where another key says which, that one');
SELECT isnt(journey.profile_id('{"till_no": "3"}'), NULL, 'one person in two scopes is one person');
SELECT throws_ok($$SELECT journey.profile_id('{"till_no": "2"}')$$, '21000', 'the subject names several people: till_no has another owner in each scope', 'two people are none');
CREATE FUNCTION pg_temp.told(OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.profile_id('{"till_no": "2"}');
EXCEPTION WHEN cardinality_violation THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
SELECT results_eq('SELECT * FROM pg_temp.told()', $$VALUES ('Keys of namespace till_no do not cross scopes, and these are known: a:2, b:2.', 'Say which: {"till_no": "a:2"}, or name another key of the person.')$$, 'with what to say');
SELECT is(journey.profile_id(NULL), NULL, 'nobody');

SELECT is(journey.stage('{"till_no": "1"}'), 'awareness', 'stage');
SELECT is(journey.mark_test('{"till_no": "1"}'), true, 'mark_test');
SELECT isnt_empty($$SELECT * FROM journey.stages('{"till_no": "1"}')$$, 'stages');
SELECT is((journey.features('{"till_no": "1"}') IS NULL), (journey.features('{"till_no": "a:1"}') IS NULL), 'features');
SELECT throws_ok($$SELECT * FROM journey.explain_rule('stage = ''awareness''', '{"till_no": "2"}')$$, '21000', NULL, 'explain_rule');
SELECT throws_ok($$SELECT * FROM journey.contacts('{"till_no": "2"}')$$, '21000', NULL, 'contacts');
SELECT is(journey.suppress('{"till_no": "1"}', 'a', 'test'), true, 'suppress');
SELECT is(journey.suppress('{"till_no": "2"}', 'b', 'test'), true, 'in the scope that it names');
SELECT is((SELECT s.profile_id FROM journey.suppression s WHERE s.scope = 'b'), journey.profile_id('{"email": "b2@example.com"}'), 'the person of that scope');
SELECT is(journey.unsuppress('{"till_no": "1"}', 'a'), 1, 'unsuppress');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
