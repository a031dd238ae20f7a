-- What the capture trigger writes, and what it never does to the shop.
-- mission: 15, 117
SELECT plan(62);
SET client_min_messages = warning;

-- what was captured since the last look
CREATE TABLE seen (seq bigint);
INSERT INTO seen VALUES (0);
CREATE VIEW inbox AS
    SELECT * FROM journey.inbox_0 UNION ALL SELECT * FROM journey.inbox_1 UNION ALL SELECT * FROM journey.inbox_2;
CREATE FUNCTION captured() RETURNS TABLE (op "char", fence "char", type text, ref text, cols text[])
LANGUAGE plpgsql AS $$
DECLARE
    from_seq bigint := (SELECT seq FROM seen);
BEGIN
    RETURN QUERY SELECT i.op, i.fence, i.type, i.ref, i.cols FROM inbox i WHERE i.seq > from_seq ORDER BY i.seq;
    UPDATE seen SET seq = COALESCE((SELECT max(i.seq) FROM inbox i), 0);
END
$$;
CREATE FUNCTION last_keys() RETURNS bigint[] LANGUAGE sql AS 'SELECT keys FROM inbox ORDER BY seq DESC LIMIT 1';

-- ---- an order's life -------------------------------------------------------
CREATE SCHEMA "Shop Floor";
CREATE TABLE "Shop Floor"."order" (
    "Id" integer PRIMARY KEY, "user" integer, "E-Mail" text, "select" char(12), total numeric, "at" timestamptz, note text);
SELECT lives_ok($$SELECT journey.attach('"Shop Floor"."order"', 'order',
    '{"key": "Id", "subject": {"customer_id": "user", "email": "E-Mail"}, "amount": "total", "currency": {"const": "EUR"}, "at": "at",
      "status": {"column": "select", "values": {"new": "pending", "paid": "placed", "void": "cancelled"}}}')$$,
    'quoted, mixed-case and reserved names in another schema attach');
SELECT is((SELECT columns FROM journey.attachment WHERE rel_name = 'order'), '{at,Id,total,select,E-Mail,user}', 'every mapped column is captured once');

INSERT INTO "Shop Floor"."order" VALUES (1, 7, 'Ann@Shop.example', 'new', 10.50, '2026-01-02 03:04:05+00', 'x');
SELECT results_eq('SELECT * FROM captured()',
    $$VALUES ('I'::"char", 'l'::"char", NULL::text, 'order:1', '{"2026-01-02 03:04:05+00",1,10.50,new,Ann@Shop.example,7}'::text[])$$,
    'a pending order links its keys and fences nothing');
SELECT is(last_keys(), ARRAY[journey.key_hash('email', 'ann@shop.example'), journey.key_hash('customer_id', '7'), journey.key_hash('order', 'default:1')],
    'the keys are the subject''s and the order''s own');
UPDATE "Shop Floor"."order" SET "select" = 'paid';
SELECT results_eq('SELECT op, fence, type, ref, cardinality(cols) FROM captured()',
    $$VALUES ('U'::"char", 'f'::"char", 'order_placed', 'order:1', 12)$$, 'placing it is a fence; new and old values are there');
UPDATE "Shop Floor"."order" SET note = 'y';
SELECT is_empty('SELECT * FROM captured()', 'a change of a column that is not mapped appends nothing');
UPDATE "Shop Floor"."order" SET total = 11;
SELECT results_eq('SELECT op, fence, type FROM captured()', $$VALUES ('U'::"char", NULL::"char", NULL::text)$$,
    'a placed order whose total changes is no new fence');
UPDATE "Shop Floor"."order" SET "E-Mail" = 'bob@shop.example';
SELECT results_eq('SELECT op, fence, type FROM captured()', $$VALUES ('U'::"char", 'f'::"char", 'order_placed')$$,
    'a placed order that turns out to be somebody else''s is a fence for them');
UPDATE "Shop Floor"."order" SET "select" = 'void';
SELECT results_eq('SELECT op, fence, type FROM captured()', $$VALUES ('U'::"char", 'r'::"char", 'order_placed')$$,
    'a cancelled order releases its fence');
