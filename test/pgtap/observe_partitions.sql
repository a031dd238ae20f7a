-- Partitions that come to an attached table with rows of their own, and
-- TRUNCATE of a partition by itself: nobody who is in them is reminded of what
-- he has bought, or of what is in no cart any more.
-- mission: 15, 117
\set QUIET on
SET client_min_messages = warning;
SELECT plan(36);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\ir ../lib/deliver.sql

CREATE FUNCTION pg_temp.permit(action uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT b.* INTO r FROM journey.claim('email', 100) AS c, journey.begin_send(c.action_id, c.token) AS b WHERE c.action_id = action;
    RETURN COALESCE(CASE WHEN r.granted THEN 'granted' ELSE r.reason END,
                    (SELECT h.reason FROM journey.outbox_history h WHERE h.action_id = action), 'not claimed');
END $$;
-- what is left to laps where journey is not preloaded: nothing but the lap sees the partition come
CREATE FUNCTION pg_temp.unseen(gone regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM journey.backfill WHERE part = gone;
    DELETE FROM journey.leaf WHERE capture IN (SELECT oid FROM pg_trigger WHERE tgrelid = gone);
END $$;

-- ---- a partition that brings orders --------------------------------------------
CREATE TABLE o (id text, customer text, status text, month int) PARTITION BY LIST (month);
CREATE TABLE o_jan PARTITION OF o FOR VALUES IN (1);
INSERT INTO o VALUES ('1', 'p9', 'paid', 1);
SELECT journey.attach('o', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": {"column": "status", "values": {"paid": "placed"}}}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.person('p' || g) FROM generate_series(1, 9) g \g /dev/null
SELECT pg_temp.action('p1') AS a1 \gset
SELECT pg_temp.action('p2') AS a2 \gset
SELECT action_id AS b1, token AS t1 FROM journey.claim('email', 100) WHERE action_id = :'a1' \gset
CREATE TABLE o_apr (LIKE o);
INSERT INTO o_apr VALUES ('2', 'p1', 'paid', 4);
ALTER TABLE o ATTACH PARTITION o_apr FOR VALUES IN (4);
SELECT is((SELECT reason FROM journey.begin_send(:'b1'::uuid, :t1)), 'stale_data', 'a partition with rows is attached: permits wait from its commit on');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT status FROM journey.orders WHERE order_id = '2'), 'placed', 'laps read what it has');
SELECT is(pg_temp.permit(:'a1'), 'ordered', 'and who bought is not reminded');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'order_placed' AND NOT backfill), 0::bigint, 'what was read is the past, and enrolls nobody');
SELECT is_empty('SELECT * FROM journey.stat_progress', 'that is the end');
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'and nothing is wrong');

CREATE TABLE o_may (LIKE o);
INSERT INTO o_may VALUES ('3', 'p3', 'paid', 5);
SELECT pg_temp.action('p3') AS a3 \gset
ALTER TABLE o ATTACH PARTITION o_may FOR VALUES IN (5);
SELECT pg_temp.unseen('o_may');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT row(name, holds_permits)::text FROM journey.stat_progress), '(public.o,t)', 'not preloaded, the next lap sees it');
SELECT isnt(pg_temp.permit(:'a3'), 'granted', 'and permits wait');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.permit(:'a3'), 'ordered', 'until it has been read');

BEGIN;
CREATE TABLE o_jun PARTITION OF o FOR VALUES IN (6);
ALTER TABLE o DETACH PARTITION o_jun;
ALTER TABLE o ATTACH PARTITION o_jun FOR VALUES IN (6);
COMMIT;
SELECT is_empty('SELECT * FROM journey.stat_progress', 'one without rows has nothing to be read');
SELECT journey.run_once() \g /dev/null
SELECT is_empty('SELECT * FROM journey.stat_progress', 'by no lap either');
BEGIN;
ALTER TABLE o DETACH PARTITION o_jan;
INSERT INTO o_jan VALUES ('4', 'p4', 'paid', 1);
ALTER TABLE o ATTACH PARTITION o_jan FOR VALUES IN (1);
COMMIT;
SELECT isnt_empty('SELECT * FROM journey.stat_progress', 'one that was away for a moment may have rows that nobody captured');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT string_agg(order_id, ',' ORDER BY order_id) FROM journey.orders), '1,2,3,4', 'they are read');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'order_placed' AND props ->> 'order_id' = '1'), 1::bigint, 'and what is known is not taken in again');

