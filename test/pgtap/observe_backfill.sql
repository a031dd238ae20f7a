-- The history of a table above 1 MB: read by laps, portion by portion, each
-- committed with its progress; enrolls nobody; permits wait for it; whatever
-- becomes of the table meanwhile, the result is right or health says why not
-- mission: 15, 117
\set QUIET on
SET client_min_messages = warning;
SELECT plan(58);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\ir ../lib/deliver.sql
SELECT pg_temp.action('A') AS a \gset
SELECT journey.run_until_idle() \g /dev/null

-- 2,000 rows, 7 in a block: 286 blocks; portions of 32 blocks
CREATE FUNCTION pg_temp.fill(tab text, first int, n int DEFAULT 2000) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (id integer, email text, status text, filler text)', tab);
    EXECUTE format('INSERT INTO %I SELECT g, %L || g || ''@example.com'', ''placed'', repeat(''x'', 1000) FROM generate_series(%s, %s) g', tab, tab, first, first + n - 1);
END
$$;
CREATE FUNCTION pg_temp.attach(tab text, backfill boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.attach(tab::regclass, 'order', jsonb_build_object('source', tab, 'key', 'id', 'subject', jsonb_build_object('email', 'email'), 'status', 'status'), backfill => backfill);
END
$$;
-- laps of their own transactions, as a worker makes them; each reads one portion
CREATE PROCEDURE laps(n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n LOOP
        PERFORM journey.run_once();
        COMMIT;
    END LOOP;
END
$$;
CREATE PROCEDURE drain(INOUT n int DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
    WHILE n < 100 AND EXISTS (SELECT FROM journey.stat_progress WHERE problem IS NULL) LOOP
        PERFORM journey.run_once();
        COMMIT;
        n := n + 1;
    END LOOP;
    PERFORM journey.run_until_idle();
END
$$;
CREATE FUNCTION pg_temp.known(tab text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(DISTINCT e.props ->> 'order_id') FROM journey.event e WHERE e.source = tab AND e.type = 'order_placed'
$$;

-- ---- portion by portion ------------------------------------------------------
SELECT pg_temp.fill('big', 1);
SELECT pg_temp.attach('big');
SELECT is((SELECT row(command, name, kind, phase, blocks_done, rows_appended, holds_permits)::text FROM journey.stat_progress),
    '(back-fill,public.big,order,reading,0,0,t)', 'attach registers it');
SELECT is((SELECT blocks_total FROM journey.stat_progress), pg_relation_size('big') / 8192, 'all of its blocks');
SELECT is((SELECT backfilled_at FROM journey.attachment), NULL, 'nothing is said to be read');
CALL laps(1);
SELECT is((SELECT row(blocks_done, rows_appended)::text FROM journey.stat_progress), '(32,224)', 'a lap reads one portion');
SELECT is((SELECT value FROM journey.run_once() WHERE name = 'backfilled'), 224::bigint, 'and says how many rows it appended');
SELECT is((SELECT row(blocks_done, rows_appended)::text FROM journey.stat_progress), '(64,448)', 'the next goes on behind it');
SELECT is(pg_temp.known('big'), 224::bigint, 'and takes in what the first has read');
BEGIN;
SELECT journey.run_once() \g /dev/null
ROLLBACK;
SELECT is((SELECT row(blocks_done, rows_appended)::text FROM journey.stat_progress), '(64,448)', 'what is rolled back is read again');
SELECT is((SELECT count(*)::int FROM journey.claim('email')), 0, 'permits wait: an order that is still to be read may end the action');
SELECT is((SELECT row(status, reason)::text FROM journey.outbox WHERE action_id = :'a'), '(pending,stale_data)', 'and say so');
SELECT matches((SELECT status || ': ' || detail FROM journey.health WHERE topic = 'back-fill'),
    '^warning: public\.big as order: 64 of 286 blocks read since .*; permits that an event could end wait for the rest$', 'health says how far it is');
UPDATE big SET status = 'cancelled' WHERE id IN (1, 2000);
DELETE FROM big WHERE id IN (2, 1999);
INSERT INTO big VALUES (3001, 'big3001@example.com', 'placed', '');
CALL drain();
SELECT is_empty('SELECT * FROM journey.stat_progress', 'it comes to an end');
SELECT is((SELECT backfilled_at IS NOT NULL FROM journey.attachment), true, 'which is noted');
SELECT is((SELECT count(*) FROM journey.orders), 2001::bigint, 'each row is known');
SELECT is((SELECT string_agg(order_id || ' ' || status, ', ' ORDER BY order_id) FROM journey.orders WHERE order_id IN ('1', '2', '1999', '2000', '3001')),
    '1 cancelled, 1999 placed, 2 placed, 2000 cancelled, 3001 placed', 'as it was last; one deleted before it was read as one deleted after');
SELECT is((SELECT count(*) FROM (SELECT props ->> 'order_id' FROM journey.event WHERE source = 'big' AND type = 'order_placed' GROUP BY 1 HAVING count(*) > 1) x), 0::bigint, 'no order is placed twice');
SELECT is((SELECT count(*) FROM journey.event WHERE source = 'big' AND type = 'order_placed' AND NOT backfill), 1::bigint, 'what was read is the past, and enrolls nobody');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*)::int FROM journey.claim('email')), 1, 'permits go on');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT journey.detach('big') \g /dev/null

-- ---- in one transaction ------------------------------------------------------
SELECT pg_temp.fill('whole', 10001);
SELECT pg_temp.attach('whole');
SELECT is((SELECT value FROM journey.run_until_idle() WHERE name = 'backfilled'), 2000::bigint, 'run_until_idle reads to the end');
SELECT is((SELECT phase FROM journey.stat_progress), 'consuming', 'what it read is taken in by the next');
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.known('whole'), 2000::bigint, 'all of it');
SELECT is_empty('SELECT * FROM journey.stat_progress', 'and that is the end');
SELECT journey.detach('whole') \g /dev/null