UPDATE "Shop Floor"."order" SET "select" = 'paid';
SELECT results_eq('SELECT op, fence, type FROM captured()', $$VALUES ('U'::"char", 'f'::"char", 'order_placed')$$, 'and placed again it is one again');
UPDATE "Shop Floor"."order" SET "select" = 'mystery';
SELECT results_eq('SELECT op, fence, cols[4] FROM captured()', $$VALUES ('U'::"char", NULL::"char", 'mystery')$$,
    'a status that nobody mapped is captured as it is');
DELETE FROM "Shop Floor"."order";
SELECT results_eq('SELECT op, fence, ref, cols[2] FROM captured()', $$VALUES ('D'::"char", NULL::"char", 'order:1', '1')$$,
    'deleting an order releases nothing');
CREATE TABLE own_line (id integer PRIMARY KEY, order_id integer, sku text);
SELECT count(*) FROM journey.attach('own_line', 'order_line', '{"order": "order_id", "line": "id", "sku": "sku"}');
INSERT INTO own_line VALUES (5, 77, 'A');
SELECT results_eq('SELECT op, ref FROM captured()', $$VALUES ('I'::"char", 'order:77')$$, 'a line is about its order, not about itself');
SELECT count(*) FROM journey.detach('own_line');
INSERT INTO "Shop Floor"."order" ("Id", "select") VALUES (2, 'paid');
SELECT results_eq('SELECT op, fence, cols FROM captured()',
    $$VALUES ('I'::"char", 'f'::"char", '{NULL,2,NULL,paid,NULL,NULL}'::text[])$$, 'an order without a person');
SELECT is(last_keys(), ARRAY[journey.key_hash('order', 'default:2')], 'null keys give no key: guests do not stop each other');
TRUNCATE "Shop Floor"."order";
SELECT results_eq('SELECT op, fence, cols FROM captured()', $$VALUES ('T'::"char", NULL::"char", NULL::text[])$$, 'TRUNCATE is one row');

-- ---- many rows -------------------------------------------------------------
INSERT INTO "Shop Floor"."order" SELECT i, i, NULL, 'paid' FROM generate_series(1, 1000) i;
SELECT is((SELECT count(*) FROM captured() WHERE fence = 'f'), 1000::bigint, 'one statement, a thousand orders, a thousand fences');
COPY "Shop Floor"."order" ("Id", "user", "select") FROM stdin;
2001	1	paid
2002	2	new
\.
SELECT is((SELECT string_agg(ref || COALESCE(fence::text, '-'), ' ') FROM captured()), 'order:2001f order:2002-', 'COPY fires it row by row');
UPDATE "Shop Floor"."order" SET total = 1 WHERE "Id" <= 3;
SELECT is((SELECT count(*) FROM captured()), 3::bigint, 'an UPDATE of three rows');
DELETE FROM "Shop Floor"."order" WHERE "Id" <= 3;
SELECT is((SELECT count(*) FROM captured() WHERE op = 'D'), 3::bigint, 'a DELETE of three rows');
BEGIN;
INSERT INTO "Shop Floor"."order" VALUES (3001, 1, NULL, 'paid');
ROLLBACK;
SELECT is_empty('SELECT * FROM captured()', 'what the shop rolls back was never captured');
INSERT INTO "Shop Floor"."order" VALUES (5, 1, NULL, 'paid') ON CONFLICT ("Id") DO UPDATE SET "select" = 'void';
SELECT results_eq('SELECT op, fence, ref FROM captured()', $$VALUES ('U'::"char", 'r'::"char", 'order:5')$$, 'an upsert is what it turns out to be');