-- whatever becomes of our tables, the shop's command goes through
ALTER TABLE journey.leaf RENAME TO leaf_gone;
CREATE TABLE o_jul (LIKE o);
INSERT INTO o_jul VALUES ('5', 'p5', 'paid', 7);
SELECT lives_ok('ALTER TABLE o ATTACH PARTITION o_jul FOR VALUES IN (7)', 'the shop''s command never fails because of us');
ALTER TABLE journey.leaf_gone RENAME TO leaf;
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT status FROM journey.orders WHERE order_id = '5'), 'placed', 'and the lap comes after it');

-- a table that was attached without its history is still said to be
CREATE TABLE late (LIKE o) PARTITION BY LIST (month);
CREATE TABLE late_1 PARTITION OF late FOR VALUES IN (1);
INSERT INTO late VALUES ('11', 'p6', 'paid', 1);
SELECT journey.attach('late', 'order', '{"key": "id", "source": "late", "subject": {"customer_id": "customer"}, "status": {"column": "status", "values": {"paid": "placed"}}}', backfill => false) \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT FROM journey.orders WHERE order_id = '11'$$, 'its partitions of then are not read');
CREATE TABLE late_2 (LIKE late);
INSERT INTO late_2 VALUES ('12', 'p7', 'paid', 2);
ALTER TABLE late ATTACH PARTITION late_2 FOR VALUES IN (2);
SELECT journey.attach('late', 'order', '{"key": "id", "source": "late", "subject": {"customer_id": "customer"}, "status": {"column": "status", "values": {"paid": "paid"}}}', backfill => false) \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT string_agg(order_id || ' ' || status, ',') FROM journey.orders WHERE source = 'late'), '12 paid', 'a later one is, by the map of then');
SELECT is((SELECT backfilled_at FROM journey.attachment WHERE rel_name = 'late' AND detached_at IS NULL), NULL, 'and the rest is not said to have been read');
SELECT journey.detach('late') \g /dev/null

-- ---- TRUNCATE of a partition -----------------------------------------------------
CREATE ROLE leaf_owner;
CREATE TABLE c (id text PRIMARY KEY, customer text);
CREATE TABLE cl (cart text, line int, sku text, qty int, month int) PARTITION BY LIST (month);
CREATE TABLE cl1 PARTITION OF cl FOR VALUES IN (1);
CREATE TABLE cl2 PARTITION OF cl FOR VALUES IN (2);
ALTER TABLE cl2 OWNER TO leaf_owner;
SELECT journey.attach('c', 'cart', '{"key": "id", "subject": {"customer_id": "customer"}}') \g /dev/null
SELECT journey.attach('cl', 'cart_line', '{"key": "cart", "line": "line", "sku": "sku", "quantity": "qty"}') \g /dev/null
CREATE FUNCTION pg_temp.carts() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s %s', cart_id, status, items), ', ' ORDER BY cart_id) FROM journey.cart
$$;
CREATE PROCEDURE pg_temp.lap() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.run_until_idle();
    COMMIT;
    PERFORM journey.run_until_idle();
    COMMIT;
