-- The inbox: consumption by windows, fences and their end, rotation.
-- mission: 1
SELECT plan(41);

CREATE FUNCTION pg_temp.fences(VARIADIC kinds text[] DEFAULT '{event}') RETURNS text LANGUAGE sql AS
$$SELECT coalesce(string_agg(type || ' ' || coalesce(ref, ''), ', ' ORDER BY seq), 'none') FROM journey._fences() WHERE kind = ANY (kinds)$$;
CREATE FUNCTION pg_temp.lap(n integer DEFAULT 1000) RETURNS bigint LANGUAGE sql AS
$$SELECT value FROM journey.run_once(n) WHERE name = 'events'$$;

-- one order of capture, whichever way in and over many blocks of numbers
SELECT journey.track('s', 'x', '{"anonymous_id":"0"}', '{}', NULL, 'q' || i) FROM generate_series(1, 150) i;
COPY journey.inbox_copy (source, type, subject, props, message_id) FROM stdin;
s	x	{"anonymous_id":"0"}	{}	q151
s	x	{"anonymous_id":"0"}	{}	q152
\.
SELECT journey.track('s', 'x', '{"anonymous_id":"0"}', '{}', NULL, 'q' || i) FROM generate_series(153, 300) i;
SELECT is((SELECT array_agg(substr(i.message_id, 2)::int ORDER BY i.seq)
           FROM (SELECT seq, message_id FROM journey.inbox_0 UNION ALL SELECT seq, message_id FROM journey.inbox_copy) i),
          (SELECT array_agg(i) FROM generate_series(1, 300) i), 'track and COPY are numbered in the order in which they came');
SELECT is(pg_temp.lap(), 300::bigint, 'and are consumed');

-- a fence stands from commit to consumption
SELECT is(pg_temp.fences(), 'none', 'no fence at first');
SELECT journey.track('s', 'order_placed', '{"email":"a@x.example"}', '{"order_id":"1"}');
SELECT is(pg_temp.fences(), 'order_placed order:1', 'an order stands as a fence');
SELECT is(pg_temp.lap(), 1::bigint, 'a lap consumes it');
SELECT is(pg_temp.fences(), 'none', 'then the fence is gone');
SELECT is(pg_temp.lap(), 0::bigint, 'and it is not consumed twice');

-- releases: the highest seq of a ref wins
SELECT journey.track('s', 'order_placed', '{"email":"a@x.example"}', '{"order_id":"2"}');
SELECT journey.track('s', 'order_placed', '{"email":"a@x.example"}', '{"order_id":"3"}');
SELECT journey.track('s', 'order_cancelled', '{"email":"a@x.example"}', '{"order_id":"2"}');
SELECT is(pg_temp.fences(), 'order_placed order:3', 'a cancelled order releases its own fence only');
SELECT journey.track('s', 'order_placed', '{"email":"a@x.example"}', '{"order_id":"2"}');
SELECT is(pg_temp.fences(), 'order_placed order:3, order_placed order:2', 'placed again, it stands again');
SELECT is(pg_temp.lap(), 4::bigint, 'all are consumed');

-- types that documents list
SELECT is(journey._fence('{shipment_shipped,order_placed,shipment_shipped}'), 1, 'one type is new');
SELECT is(journey._fence('{shipment_shipped}'), 0, 'once');
SELECT journey.track('s', 'shipment_shipped', '{"email":"a@x.example"}', '{"order_id":"2"}');
SELECT is(pg_temp.fences(), 'shipment_shipped order:2', 'its events are fences from now on');
SELECT is((SELECT count(*)::int FROM journey.fenced_since WHERE effective), 0, 'not relied upon yet');
SELECT is(pg_temp.lap(), 1::bigint, 'a lap passes');
SELECT is((SELECT count(*)::int FROM journey.fenced_since WHERE effective), 1, 'then everybody is known to know it');