-- ---- partitions ------------------------------------------------------------
CREATE TABLE porder (gone integer, id integer, who integer, status text, place text) PARTITION BY LIST (place);
ALTER TABLE porder DROP COLUMN gone;
CREATE TABLE porder_a (place text, status text, junk bytea, who integer, id integer);
ALTER TABLE porder_a DROP COLUMN junk;
ALTER TABLE porder ATTACH PARTITION porder_a FOR VALUES IN ('a');
SELECT journey.attach('porder', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": "status", "props": ["place"]}');
CREATE TABLE porder_b PARTITION OF porder FOR VALUES IN ('b');
SELECT results_eq($$SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgrelid IN ('porder'::regclass, 'porder_a'::regclass, 'porder_b'::regclass) AND tgname = 'journey_capture_order'$$,
    $$VALUES ('A'::"char")$$, 'the trigger is always enabled on every leaf, later ones too');
SELECT count(*) FROM captured();
INSERT INTO porder (id, who, status, place) VALUES (1, 5, 'placed', 'a'), (2, NULL, 'pending', 'b');
SELECT is((SELECT array_agg(cols ORDER BY ref) FROM captured()), '{{1,placed,5,a},{2,pending,NULL,b}}'::text[], 'columns are found by name in every leaf');
INSERT INTO porder_a (id, who, status, place) VALUES (3, 6, 'placed', 'a');
SELECT is((SELECT fence FROM captured()), 'f', 'a row that is written to the leaf itself');
UPDATE porder SET place = 'b' WHERE id = 1;
SELECT results_eq('SELECT op, fence, ref FROM captured()',
    $$VALUES ('D'::"char", NULL::"char", 'order:1'), ('I', NULL, 'order:1')$$, 'a placed order that moves to another partition is no new fence and releases none');
UPDATE porder SET place = 'a', status = 'cancelled' WHERE id = 1;
SELECT results_eq('SELECT op, fence FROM captured()', $$VALUES ('D'::"char", NULL::"char"), ('I', 'r')$$, 'cancelled while it moves, it is released');
UPDATE porder SET place = 'a', status = 'placed' WHERE id = 2;
SELECT results_eq('SELECT op, fence FROM captured()', $$VALUES ('D'::"char", NULL::"char"), ('I', 'f')$$, 'placed while it moves, it is a fence');
BEGIN;
SAVEPOINT s;
INSERT INTO porder VALUES (9, 9, 'placed', 'a');
DELETE FROM porder WHERE id = 9;
ROLLBACK TO s;
INSERT INTO porder VALUES (9, 9, 'placed', 'a');
COMMIT;
SELECT results_eq('SELECT op, fence FROM captured()', $$VALUES ('I'::"char", 'f'::"char")$$, 'what a savepoint took back is no former state');
ALTER TABLE porder DETACH PARTITION porder_a;
INSERT INTO porder_a (id, status, place) VALUES (77, 'placed', 'a');
SELECT is_empty('SELECT * FROM captured()', 'a detached partition is not captured any more');

-- a source that says what a deleted order means: a row that moves is deleted and comes back
CREATE TABLE morder (id integer, who integer, status text, place text) PARTITION BY LIST (place);
CREATE TABLE morder_a PARTITION OF morder FOR VALUES IN ('a');
CREATE TABLE morder_b PARTITION OF morder FOR VALUES IN ('b');
SELECT journey.attach('morder', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": "status", "on_delete": "cancelled"}');
SELECT count(*) FROM captured();
CREATE FUNCTION stands(wanted text) RETURNS SETOF text LANGUAGE sql AS $$SELECT f.kind FROM journey._fences() f WHERE f.ref = wanted AND f.kind = 'event' ORDER BY f.seq DESC LIMIT 1$$;
INSERT INTO morder VALUES (51, 51, 'placed', 'a');
UPDATE morder SET place = 'b' WHERE id = 51;
SELECT results_eq('SELECT op, fence, type FROM captured()', $$VALUES ('I'::"char", 'f'::"char", 'order_placed'), ('D', 'r', 'order_placed'), ('I', 'f', 'order_placed')$$,
    'where a delete releases, a placed order that moves is a fence again');
SELECT results_eq($$SELECT stands('order:51')$$, $$VALUES ('event')$$, 'and the later one stands');
BEGIN;
DELETE FROM morder WHERE id = 51;
INSERT INTO morder VALUES (51, 51, 'placed', 'a');
COMMIT;
SELECT results_eq($$SELECT stands('order:51')$$, $$VALUES ('event')$$, 'so it does when the shop deletes and inserts it itself');
UPDATE morder SET place = 'b', status = 'cancelled' WHERE id = 51;
SELECT is_empty($$SELECT stands('order:51')$$, 'cancelled while it moves, it is released');
INSERT INTO morder VALUES (52, 52, 'placed', 'a');
DELETE FROM morder WHERE id = 52;
SELECT is_empty($$SELECT stands('order:52')$$, 'deleted and not back, too');
SELECT count(*) FROM captured();

-- ---- odd values ------------------------------------------------------------
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN code AS text;
CREATE TABLE odd (id text, who code, n numeric, f float8, t timestamptz, d date, j json, jb jsonb, m mood, p pair, a text[], b bytea, big text, iv interval, ok boolean);
SELECT journey.attach('odd', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "amount": "n", "at": "t",
    "props": ["f", "d", "j", "jb", "m", "p", "a", "b", "big", "iv", "ok"]}');
SELECT count(*) FROM captured();
SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -5; SET TimeZone = 'Asia/Kathmandu';
INSERT INTO odd VALUES ('1', 'x', 'NaN', 0.1::float8 + 0.2, 'infinity', '2026-12-31', '"\u0000"', '{"a": 1}', 'bad', '(1,"q,r")', '{x,NULL}', '\x00ff', 'short', '1 day 2 hours', true);
SELECT is(current_setting('DateStyle') || ' ' || current_setting('TimeZone') || ' ' || now()::date::text ~ '/', true, 'the session''s own format is untouched');
RESET DateStyle; RESET IntervalStyle; RESET extra_float_digits; RESET TimeZone;
SELECT is((SELECT cols FROM captured()),
    ARRAY['infinity', '1', 'NaN', 'x', '0.30000000000000004', '2026-12-31', '"\u0000"', '{"a": 1}', 'bad', '(1,"q,r")', '{x,NULL}', '\x00ff', 'short', '1 day 02:00:00', 'true'],
    'odd values are text in one format, whatever the session''s settings');
INSERT INTO odd (id, who) VALUES (NULL, NULL);
SELECT results_eq('SELECT fence, ref, cols FROM captured()', $$VALUES (NULL::"char", NULL::text, array_fill(NULL::text, ARRAY[15]))$$,
    'null everywhere: nobody to stop, nothing to refer to');
INSERT INTO odd (id, big) VALUES ('2', repeat('ä', 600000));
SELECT results_eq('SELECT length(cols[13]), octet_length(cols[13]) <= 65536, cols[16] FROM captured()', $$VALUES (32768, true, '13')$$,
    'a megabyte of text is cut between characters, and flagged');
INSERT INTO odd (id, j) VALUES ('3', to_json(repeat('x', 200000)));
SELECT results_eq('SELECT cols[7], cols[16] FROM captured()', $$VALUES (NULL::text, '7')$$, 'half a document would be another one: null and flagged');
INSERT INTO odd (id, n) VALUES ('4', ('1' || repeat('0', 100000))::numeric);
SELECT results_eq('SELECT cols[3], cols[16] FROM captured()', $$VALUES (NULL::text, '3')$$, 'nor is a number cut');
UPDATE odd SET big = repeat('ä', 599999) || 'b' WHERE id = '2';
SELECT is((SELECT count(*) FROM captured()), 1::bigint, 'a change of length behind the cut is a change');

-- ---- a mapping that no longer fits -----------------------------------------
CREATE TABLE fit (id integer, who integer, mail text, status text, total numeric);
SELECT journey.attach('fit', 'order', '{"key": "id", "subject": {"customer_id": "who", "email": "mail"}, "status": "status", "amount": "total"}');
INSERT INTO fit VALUES (1, 1, 'a', 'placed', 1);
ALTER TABLE fit ALTER total TYPE text, ALTER who TYPE text;
SELECT count(*) FROM captured();
INSERT INTO fit VALUES (2, 'abc', 'a', 'placed', 'much');
SELECT results_eq('SELECT fence, type, cols[2] FROM captured()', $$VALUES ('f'::"char", 'order_placed', 'much')$$, 'a column of another type is captured as it is now');
ALTER TABLE fit RENAME total TO amount;
INSERT INTO fit VALUES (3, 'abc', 'a', 'placed', '1');
SELECT results_eq('SELECT op, fence, type, cols FROM captured()',
    $$VALUES ('I'::"char", 'b'::"char", NULL::text, '{3,NULL,placed,a,abc,2}'::text[]), ('f', 'f', 'order_placed', NULL)$$,
    'a renamed column: the order succeeds, is a wildcard fence and still its own');
ALTER TABLE fit DROP COLUMN status;
INSERT INTO fit VALUES (4, 'abc', 'a', '1');
SELECT results_eq('SELECT op, fence, type FROM captured()', $$VALUES ('I'::"char", 'b'::"char", NULL::text)$$, 'without its status an order is a wildcard only');
UPDATE fit SET amount = '2' WHERE id = 4;
SELECT is((SELECT fence FROM captured()), 'b', 'an update that may concern the missing column counts');
SELECT results_eq($$SELECT attached, problem FROM journey._check_attachments()$$,
    $$VALUES ('public.fit', 'mapped columns are missing: total, status')$$, 'the health check says so');
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'mapping_broken' AND resolved_at IS NULL), 1::bigint, 'it opens an incident');
SELECT journey.attach('fit', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": {"const": "placed"}}', backfill => false);
SELECT count(*) FROM captured();
INSERT INTO fit VALUES (5, 'abc', 'a', '1');
SELECT is((SELECT fence FROM captured()), 'f', 'attached again with a map that fits, in the same session');
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'nothing is wrong any more');
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'mapping_broken' AND resolved_at IS NULL), 0::bigint, 'the incident is closed');