END $$;
INSERT INTO c VALUES ('k1', 'p1'), ('k2', 'p2'), ('k3', 'p3');
INSERT INTO cl VALUES ('k1', 1, 'A', 1, 1), ('k2', 1, 'A', 2, 2), ('k3', 1, 'A', 3, 1), ('k3', 2, 'B', 4, 2);
CALL pg_temp.lap();
SELECT is(pg_temp.carts(), 'k1 open 1, k2 open 2, k3 open 7', 'carts with lines in two partitions');
TRUNCATE cl1;
SELECT pg_temp.action('p2', name => 'k2') AS k2 \gset
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT row(name, kind, holds_permits)::text FROM journey.stat_progress WHERE kind = 'cart_line'), '(public.cl,cart_line,t)', 'TRUNCATE of one of them: the others are read again, and permits wait');
CALL pg_temp.lap();
SELECT is(pg_temp.carts(), 'k1 emptied 0, k2 open 2, k3 open 4', 'what it had is gone, and nothing else');
TRUNCATE cl2;
CALL pg_temp.lap();
SELECT is(pg_temp.carts(), 'k1 emptied 0, k2 emptied 0, k3 emptied 0', 'also one whose owner is another');
INSERT INTO cl VALUES ('k1', 1, 'A', 1, 1), ('k2', 1, 'A', 2, 2);
CALL pg_temp.lap();
TRUNCATE cl;
CALL pg_temp.lap();
SELECT is(pg_temp.carts(), 'k1 emptied 0, k2 emptied 0, k3 emptied 0', 'TRUNCATE of all');

CREATE TABLE cl3 PARTITION OF cl FOR VALUES IN (3);
CREATE TABLE cl4 PARTITION OF cl FOR VALUES IN (4, 5) PARTITION BY LIST (month);
CREATE TABLE cl45 PARTITION OF cl4 FOR VALUES IN (5);
SELECT journey.maintain() \g /dev/null
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname = 'journey_truncate_cart_line' AND tgenabled = 'A'), 6::bigint, 'maintenance sees to new ones, at every depth');
INSERT INTO cl VALUES ('k1', 1, 'A', 1, 3), ('k2', 1, 'A', 2, 5);
CALL pg_temp.lap();
TRUNCATE cl3;
CALL pg_temp.lap();
SELECT is(pg_temp.carts(), 'k1 emptied 0, k2 open 2, k3 emptied 0', 'so TRUNCATE of a new one is seen');
ALTER TABLE cl DETACH PARTITION cl3;
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid = 'cl3'::regclass$$, 'a detached one has no trigger any more');
-- a branch that is detached keeps its partitions, and they are the table's no more
CREATE TABLE cl6 PARTITION OF cl FOR VALUES IN (6, 7) PARTITION BY LIST (month);
CREATE TABLE cl67 PARTITION OF cl6 FOR VALUES IN (7) PARTITION BY LIST (month);
CREATE TABLE cl677 PARTITION OF cl67 FOR VALUES IN (7);
SELECT journey.maintain() \g /dev/null
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname = 'journey_truncate_cart_line' AND tgrelid = 'cl677'::regclass), 1::bigint, 'one in a branch of a branch is seen to');
ALTER TABLE cl DETACH PARTITION cl6;
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid IN ('cl6'::regclass, 'cl67'::regclass, 'cl677'::regclass)$$, 'a detached branch has no trigger any more, at any depth');
TRUNCATE cl6;
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.carts(), 'k1 emptied 0, k2 open 2, k3 emptied 0', 'and its TRUNCATE empties no cart');
SELECT journey.attach('cl', 'cart_line', '{"key": "cart", "line": "line", "sku": "sku", "quantity": "qty"}') \g /dev/null
CALL pg_temp.lap();
TRUNCATE cl45;
CALL pg_temp.lap();
SELECT is(pg_temp.carts(), 'k1 emptied 0, k2 emptied 0, k3 emptied 0', 'attached again, with the new map');
SELECT is((SELECT count(*) FROM journey.quarantine), 0::bigint, 'nothing was set aside');
SELECT journey.attach('cl', 'order_line', '{"order": "cart", "line": "line", "sku": "sku"}', backfill => false) \g /dev/null
SELECT is((SELECT string_agg(tgname, ', ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'cl45'::regclass AND tgname LIKE 'journey\_truncate%'),
    'journey_truncate_cart_line, journey_truncate_order_line', 'a table attached as two kinds has one for each');
SELECT journey.detach('cl') \g /dev/null
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgname LIKE 'journey\_%' AND tgrelid IN ('cl'::regclass, 'cl1'::regclass, 'cl2'::regclass, 'cl45'::regclass)$$, 'detach takes all of them with it');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.leaf), (SELECT count(*) FROM pg_inherits WHERE inhparent = 'o'::regclass), 'what is known are the partitions that are attached');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
