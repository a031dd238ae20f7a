-- Bad input to every public function: what a case answers, with its SQLSTATE, in words of ours
-- and with a hint of what to do; and that nothing of it is lost. What single nulls and odd
-- values of each type give is in core_nonsense; chance tries the rest (test/fuzz).
\set QUIET on
SET client_min_messages = error;
SET journey.allow_in_transaction = on;
SET statement_timeout = '60s';
\ir ../lib/said.sql
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
SELECT journey.track('web', 'identified', '{"customer_id": "1", "email": "a@example.org"}', '{}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
-- a table that is hostile in each of its names
CREATE TABLE public."od""d; DROP TABLE x; --" (id integer PRIMARY KEY, "cu'st" text, "status $$" text, at timestamptz);

-- 50 MB, made once
CREATE TABLE public.big (props jsonb);
ALTER TABLE big ALTER props SET STORAGE EXTERNAL;
INSERT INTO big SELECT jsonb_build_object('a', repeat('b', 50000000));

CREATE TABLE public.bad (n serial, what text, expected text, call text);
-- expected: a SQLSTATE, or ok when it is taken, or answered with nothing
COPY bad (what, expected, call) FROM STDIN (DELIMITER '^');
track: 50 MB of properties^54000^SELECT journey.track('s', 'x', '{"email": "a"}', (SELECT props FROM big))
track: almost 1 MB of properties^ok^SELECT journey.track('s', 'x', '{"email": "a"}', jsonb_build_object('a', repeat('a', 1000000)))
claim: a channel of 1 MB^42704^SELECT journey.claim(repeat('x', 1000000))
fail: a code of 1 MB^22023^SELECT journey.fail(gen_random_uuid(), 1, 'x', NULL, repeat('x', 1000000))
resolve: an outcome of 1 MB^22023^SELECT journey.resolve(gen_random_uuid(), repeat('x', 1000000), NULL)
attach: a kind of 1 MB^22023^SELECT journey.attach('public."od""d; DROP TABLE x; --"', repeat('x', 1000000), '{"key": "id"}')
attach: a column of 1 MB^42703^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', jsonb_build_object('key', repeat('x', 1000000), 'subject', '{"customer_id": "id"}'::jsonb, 'status', 'id'))
detach: a kind of 1 MB^42704^SELECT journey.detach('pg_class', repeat('x', 1000000))
detach: a name of 1 MB^42704^SELECT journey.detach(repeat('x', 1000000), repeat('x', 1000000), '{}')
activate: a kind and a name of 1 MB^42704^SELECT journey.activate(repeat('x', 1000000), repeat('x', 1000000), 1)
retire: a kind and a name of 1 MB^42704^SELECT journey.retire(repeat('x', 1000000), repeat('x', 1000000))
narrow_paths: of no time, fewer than none^ok^SELECT journey.narrow_paths('-1 year', -5)
recommend: a context that is an array^22023^SELECT journey.recommend('{"customer_id": "1"}', 3, '[]')
recommend: a field of 1 MB^22023^SELECT journey.recommend('{"customer_id": "1"}', 3, jsonb_build_object(repeat('x', 1000000), 1))
recommend: fewer than none, of a category of 1 MB, without a number^ok^SELECT journey.recommend('{"customer_id": "1"}', -5, jsonb_build_object('category', repeat('x', 1000000), 'exclude', 5))
requirements: a journey of 1 MB^42704^SELECT journey.requirements(repeat('x', 1000000))
preview: a journey of 1 MB^42704^SELECT journey.preview(repeat('x', 1000000), '{"customer_id": "1"}', now())
pause: a kind of 1 MB^22023^SELECT journey.pause(repeat('x', 1000000), 'x')
resume: a way of 1 MB^22023^SELECT journey.resume(repeat('x', 1000000))
declare_truth: a signal of 1 MB^22023^SELECT journey.declare_truth(repeat('x', 1000000), 'y')
define_name: a name of 1 MB^22023^SELECT journey.define_name(repeat('x', 1000000), 'text', 'y')
define_name: 32,000 letters that do not repeat^42622^SELECT journey.define_name('event.' || (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i), 'text', 'y')
define_name: a type of 1 MB^22023^SELECT journey.define_name('event.y', repeat('x', 1000000), 'y')
explain_rule: a name of 1 MB^42703^SELECT journey.explain_rule(repeat('x', 1000000), '{"customer_id": "1"}')
track: a time zone of 1 MB^ok^SELECT journey.track('s', 'identified', '{"email": "a"}', jsonb_build_object('zone', repeat('x', 1000000)))
suppress: a scope of 1 MB^42704^SELECT journey.suppress('{"customer_id": "1"}', repeat('x', 1000000))
track: nesting of 6,000^ok^SELECT journey.track('s', 'x', '{"email": "a"}', jsonb_build_object('d', (repeat('[', 6000) || repeat(']', 6000))::jsonb))
track: properties are an array^22023^SELECT journey.track('s', 'x', '{"email": "a"}', '[1]')
track: control characters in every text^ok^SELECT journey.track(E's\x01', E'x\x01\n', E'{"email": "a\\\\u0001b"}', E'{"a\\\\u0007": "\\\\u001b"}', NULL, E'\x02')
track: the year 1^ok^SELECT journey.track('s', 'x', '{"email": "a"}', '{}', '0001-01-01')
track: the year 4713 before our time^ok^SELECT journey.track('s', 'x', '{"email": "a"}', '{}', '4713-01-01 BC')
track: the year 294276^ok^SELECT journey.track('s', 'x', '{"email": "a"}', '{}', '294276-12-31')
track: for ever^22008^SELECT journey.track('s', 'x', '{"email": "a"}', '{}', 'infinity')
track: since ever^22008^SELECT journey.track('s', 'x', '{"email": "a"}', '{}', '-infinity')
track: an amount that is none^ok^SELECT journey.track('s', 'order_placed', '{"email": "a"}', '{"order_id": "n1", "amount": "NaN"}')
track: an endless amount^ok^SELECT journey.track('s', 'order_placed', '{"email": "a"}', '{"order_id": "n2", "amount": "infinity"}')
track: an amount of 131,000 digits^ok^SELECT journey.track('s', 'order_placed', '{"email": "a"}', '{"order_id": "n3", "amount": 1e131000}')
track: an order id that is an object^ok^SELECT journey.track('s', 'order_placed', '{"email": "a"}', '{"order_id": {"a": 1}}')
track: lines that are a number^ok^SELECT journey.track('s', 'order_placed', '{"email": "a"}', '{"order_id": "n4", "lines": 5}')
track: lines of nonsense^ok^SELECT journey.track('s', 'order_placed', '{"email": "a"}', '{"order_id": "n5", "lines": [5, null, {"sku": {}}, []]}')
track: a key of no namespace^ok^SELECT journey.track('s', 'x', '{"no_such_key": "a"}')
track: 17 keys^54000^SELECT journey.track('s', 'x', (SELECT jsonb_object_agg('k' || i, '1') FROM generate_series(1, 17) i))
track: a key that is null^22023^SELECT journey.track('s', 'x', '{"email": null}')
track: a key that is an array^22023^SELECT journey.track('s', 'x', '{"email": ["a"]}')
track: a subject that is a number^22023^SELECT journey.track('s', 'x', '5')
track: nobody^22023^SELECT journey.track('s', 'x', '{}')
track: a type of 600 characters^54000^SELECT journey.track('s', repeat('x', 600), '{"email": "a"}')
track: a source of 600 characters^54000^SELECT journey.track(repeat('x', 600), 'x', '{"email": "a"}')
track: a message id of 600 characters^54000^SELECT journey.track('s', 'x', '{"email": "a"}', '{}', NULL, repeat('x', 600))
track: a key of 600 characters^54000^SELECT journey.track('s', 'x', jsonb_build_object('email', repeat('x', 600)))
track: SQL in every text^ok^SELECT journey.track('''; DROP TABLE journey.outbox; --', '''; DROP TABLE journey.outbox; --', '{"email": "''; DROP TABLE journey.outbox; --"}', '{"''; DROP TABLE x; --": "''; DROP TABLE x"}', NULL, '''; DROP TABLE journey.outbox; --')
track: formats and quotes^ok^SELECT journey.track('%s%n%1$s', '$1 \\ " '' {{x}}', '{"email": "$1 %s"}', '{"sku": "\\\\"}')
track: null bytes cannot be written^22P05^SELECT journey.track('s', 'x', '{"email": "a"}', '{"a": "\\u0000"}')
track: bytes that are no text^22021^SELECT journey.track('s', convert_from('\\xff', 'UTF8'), '{"email": "a"}')
ingest: a number^ok^SELECT journey.ingest('5')
ingest: an object that is no message^ok^SELECT journey.ingest('{}')
ingest: arrays of arrays^ok^SELECT journey.ingest('[[[]]]')
ingest: 6,000 arrays deep^ok^SELECT journey.ingest((repeat('[', 6000) || repeat(']', 6000))::jsonb)
ingest: Segment with wrong types^ok^SELECT journey.ingest('[{"type": "track", "event": 5, "userId": {}, "timestamp": "x"}]')
ingest: a time that is none^ok^SELECT journey.ingest('[{"source": "s", "type": "x", "subject": {"email": "a"}, "occurred_at": "not a time"}]')
ingest: the year 999999^ok^SELECT journey.ingest('[{"source": "s", "type": "x", "subject": {"email": "a"}, "occurred_at": "999999-12-31"}]')
ingest: 50 MB in one message^ok^SELECT journey.ingest((SELECT jsonb_build_array(jsonb_build_object('source', 's', 'type', 'x', 'subject', '{"email": "a"}'::jsonb, 'props', props)) FROM big))
attach: a kind that is none^22023^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'orders', '{"key": "id"}')
attach: a map that is an array^22023^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', '[]')
attach: a field that is none^22023^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', '{"keyy": "id", "subject": {"customer_id": "cu''st"}, "status": "status $$"}')
attach: SQL in a column's place^42703^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', '{"key": "id; DROP TABLE x", "subject": {"customer_id": "cu''st"}, "status": "status $$"}')
attach: a column of the system^42703^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', '{"key": "ctid", "subject": {"customer_id": "cu''st"}, "status": "status $$"}')
attach: numbers for names^42703^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', '{"key": {"column": 5}, "subject": 5, "status": []}')
attach: a table of ours^42809^SELECT journey.attach('journey.outbox', 'order')
attach: a table of the system^42809^SELECT journey.attach('pg_catalog.pg_class', 'order')
attach: a table with hostile names^ok^SELECT journey.attach('public."od""d; DROP TABLE x; --"', 'order', '{"key": "id", "subject": {"customer_id": "cu''st"}, "status": "status $$", "at": "at"}')
detach: as what it is not^42704^SELECT journey.detach('public."od""d; DROP TABLE x; --"', 'stock')
detach: what is not attached^42704^SELECT journey.detach('pg_class')
detach: by a hostile name^42704^SELECT journey.detach('x', '''; DROP', '{}')
reconcile: what is not attached^42704^SELECT journey.reconcile('pg_class')
claim: a hostile channel^42704^SELECT journey.claim('''; DROP')
claim: less than none^ok^SELECT journey.claim('email', -1)
claim: two milliards^ok^SELECT journey.claim('email', 2147483647)
claim: a lease that has ended^22023^SELECT journey.claim('email', 1, '-1 day')
claim: a lease of 170 million years^ok^SELECT journey.claim('email', 1, '170000000 years')
claim: a sender of 100,000 characters^ok^SELECT journey.claim('email', 1, NULL, repeat('x', 100000))
claim: to wait for a time that has been^ok^SELECT journey.claim('email', 1, NULL, 's', '-1 s')
begin_send: a token that cannot be^ok^SELECT journey.begin_send(gen_random_uuid(), -1)
begin_send: fewer tokens than actions^2202E^SELECT journey.begin_send(ARRAY[gen_random_uuid()], '{}'::bigint[])
begin_send: 100,000 at once^54000^SELECT journey.begin_send(ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 100000)), ARRAY(SELECT 1::bigint FROM generate_series(1, 100000)))
claim_and_begin: no such channel^42704^SELECT journey.claim_and_begin('emial')
ack: a reference of 1 MB^ok^SELECT journey.ack(gen_random_uuid(), 1, repeat('x', 1000000))
ack: a cost that is none^ok^SELECT journey.ack(gen_random_uuid(), 1, 'x', 'NaN')
fail: a code that is none^22023^SELECT journey.fail(gen_random_uuid(), 1, repeat('x', 1000000), NULL, 'no such code')
fail: to try again 170 million years ago^ok^SELECT journey.fail(gen_random_uuid(), 1, 'x', NULL, NULL, '-170000000 years')
unknown: an error without a word^ok^SELECT journey.unknown(gen_random_uuid(), 1, '')
resolve: an outcome that is none^22023^SELECT journey.resolve(gen_random_uuid(), 'perhaps', NULL)
extend: into the past^22023^SELECT journey.extend(gen_random_uuid(), 1, '-1 day')
extend: by 170 million years^ok^SELECT journey.extend(gen_random_uuid(), 1, '170000000 years')
release: nulls among the actions^ok^SELECT journey.release('{NULL}'::uuid[], '{1}'::bigint[])
requeue: nothing^ok^SELECT journey.requeue('{}')
next_due: no such channel^ok^SELECT journey.next_due('''')
check_rule: 20,000 brackets^ok^SELECT journey.check_rule(repeat('(', 20000) || 'true' || repeat(')', 20000))
check_rule: a second statement^ok^SELECT journey.check_rule('true; DROP TABLE journey.outbox')
check_rule: 1 MB of a name^ok^SELECT journey.check_rule(repeat('x', 1000000))
explain_rule: a query^0A000^SELECT journey.explain_rule('(SELECT true)', '{"customer_id": "1"}')
explain_rule: a function that is not listed^0A000^SELECT journey.explain_rule('pg_sleep(1) IS NULL', '{"customer_id": "1"}')
explain_rule: a division by nothing^ok^SELECT journey.explain_rule('1 / 0 = 1', '{"customer_id": "1"}')
lint: 6,000 arrays deep^ok^SELECT journey.lint((repeat('[', 6000) || repeat(']', 6000))::jsonb)
lint: 9 MB^ok^SELECT journey.lint(jsonb_build_object('kind', 'template', 'name', 'big', 'content', jsonb_build_object('en', jsonb_build_object('subject', 's', 'body', repeat('b', 9000000)))))
plan: no document^22023^SELECT journey.plan('[]')
plan: steps that are a number^22023^SELECT journey.plan('{"kind": "journey", "name": "x", "steps": 5}')
apply: a kind that is none^22023^SELECT journey.apply('{"kind": "no_such", "name": "x"}')
apply: a hostile name^22023^SELECT journey.apply('{"kind": "template", "name": "''; DROP", "content": {"en": {"subject": "s", "body": "b"}}}')
apply: 1 MB of words^22023^SELECT journey.apply(jsonb_build_object('kind', 'template', 'name', 'big', 'content', jsonb_build_object('en', jsonb_build_object('subject', 's', 'body', repeat('b', 1000000)))))
apply: 9 MB of words^22023^SELECT journey.apply(jsonb_build_object('kind', 'template', 'name', 'big', 'content', jsonb_build_object('en', jsonb_build_object('subject', 's', 'body', repeat('b', 9000000)))))
apply: a plan that was never made^55000^SELECT journey.apply('{"kind": "template", "name": "t", "content": {"en": {"subject": "s", "body": "b"}}}', 'no such hash')
activate: a hostile name^42704^SELECT journey.activate('template', '''; DROP', -1)
retire: half a bracket^42704^SELECT journey.retire('feature', '(')
retire: a hostile kind^42704^SELECT journey.retire('''; DROP', '[')
export: what is not there^ok^SELECT journey.export('no such', '''')
merge: a number for the other^ok^SELECT journey.merge('{"customer_id": "1"}', '5')
merge: a person with themselves^ok^SELECT journey.merge('{"customer_id": "1"}', '{"customer_id": "1"}')
merge: two who are nobody, in a scope of 1 MB^ok^SELECT journey.merge('{}', '[]', repeat('x', 1000000))
unmerge: what was never merged^ok^SELECT journey.unmerge('00000000-0000-0000-0000-000000000000')
erase: a key that is an object^ok^SELECT journey.erase('{"customer_id": {"a": 1}}', repeat('r', 1000000))
restrict: an array^ok^SELECT journey.restrict('[]')
export_person: a number^ok^SELECT journey.export_person('5')
schedule: in a database that is not pg_cron's^55000^SELECT journey.schedule('''; DROP')
mark_test: a key that is an object^ok^SELECT journey.mark_test('{"customer_id": {"a": 1}}', true)
suppress: a scope that is none^42704^SELECT journey.suppress('{"customer_id": "1"}', 'all', 'r')
suppress: a reason of 1 MB^ok^SELECT journey.suppress('{"customer_id": "1"}', '*', repeat('r', 1000000))
suppress: until the beginning of time^ok^SELECT journey.suppress('{"customer_id": "1"}', '*', 'r', '-infinity')
unsuppress: nobody^ok^SELECT journey.unsuppress('{"nobody": "1"}', '*')
unsubscribe: a token of 1 MB^ok^SELECT journey.unsubscribe(repeat('x', 1000000))
preferences: a hostile token^ok^SELECT journey.preferences('''; DROP')
set_preferences: a number^ok^SELECT journey.set_preferences('x', '5')
profile_id: an array^ok^SELECT journey.profile_id('[]')
features: a number^ok^SELECT journey.features('5')
stage: an array for a key^ok^SELECT journey.stage('{"customer_id": []}')
stages: 6,000 objects deep^ok^SELECT * FROM journey.stages((repeat('{"a":', 6000) || '1' || repeat('}', 6000))::jsonb)
why: a reference of 1 MB^ok^SELECT journey.why(repeat('x', 1000000))
why_not: a number^ok^SELECT journey.why_not('5', 'x')
contradictions: from the end to the beginning, within less than nothing^ok^SELECT journey.contradictions('{"customer_id": "1"}', 'infinity', '-infinity', '-1 year')
contradictions: within longer than there are times^22023^SELECT journey.contradictions('{"customer_id": "1"}', within => '170000000 years')
narrow_paths: since longer than there are times^22023^SELECT journey.narrow_paths('170000000 years')
contacts: from the end to the beginning^ok^SELECT journey.contacts('{"customer_id": "1"}', 'infinity', '-infinity')
preview: a journey that is none, in the year 294276^42704^SELECT journey.preview('no such', '{"customer_id": "1"}', '294276-12-31')
pause: a kind that is none^22023^SELECT journey.pause('planet', 'x')
pause: a journey of 100,000 characters^42704^SELECT journey.pause('journey', repeat('x', 100000), repeat('x', 1000000))
unpause: a way that is none^ok^SELECT journey.unpause('journey', 'x', 'perhaps', '-1 day')
resume: a way that is none^22023^SELECT journey.resume('perhaps', '-1 day')
run_once: less than none^ok^SELECT journey.run_once(-1)
set_clock: the year 294276^22008^SELECT journey.set_clock('294276-12-31')
set_clock: before our time^22008^SELECT journey.set_clock('4713-01-01 BC')
set_clock: for ever^22023^SELECT journey.set_clock('infinity')
resolve_incident: hostile^ok^SELECT journey.resolve_incident('''', '"')
declare_truth: a signal that is none^22023^SELECT journey.declare_truth('x', 'y')
define_name: a hostile name^ok^SELECT journey.define_name('event."; DROP', 'text', 'y')
define_name: a type that is none^22023^SELECT journey.define_name('event.y', repeat('(', 10000), 'y')
disallow_function: what is not listed^ok^SELECT journey.disallow_function('no_such(')
uninstall: without the words^22023^SELECT journey.uninstall('yes')
replay_quarantine: nothing of that kind^ok^SELECT journey.replay_quarantine('''', 'XXXXX')
key_hash: nothing^ok^SELECT journey.key_hash('', '')
normalise: 1 MB^ok^SELECT journey.normalise('email', repeat('x', 1000000))
hash64: 1 MB^ok^SELECT journey.hash64(decode(repeat('00', 1000000), 'hex'), -1)
\.

SELECT plan((SELECT count(*) FROM bad)::integer + 14);
CREATE TEMP TABLE told AS SELECT n, what, expected, pg_temp.said(call) AS said FROM bad ORDER BY n;
SELECT ok(fine, what || CASE expected WHEN 'ok' THEN '' ELSE ': refused, with what to do' END) || CASE WHEN fine THEN '' ELSE E'\n' || diag(left(said, 300)) END
FROM told CROSS JOIN LATERAL (SELECT split_part(replace(said, 'no error', 'ok'), E'\n', 1) = expected
    -- what jsonb and the encoding refuse, they refuse before us
    AND (expected IN ('ok', '22P05', '22021') OR split_part(said, E'\n', 4) <> '') AS fine) x
ORDER BY n;
SELECT is_empty($$SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'journey'::regnamespace AND p.proname !~ '^_' AND p.pronargs > 0
    AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND p.proname NOT IN ('assign', 'bucket', 'allow_function') -- of a uuid or an oid, which cannot be bad
    AND NOT EXISTS (SELECT FROM bad WHERE call ~ ('journey\.' || p.proname || '\('))$$, 'no public function is left out');

-- nothing is lost
SELECT lives_ok('SELECT journey.run_until_idle()', 'laps go on');
SELECT set_eq($$SELECT reason FROM journey.quarantine WHERE origin = 'ingest'$$,
    ARRAY['the message is not an object', 'the source of the event is missing', '"timestamp" is not a point in time', '"occurred_at" is not a point in time', 'subject and properties are larger than 1048576 bytes'],
    'what ingest() could not take is set aside with its reason');
-- but for what names the one who was erased above
SELECT is_empty($$SELECT quarantine_id FROM journey.quarantine WHERE original IS NULL AND reason IS DISTINCT FROM 'of a person who was erased' OR reason IS NULL OR sqlstate IS NULL$$, 'and its original');
SELECT set_has($$SELECT original #>> '{props,order_id}' FROM journey.quarantine WHERE reason LIKE 'amount%'$$, $$VALUES ('n1')$$, 'so is an order with an amount that is none');
SELECT is((SELECT count(*) FROM journey.health WHERE topic = 'quarantine' AND status <> 'ok'), 1::bigint, 'health counts them');
SELECT journey._invalidate('journey.namespace');
SELECT is((SELECT original -> 'subject' ->> 'no_such_key' FROM journey.quarantine WHERE reason = 'subject names nobody' LIMIT 1), 'a', 'a key of no namespace waits');
INSERT INTO journey.namespace (namespace, class, rank, confidence, meaning) VALUES ('no_such_key', 'person', 5, 0.5, 'made known');
SELECT journey._invalidate('journey.namespace');
SELECT cmp_ok((SELECT replayed FROM journey.replay_quarantine(sqlstate => '22000')), '>=', 1, 'until it is declared, and then it is taken');
SELECT journey.run_until_idle() \g /dev/null
SELECT isnt(journey.profile_id('{"no_such_key": "a"}'), NULL, 'as it came');
SELECT is((SELECT count(*) FROM journey.event WHERE source LIKE '%DROP TABLE%' AND type LIKE '%DROP TABLE%'), 1::bigint, 'SQL is text like any other');
-- an event of each type that names a message of somebody else's, and nobody whom we know
CREATE TEMP TABLE of_nobody AS
SELECT count(journey.track('web', t.type, s.subject::jsonb, p.props::jsonb)) AS n
FROM (SELECT type FROM journey.event_type UNION SELECT 'strange') t,
     (VALUES ('{"cart": "K1"}'), ('{"company": "c"}'), ('{"household": "h"}')) s (subject),
     (VALUES ('{"action_id": "11111111-1111-4111-8111-111111111111"}'), ('{"provider_ref": "nobody''s"}'), ('{"idempotency_key": "x", "channel": "email"}')) p (props);
SELECT lives_ok('SELECT journey.run_until_idle()', 'who is nobody stops no lap');
SELECT set_has($$SELECT original ->> 'type' FROM journey.quarantine WHERE reason = 'subject names nobody'$$, $$VALUES ('identified')$$, 'what says who somebody is, and names nobody, is set aside');
SELECT lives_ok($$SELECT journey.detach('public."od""d; DROP TABLE x; --"')$$, 'a table with a hostile name is let go');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