-- ---- who, and how strictly -------------------------------------------------
CREATE ROLE attach_shop LOGIN;
CREATE TABLE rls (id integer PRIMARY KEY, who text, status text, owner name DEFAULT current_user);
ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rls USING (owner = current_user);
GRANT ALL ON rls TO attach_shop;
INSERT INTO rls VALUES (1, 'a', 'placed', 'somebody');
SELECT is((SELECT rows FROM journey.attach('rls', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": "status"}') WHERE what = 'back-fill'), 1::bigint,
    'back-fill reads past row security, not less than all');
SELECT count(*) FROM captured();
SET ROLE attach_shop;
INSERT INTO rls VALUES (2, 'b', 'placed');
SELECT throws_ok('SELECT * FROM journey.attachment', '42501', NULL, 'the shop''s role has no right on our schema');
RESET ROLE;
SELECT is((SELECT fence FROM captured()), 'f', 'and its orders are captured, under row security');
BEGIN ISOLATION LEVEL SERIALIZABLE;
UPDATE rls SET status = 'cancelled' WHERE id = 2;
COMMIT;
SELECT is((SELECT fence FROM captured()), 'r', 'at SERIALIZABLE');
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE rls SET status = 'placed' WHERE id = 2;
COMMIT;
SELECT is((SELECT fence FROM captured()), 'f', 'at REPEATABLE READ');
SET session_replication_role = replica;
UPDATE rls SET status = 'cancelled' WHERE id = 2;
RESET session_replication_role;
SELECT is((SELECT fence FROM captured()), 'r', 'with session_replication_role = replica');
CREATE TRIGGER forged BEFORE INSERT ON rls FOR EACH ROW EXECUTE FUNCTION journey._capture();
SELECT throws_ok('INSERT INTO rls VALUES (3)', '39P01', NULL, 'the function is no BEFORE trigger');
DROP TRIGGER forged ON rls;
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'journey%' AND tgenabled <> 'A'), 0::bigint, 'every trigger of ours is ENABLE ALWAYS');
-- ---- money is a number, whatever it prints ------------------------------------
CREATE DOMAIN till_price AS money;
CREATE TABLE till_line (id integer PRIMARY KEY, cart text, sku text, pieces money, price till_price);
INSERT INTO till_line VALUES (1, 'T1', 'J1', 2, 1000.25);
SELECT journey.attach('till_line', 'cart_line', '{"key": "cart", "line": "id", "sku": "sku", "quantity": "pieces", "price": "price"}');
INSERT INTO till_line VALUES (2, 'T1', 'J2', 1, -5.5);
SELECT results_eq('SELECT op, cols FROM captured()', $$VALUES ('B'::"char", '{T1,J1,1,1000.25,2.00}'::text[]), ('I', '{T1,J2,2,-5.50,1.00}')$$, 'money is captured as a number, also by a back-fill');
CREATE TABLE till_stock (sku text, pieces money);
INSERT INTO till_stock VALUES ('J1', 1234);
SELECT journey.attach('till_stock', 'stock', '{"sku": "sku", "available": "pieces"}');
SELECT results_eq($$SELECT sku, available FROM journey._stock('{J1}')$$, $$VALUES ('J1', 1234::numeric)$$, 'and read live as one');
SELECT count(*) FROM captured();

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
