-- What a lap set aside is sent again on the way it came.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(26);
SELECT journey.set_clock('2026-03-02 10:00+00');
CREATE FUNCTION pg_temp.open() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(origin || ' ' || source, ', ' ORDER BY origin, source) FROM journey.quarantine WHERE replayed_at IS NULL
$$;
-- stands for whatever may raise while an event is applied
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source NOT IN ('commerce', 'sick_load', 'sick_web')) NOT VALID;
CREATE TABLE shop_order (id text PRIMARY KEY, who text, status text, total numeric);
SELECT journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": "status", "amount": "total"}');

SELECT journey.track('sick_web', 'order_placed', '{"customer_id": "t"}', '{"order_id": "T1", "amount": 12.5, "currency": "EUR"}', '2026-03-01 09:30:00.25+00', 'm1');
SELECT journey.track('sick_web', 'searched', '{"customer_id": "t"}', '{"query": "sock"}');
SELECT journey.ingest('{"source": "sick_web", "type": "searched", "subject": {"customer_id": "t"}, "props": {"query": "old"}, "message_id": "m2", "backfill": true}');
COPY journey.inbox_copy (source, type, occurred_at, message_id, scope, subject, props) FROM stdin WITH (DELIMITER '|');
sick_load|product_viewed|2026-03-01 08:00+00|m3|brand_b|{"customer_id": "l"}|{"sku": "A"}
\.
INSERT INTO shop_order VALUES ('C1', 'c', 'placed', 5);
SELECT count(*) FROM journey.run_until_idle();
SELECT is(pg_temp.open(), 'capture commerce, copy sick_load, track sick_web, track sick_web, track sick_web', 'all are set aside');
SELECT is((SELECT count(*) FROM journey.event), 0::bigint, 'nothing was taken');
SELECT matches((SELECT string_agg(hint, '') FROM journey.health WHERE topic = 'quarantine'), 'replay_quarantine.*captured.*reconcile', 'health names both ways');

-- the cause is still there
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('sick_web')$$, 'VALUES (3, 0)', 'events are sent again');
SELECT count(*) FROM journey.run_until_idle();
SELECT is(pg_temp.open(), 'capture commerce, copy sick_load, track sick_web, track sick_web, track sick_web', 'what fails again is set aside again');
SELECT is((SELECT count(*) FROM journey.quarantine WHERE replayed_at IS NOT NULL), 3::bigint, 'and what was sent is marked');

ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT results_eq('SELECT * FROM journey.replay_quarantine()', 'VALUES (4, 1)', 'all but the captured row is sent again');
SELECT count(*) FROM journey.run_until_idle();
SELECT is(pg_temp.open(), 'capture commerce', 'and taken');
SELECT results_eq($$SELECT source, type, occurred_at, props ->> 'query', message_id FROM journey.event ORDER BY 1, 2, 4$$,
    $$VALUES ('sick_load', 'product_viewed', '2026-03-01 08:00+00'::timestamptz, NULL, 'm3'), ('sick_web', 'order_placed', '2026-03-01 09:30:00.25+00', NULL, 'm1'),
             ('sick_web', 'searched', '2026-03-02 10:00+00', 'old', 'm2'), ('sick_web', 'searched', '2026-03-02 10:00+00', 'sock', NULL)$$, 'as they came');
SELECT is((SELECT scope FROM journey.event WHERE message_id = 'm3'), 'brand_b', 'a load keeps its scope');
SELECT is((SELECT amount FROM journey.orders WHERE order_id = 'T1'), 12.5, 'the order is there');
SELECT results_eq('SELECT * FROM journey.replay_quarantine()', 'VALUES (0, 1)', 'once');
SELECT is((SELECT count(*) FROM journey.event WHERE message_id = 'm1'), 1::bigint, 'with one effect');

-- a captured row: its table says what is so now
SELECT sum(appended) FROM journey.reconcile('shop_order');
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT amount FROM journey.orders WHERE order_id = 'C1'), 5::numeric, 'reconcile() reads the table as it is');
SELECT is((SELECT string_agg(DISTINCT reason, '') FROM journey.quarantine WHERE origin = 'capture') ~ 'poison', true, 'the captured row keeps its reason');

-- what the lap itself refuses
SELECT journey.track('web', 'searched', '{"shop_card": "7"}', '{"query": "hat"}', NULL, 'm4');
SELECT journey.track('web', 'consent_granted', '{"customer_id": "t"}', '{"channel": "email", "expires_at": "soon"}');
SELECT count(*) FROM journey.run_until_idle();
INSERT INTO journey.namespace (namespace, class, rank, crosses_scopes, confidence, meaning) VALUES ('shop_card', 'person', 60, true, 0.9, 'a card');
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('web')$$, 'VALUES (1, 1)', 'an event of a new namespace is sent again; one that is recorded is not');
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.event WHERE message_id = 'm4'), 1::bigint, 'its message id was not used up');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'consent_granted'), 1::bigint, 'nothing counts twice');

-- which ones: by reason, by time, by id, and how many
SELECT journey.ingest(jsonb_build_array(m.a, m.b, m.a)) FROM (VALUES
    ('{"source": "pick", "type": "searched", "subject": {"customer_id": "p"}, "occurred_at": "noon"}'::jsonb, '{"source": "pick", "type": "searched"}'::jsonb)) AS m (a, b);
UPDATE journey.quarantine SET received_at = '2026-01-01' WHERE source = 'pick' AND reason LIKE '%subject%';
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('pick')$$, 'VALUES (0, 3)', 'what is not mended is kept');
UPDATE journey.quarantine SET original = original || '{"subject": {"customer_id": "p"}, "occurred_at": "2026-03-02"}' WHERE source = 'pick';
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('pick', reason => 'no such reason%')$$, 'VALUES (0, 0)', 'none has that reason');
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('pick', received_to => '2026-01-01')$$, 'VALUES (0, 0)', 'nor came before');
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('pick', received_from => '2026-01-01', received_to => '2026-01-02', reason => '%subject%')$$, 'VALUES (1, 0)', 'one came that day');
SELECT results_eq($$SELECT * FROM journey.replay_quarantine('pick', max => 1)$$, 'VALUES (1, 0)', 'one at a time');
SELECT results_eq($$SELECT * FROM journey.replay_quarantine(quarantine_ids => ARRAY(SELECT q.quarantine_id FROM journey.quarantine q WHERE q.source = 'pick'))$$, 'VALUES (1, 0)', 'the rest, by id');
SELECT throws_ok('SELECT journey.replay_quarantine(max => 0)', '22023', NULL, 'none at a time is not what anybody means');
SELECT count(*) FROM journey.run_until_idle();
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