-- ---- what may become of the table meanwhile ------------------------------------
SELECT pg_temp.fill('full', 20001);
SELECT pg_temp.attach('full');
CALL laps(3);
VACUUM FULL "full";
CALL laps(1);
SELECT is((SELECT blocks_done FROM journey.stat_progress), 0::bigint, 'a table that was rewritten is read again');
CALL drain();
SELECT is(pg_temp.known('full'), 2000::bigint, 'all of it');
SELECT is((SELECT count(*) FROM journey.event WHERE source = 'full'), 2000::bigint, 'and nothing twice');
SELECT journey.detach('full') \g /dev/null

SELECT pg_temp.fill('cut', 30001);
SELECT pg_temp.attach('cut');
CALL laps(3);
TRUNCATE cut;
CALL drain();
SELECT is_empty('SELECT * FROM journey.stat_progress', 'a table that was truncated has nothing left to read');
SELECT is(pg_temp.known('cut'), 672::bigint, 'what was read before stays');
SELECT journey.detach('cut') \g /dev/null

CREATE TABLE parts (id integer, email text, status text, filler text) PARTITION BY RANGE (id);
SELECT pg_temp.fill('part' || g, 40000 + g * 1000, 1000) FROM generate_series(0, 3) g;
ALTER TABLE parts ATTACH PARTITION part0 FOR VALUES FROM (40000) TO (41000);
ALTER TABLE parts ATTACH PARTITION part1 FOR VALUES FROM (41000) TO (42000);
ALTER TABLE parts ATTACH PARTITION part2 FOR VALUES FROM (42000) TO (43000);
ALTER TABLE parts ATTACH PARTITION part3 FOR VALUES FROM (43000) TO (44000);
SELECT pg_temp.attach('parts');
CALL laps(3);
DROP TABLE part1;
ALTER TABLE parts DETACH PARTITION part2;
CALL drain();
SELECT results_eq($$SELECT (props ->> 'order_id')::int / 1000, count(*) FROM journey.event WHERE source = 'parts' GROUP BY 1 ORDER BY 1$$,
    'VALUES (40, 1000::bigint), (43, 1000)', 'partitions one after the other; one that was dropped or detached is none any more');
SELECT is_empty('SELECT * FROM journey.stat_progress', 'and the others are the end');
SELECT journey.detach('parts') \g /dev/null