-- a long window is walked in order of seq
COPY journey.inbox_copy (source, type, subject, props, message_id) FROM stdin;
s	x	{"anonymous_id":"1"}	{}	c1
s	x	{"anonymous_id":"2"}	{}	c2
s	x	{"anonymous_id":"3"}	{}	c3
s	x	{"anonymous_id":"4"}	{}	c4
s	x	{"anonymous_id":"5"}	{}	c5
s	x	{"anonymous_id":"6"}	{}	c6
s	x	{"anonymous_id":"7"}	{}	c7
s	x	{"anonymous_id":"8"}	{}	c8
s	x	{"anonymous_id":"9"}	{}	c9
s	x	{"anonymous_id":"10"}	{}	c10
s	x	{"anonymous_id":"11"}	{}	c11
s	x	{"anonymous_id":"12"}	{}	c12
\.
SELECT journey.track('s', 'order_placed', '{"email":"b@x.example"}', '{"order_id":"4"}');
SELECT is(pg_temp.lap(2), 2::bigint, 'two rows of the COPY');
SELECT ok((SELECT window_snapshot IS NOT NULL FROM journey.cursor), 'the window stays open');
SELECT is(pg_temp.fences(), 'order_placed order:4', 'a fence in it that was not reached stands');
SELECT journey.track('s', 'order_placed', '{"email":"b@x.example"}', '{"order_id":"5"}');
SELECT is(pg_temp.fences(), 'order_placed order:4, order_placed order:5', 'and so does one behind it');
SELECT is(pg_temp.lap(3), 10::bigint, 'the next goes on to the end of the transaction, which is near');
SELECT is(pg_temp.lap(100), 1::bigint, 'the rest of the window, not what came after it was frozen');
SELECT is(pg_temp.fences(), 'order_placed order:5', 'the fence that was reached is gone');
SELECT is(pg_temp.lap(100), 1::bigint, 'the next window has the rest');
SELECT ok((SELECT window_snapshot IS NULL FROM journey.cursor), 'no window is open');

-- rows that move between the laps of a long window
BEGIN; SELECT journey.track('s', 'searched', '{"anonymous_id":"v"}') FROM generate_series(1, 3); ROLLBACK;
SELECT format($$SELECT journey.track('s', 'searched', '{"anonymous_id":"v"}', '{}', NULL, 'v%s')$$, n) FROM generate_series(1, 10) n \gexec
SELECT is(pg_temp.lap(2) + pg_temp.lap(2), 4::bigint, 'two laps of a window');
VACUUM FULL journey.inbox_0;
SELECT is(pg_temp.lap(2), 2::bigint, 'a lap after its rows have moved');
SELECT is((SELECT string_agg(message_id, ' ' ORDER BY seq) FROM journey.inbox_0 WHERE message_id LIKE 'v%' AND seq <= (SELECT applied_seq FROM journey.cursor)), 'v1 v2 v3 v4 v5 v6', 'takes the next ones, not what lies at their places');
VACUUM FULL journey.inbox_0;
SELECT is(pg_temp.lap(100), 4::bigint, 'and none is lost');

-- a cursor of another cluster is refused
CREATE TEMP TABLE saved AS SELECT previous FROM journey.cursor;
SELECT journey.track('s', 'order_placed', '{"email":"b@x.example"}', '{"order_id":"6"}');
UPDATE journey.cursor SET previous = '900000000000:900000000000:';
SELECT is(pg_temp.lap(), 0::bigint, 'a cursor ahead of this cluster''s ids moves nothing');
SELECT is((SELECT kind FROM journey.incident), 'foreign_cursor', 'and is an incident');
UPDATE journey.cursor SET previous = (SELECT previous FROM saved);
SELECT is(pg_temp.lap(), 1::bigint, 'with its own cursor the lap goes on');

-- the test clock
SELECT journey.set_clock('2026-03-07 09:00+00');
SELECT journey.track('s', 'searched', '{"email":"b@x.example"}');
SELECT is((SELECT occurred_at FROM journey.inbox_0 ORDER BY seq DESC LIMIT 1), '2026-03-07 09:00+00', 'what does not say when takes the test clock');
SELECT journey.set_clock(NULL);
SELECT journey.track('s', 'searched', '{"email":"b@x.example"}');
SELECT is((SELECT occurred_at FROM journey.inbox_0 ORDER BY seq DESC LIMIT 1), NULL, 'or, in real time, its time of capture');
SELECT journey.run_once();

-- rotation
UPDATE journey.inbox_pointer SET rotated_at = rotated_at - interval '1 day';
SELECT journey._maintain();
SELECT is((SELECT generation FROM journey.inbox_pointer), 1, 'a generation with rows gives way to the next');
SELECT journey.track('s', 'order_placed', '{"email":"b@x.example"}', '{"order_id":"7"}');
SELECT is((SELECT count(*)::int FROM journey.inbox_1), 1, 'writers follow');
SELECT journey._maintain();
SELECT journey._maintain();
SELECT is((SELECT count(*)::int FROM journey.inbox_0) + (SELECT count(*)::int FROM journey.inbox_copy), 0, 'consumed generations are emptied');
SELECT is(pg_temp.fences(), 'order_placed order:7', 'unconsumed rows of a retired one stay');
SELECT is(pg_temp.lap(), 1::bigint, 'and are consumed');
SELECT ok(to_regclass('journey.event_' || to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '2 days', 'YYYYMMDD')) IS NOT NULL, 'partitions are made ahead');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