-- a table that is gone: what it had cannot be read any more, and whose orders it had is not known
SELECT pg_temp.fill('gone', 70001);
SELECT pg_temp.attach('gone');
CALL laps(2);
DROP TABLE gone;
CALL drain();
SELECT is((SELECT problem FROM journey.stat_progress), 'the table is gone', 'a table that was dropped: health says so');
SELECT is(pg_temp.known('gone'), 448::bigint, 'what was read before stays');
SELECT is((SELECT backfilled_at FROM journey.attachment WHERE rel_name = 'gone'), NULL, 'and it is not said to have been read');
SELECT is((SELECT holds_permits FROM journey.stat_progress), true, 'permits wait until somebody says that it is gone for good');
SELECT is((SELECT count(*) FROM journey.detach('gone'::text)), 1::bigint, 'which ends it');

-- tables of the old inheritance, read with the one that they inherit from as by reconcile()
SELECT pg_temp.fill('elder', 80001, 100);
CREATE TABLE heir () INHERITS (elder);
INSERT INTO heir SELECT g, 'heir' || g || '@example.com', 'placed', repeat('x', 1000) FROM generate_series(81001, 82000) g;
SELECT matches((SELECT value FROM journey.attach('elder', 'order', '{"source": "elder", "key": "id", "subject": {"email": "email"}, "status": "status"}') WHERE what = 'back-fill'),
    'the laps to come read its 158 blocks', 'the size is that of all');
CALL drain();
SELECT is(pg_temp.known('elder'), 1100::bigint, 'its heirs are read, too');
SELECT journey.detach('elder') \g /dev/null

-- ---- how much at a time --------------------------------------------------------
-- rows that are known already are read like others, though nothing is appended
SELECT pg_temp.fill('many', 100001, 1200);
SELECT pg_temp.attach('many');
CALL laps(1);
DELETE FROM many;
INSERT INTO many SELECT g, 'many' || g || '@example.com', 'placed', '' FROM generate_series(110001, 118000) g;
VACUUM FULL many;
CALL laps(1);
SELECT is((SELECT blocks_done FROM journey.stat_progress), 0::bigint, 'rewritten, with rows that are short and known');
CALL laps(1);
SELECT cmp_ok((SELECT blocks_done FROM journey.stat_progress), '<=', 4::bigint, 'a portion is bounded by the rows that it reads');
SELECT is((SELECT row(blocks_total > 60, rows_appended)::text FROM journey.stat_progress), '(t,224)', 'whatever it appends');
CALL drain();
SELECT is_empty('SELECT * FROM journey.stat_progress', 'and it comes to an end');
SELECT is(pg_temp.known('many'), 9200::bigint, 'all are known, those that were deleted before they were read, too');
SELECT journey.detach('many') \g /dev/null

-- the inbox is emptied meanwhile
SELECT pg_temp.fill('long', 120001);
SELECT pg_temp.attach('long');
CREATE PROCEDURE turn(n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n LOOP
        UPDATE journey.inbox_pointer SET rotated_at = '2000-01-01';
        PERFORM journey._maintain();
        COMMIT;
        PERFORM journey.run_once();
        COMMIT;
    END LOOP;
END
$$;
CALL turn(8);
SELECT is((SELECT phase FROM journey.stat_progress), 'reading', 'while a table is being read');
SELECT cmp_ok((SELECT count(*) FROM (TABLE journey.inbox_0 UNION ALL TABLE journey.inbox_1 UNION ALL TABLE journey.inbox_2) i WHERE op = 'B' AND source = 'long'),
    '<=', 5 * 224::bigint, 'what was taken in of it leaves the inbox');
CALL drain();
SELECT is(pg_temp.known('long'), 2000::bigint, 'and nothing of it is missing');
SELECT journey.detach('long') \g /dev/null

-- a change that the window of the last rows does not hold takes none of them away: permits go on before it is consumed
SELECT pg_temp.fill('late', 140001, 1200);
SELECT pg_temp.attach('late');
CALL laps(6);
SELECT is((SELECT phase FROM journey.stat_progress), 'consuming', 'all is read');
SELECT journey.run_once(1) \g /dev/null
DELETE FROM late WHERE id = 141200;
SELECT journey.run_once() \g /dev/null
SELECT results_eq($$SELECT (SELECT count(*) FROM journey.backfill), count(*) FROM journey.orders WHERE order_id = '141200'$$,
    'VALUES (0::bigint, 1::bigint)', 'at the end each row that was read is known');
SELECT journey.detach('late') \g /dev/null

-- ---- what keeps it from going on -----------------------------------------------
CREATE ROLE backfill_owner;
GRANT CREATE ON SCHEMA public TO backfill_owner;
SELECT pg_temp.fill('lost', 50001);
ALTER TABLE lost OWNER TO backfill_owner;
SELECT pg_temp.fill('behind', 60001, 1500);
SELECT pg_temp.attach('lost');
SELECT pg_temp.attach('behind');
CALL laps(2);
REVOKE SELECT ON lost FROM backfill_owner;
CALL drain();
SELECT matches((SELECT detail || ' ! ' || hint FROM journey.health WHERE topic = 'back-fill' AND status = 'error'),
    'public\.lost as order: 64 of 286 blocks read.*permits that an event could end wait.*permission denied for table lost \(42501\) ! Mend the cause.*journey\.detach\(''public\.lost''\)',
    'an owner who may not read it any more: health says so');
SELECT is(pg_temp.known('behind'), 1500::bigint, 'and laps go on with the next table');
SELECT is((SELECT phase FROM journey.stat_progress), 'failing', 'its progress stays');
GRANT SELECT ON lost TO backfill_owner;
UPDATE journey.backfill SET retry_at = NULL;
CALL laps(2);
ALTER TABLE lost RENAME status TO state;
CALL laps(1);
SELECT matches((SELECT problem FROM journey.stat_progress), 'mapped column "status" of public.lost is missing', 'a column that is missing stops it');
SELECT journey.attach('lost', 'order', '{"source": "lost", "key": "id", "subject": {"email": "email"}, "status": "state"}', backfill => false) \g /dev/null
SELECT is((SELECT row(blocks_done, problem)::text FROM journey.stat_progress), '(128,)', 'attached again it goes on where it was');
DROP TRIGGER journey_capture_order ON lost;
CALL laps(1);
SELECT is((SELECT problem FROM journey.stat_progress), 'the capture trigger is gone', 'so does a trigger that is gone');
SELECT journey.attach('lost', 'order', '{"source": "lost", "key": "id", "subject": {"email": "email"}, "status": "state"}') \g /dev/null
SELECT is((SELECT row(blocks_done, problem)::text FROM journey.stat_progress), '(0,)', 'attached again with back-fill it begins anew');
CALL laps(2);
SELECT is((SELECT count(*) FROM journey.detach('lost')), 1::bigint, 'it is detached in the middle');
SELECT is_empty('SELECT * FROM journey.stat_progress', 'which ends it');
ALTER TABLE lost RENAME state TO status;
SELECT pg_temp.attach('lost', false);
SELECT is_empty('SELECT * FROM journey.stat_progress', 'and a table is attached without its history');

-- ---- a scan of somebody else's is not joined ----------------------------------
-- above a quarter of shared_buffers; the other stands beyond block 16, of which it tells others
CREATE TABLE wide (id integer, email text, status text, filler text);
INSERT INTO wide SELECT g, 'wide' || g || '@example.com', 'placed', CASE WHEN g > 5000 THEN repeat('x', 1900) END
FROM generate_series(1, 5000 + (SELECT setting::int FROM pg_settings WHERE name = 'shared_buffers')) g;
SELECT pg_temp.attach('wide');
SET enable_tidscan = off;
BEGIN;
DECLARE other CURSOR FOR SELECT filler FROM wide;
MOVE 3000 IN other;
COMMIT;
CALL laps(4);
RESET enable_tidscan;
SELECT is((SELECT row(count(*) > 300, count(*) = max((e.props ->> 'order_id')::int))::text FROM journey.event e WHERE e.source = 'wide'), '(t,t)',
    'read from the first block on, though another scan has gone ahead');
SELECT journey.detach('wide') \g /dev/null
SELECT * FROM finish();
