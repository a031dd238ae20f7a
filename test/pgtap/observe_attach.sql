-- attach() itself: every kind, the guess, what it refuses and how it says so,
-- back-fill, reconcile, live stock, detach.
-- mission: 117
SELECT plan(94);
SET client_min_messages = warning;

CREATE TABLE seen (seq bigint);
INSERT INTO seen VALUES (0);
CREATE VIEW inbox AS
    SELECT * FROM journey.inbox_0 UNION ALL SELECT * FROM journey.inbox_1 UNION ALL SELECT * FROM journey.inbox_2;
CREATE FUNCTION captured() RETURNS TABLE (op "char", fence "char", type text, ref text, props jsonb, cols text[], keys bigint[], source text, scope text)
LANGUAGE plpgsql AS $$
DECLARE
    from_seq bigint := (SELECT seq FROM seen);
BEGIN
    RETURN QUERY SELECT i.op, i.fence, i.type, i.ref, i.props, i.cols, i.keys, i.source, COALESCE(i.scope, 'default') FROM inbox i WHERE i.seq > from_seq ORDER BY i.seq;
    UPDATE seen SET seq = COALESCE((SELECT max(i.seq) FROM inbox i), 0);
END
$$;

-- ---- what it refuses, and the next step ------------------------------------
CREATE TABLE orders (id integer PRIMARY KEY, customer_id integer, email text, status text, total numeric, currency char(3), placed_at timestamptz DEFAULT '2026-01-01Z', coupon text, cart_id text);
INSERT INTO orders VALUES (1, 1, 'a@b.c', 'paid', 5), (2, 2, NULL, 'canceled', 6), (3, 3, NULL, 'weird', 7), (4, 4, NULL, NULL, 8);
CREATE FUNCTION hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || h;
END
$$;
SELECT is(hint_of($$SELECT journey.attach('orders', 'ordr')$$), '22023 Did you mean "order"?', 'an unknown kind');
SELECT is(hint_of($$SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "emial"}}')$$), '42703 Did you mean "email"?', 'a column that is not there');
SELECT is(hint_of($$SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "email"}, "staus": "status"}')$$), '22023 Did you mean "status"?', 'an unknown field');
SELECT is(hint_of($$SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"custmer_id": "email"}}')$$), '22023 Did you mean "customer_id"?', 'an unknown namespace');
SELECT is(hint_of($$SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "email"}, "status": {"column": "status", "values": {"x": "canceled"}}}')$$), '22023 Did you mean "cancelled"?', 'a word that is not canonical');
SELECT is(hint_of($$SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "email"}, "status": {"colum": "status"}}')$$), '22023 Write a column name, {"column": name, "values": {shop value: canonical value}} or {"const": value}.', 'a field of the wrong shape');
SELECT throws_like($$SELECT journey.attach('orders', 'order', '{"subject": {"email": "email"}}')$$, 'the map of kind order lacks "key"', 'a required field');
SELECT throws_ok($$SELECT journey.attach('orders', 'order', '[]')$$, '22023', 'the map must be a JSON object', 'a map that is no object');
SELECT is(hint_of($$SELECT journey.attach('orders', 'cart', '{"key": "id", "amount": "total"}')$$), '22023 A cart''s value is the sum over its lines: attach their table as cart_line.', 'a cart''s amount');
SELECT is(hint_of($$SELECT journey.attach('orders', 'cart', '{"key": "id", "props": ["coupon"]}')$$), '22023 A cart''s row is no event: map them with the lines, whose events carry them.', 'props of a cart');
SELECT is(hint_of($$SELECT journey.attach('orders', 'customer', '{"subject": {"email": "email"}, "props": ["coupon"]}')$$), '22023 Put them under "traits".', 'props of a customer');
SELECT is(hint_of(format($$SELECT journey.attach('orders', 'customer', %L)$$, jsonb_build_object('subject', '{"email": "email"}'::jsonb,
    'consents', (SELECT jsonb_agg(jsonb_build_object('channel', 'email', 'purpose', 'p' || g, 'column', 'status')) FROM generate_series(1, 17) g)))),
    '22023 Keep the others in a table of their own, of kind consent.', 'more consents than a row''s fences are');
INSERT INTO journey.namespace (namespace, class, rank, confidence, meaning) SELECT 'ns' || g, 'person', 1, 1, '' FROM generate_series(1, 15) g;
SELECT is(hint_of(format($$SELECT journey.attach('orders', 'order', %L)$$, jsonb_build_object('key', 'id', 'subject', (SELECT jsonb_object_agg('ns' || g, 'email') FROM generate_series(1, 15) g)))),
    '22023 Name the keys by which people are known elsewhere; one or two will do.', 'more keys than a row has room for');
SELECT is(hint_of(format($$SELECT journey.attach('orders', 'order', %L, dry_run => true)$$, jsonb_build_object('key', 'id', 'subject', (SELECT jsonb_object_agg('ns' || g, 'email') FROM generate_series(1, 14) g)))),
    'no error', 'fourteen will do');
DELETE FROM journey.namespace WHERE namespace LIKE 'ns%';
CREATE VIEW orders_view AS SELECT * FROM orders;
SELECT throws_ok($$SELECT journey.attach('orders_view', 'order')$$, '42809', 'public.orders_view is not a table', 'a view');
CREATE TEMP TABLE temp_orders (LIKE orders);
SELECT throws_ok($$SELECT journey.attach('temp_orders', 'order')$$, '42809', 'temp_orders is a temporary table', 'a temporary table');
SELECT throws_ok($$SELECT journey.attach('journey.orders', 'order')$$, '42809', NULL, 'a table of journey''s own');
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE far_orders (id integer) SERVER nowhere;
SELECT throws_ok($$SELECT journey.attach('far_orders', 'order')$$, '42809', 'public.far_orders is a foreign table', 'a foreign table');
CREATE TABLE split_orders (id integer, email text) PARTITION BY RANGE (id);
CREATE TABLE near_orders PARTITION OF split_orders FOR VALUES FROM (0) TO (10);
CREATE FOREIGN TABLE old_orders PARTITION OF split_orders FOR VALUES FROM (10) TO (20) SERVER nowhere;
SELECT throws_ok($$SELECT journey.attach('split_orders', 'order', '{"key": "id", "subject": {"email": "email"}}')$$, '42809', 'public.split_orders has rows in a foreign table', 'a table with a foreign partition');
SELECT lives_ok($$SELECT journey.attach('near_orders', 'order', '{"key": "id", "subject": {"email": "email"}}', dry_run => true)$$, 'its other partitions can be attached');
CREATE ROLE attach_admin; GRANT journey_admin TO attach_admin; GRANT SELECT, TRIGGER ON orders TO attach_admin;
CREATE ROLE attach_nobody; GRANT SELECT, TRIGGER ON orders TO attach_nobody;
SET ROLE attach_admin;
SELECT throws_ok($$SELECT journey.attach('orders', 'order')$$, '42501', 'permission denied to attach public.orders', 'an administrator who does not own the table');
SET ROLE attach_nobody;
SELECT throws_ok($$SELECT journey.attach('orders', 'order')$$, '42501', NULL, 'somebody who is no administrator');
RESET ROLE;
SELECT throws_ok($$SELECT journey.detach('orders')$$, '42704', 'orders is not attached', 'detaching what is not attached');
SELECT throws_ok($$SELECT journey.reconcile('orders')$$, '42704', 'public.orders is not attached', 'reconciling what is not attached');

-- ---- the guess and the dry run ---------------------------------------------
SELECT is((SELECT value::jsonb #- '{status,values}' FROM journey.attach('orders', 'order', dry_run => true) WHERE what = 'guess'),
    '{"key": "id", "subject": {"customer_id": "customer_id", "email": "email"}, "status": {"column": "status"}, "amount": "total",
      "currency": "currency", "at": "placed_at", "codes": "coupon", "cart": "cart_id"}'::jsonb, 'usual names are guessed');
SELECT is((SELECT string_agg(format('%s %s %s', what, value, rows), '; ' ORDER BY value) FROM journey.attach('orders', 'order', dry_run => true) WHERE name = 'status' AND what <> 'map'),
    'mapped canceled → cancelled 1; null null 1; mapped paid → paid 1; unmapped weird 1', 'rows per status, mapped and not');
SELECT is((SELECT value FROM journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "email"}}', dry_run => true) WHERE what = 'not mapped' AND name = 'currency'),
    'nearest column: currency', 'a field that is left out is named with the nearest column');
CREATE TABLE person (id integer PRIMARY KEY, email text, accepts_marketing boolean);
SELECT results_eq($$SELECT name, value FROM journey.attach('person', 'customer', '{"subject": {"customer_id": "id", "email": "email"}}', dry_run => true) WHERE what = 'not mapped' AND name IN ('email', 'at')$$,
    $$VALUES ('at', 'no column like it')$$, 'not what the subject names; and two letters are not like two others');
SELECT is((SELECT count(*) FROM journey.attachment), 0::bigint, 'a dry run registers nothing');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass), 0::bigint, 'makes no trigger');
SELECT is(has_table_privilege('journey_owner', 'orders', 'SELECT'), false, 'grants nothing');
SELECT is_empty('SELECT * FROM captured()', 'and reads nothing in');

-- ---- for real --------------------------------------------------------------
ALTER TABLE orders OWNER TO attach_admin;
SET ROLE attach_admin;
SELECT is((SELECT rows FROM journey.attach('orders', 'order') WHERE what = 'back-fill'), 4::bigint, 'an administrator who owns the table attaches it');
RESET ROLE;
SELECT is((SELECT string_agg(op::text || COALESCE(fence::text, '-'), ' ') FROM captured()), 'B- B- B- B-', 'its rows are back-filled, and fence nobody');
SELECT is((SELECT backfilled_at IS NOT NULL FROM journey.attachment), true, 'which is noted');
SELECT is((SELECT scope FROM journey.source WHERE source = 'commerce'), 'default', 'its source is registered');
SELECT is((SELECT count(*) FROM journey.reconcile('orders') WHERE appended = 4), 1::bigint, 'what is not known yet is appended by reconcile');
SELECT count(*) FROM captured();
INSERT INTO orders (id, status, cart_id) VALUES (5, 'paid', 'C1');
SELECT is((SELECT keys FROM captured()), ARRAY[journey.key_hash('cart', 'default:C1'), journey.key_hash('order', 'default:5')],
    'an order names its cart among its keys');

SELECT lives_ok($$SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "email"}, "status": "status", "on_delete": "cancelled"}', backfill => false)$$, 'attaching again replaces the map');
SELECT results_eq('SELECT attachment, detached_at IS NULL FROM journey.attachment ORDER BY 1', 'VALUES (1, false), (2, true)', 'rows of the former map keep it');
INSERT INTO orders (id, email, status) VALUES (6, 'x@y.z', 'placed');
SELECT is((SELECT cardinality(cols) FROM captured()), 3, 'the running session uses the new map at once');
DELETE FROM orders WHERE id = 6;
SELECT results_eq('SELECT op, fence FROM captured()', $$VALUES ('D'::"char", 'r'::"char")$$, 'a delete that means cancelled releases');
SELECT is((SELECT count(*) FROM journey.detach('orders')), 1::bigint, 'detach');
INSERT INTO orders (id, email, status) VALUES (7, 'x@y.z', 'placed');
SELECT is_empty('SELECT * FROM captured()', 'nothing is captured any more');

-- ---- a source with its own scope -------------------------------------------
INSERT INTO journey.source (source, scope) VALUES ('shop_fr', 'fr');
SELECT journey.attach('orders', 'order', '{"source": "shop_fr", "key": "id", "subject": {"email": "email"}, "status": "status"}', backfill => false);
INSERT INTO orders (id, email, status) VALUES (8, 'x@y.z', 'placed');
SELECT results_eq('SELECT source, scope, keys[2] FROM captured()', $$VALUES ('shop_fr', 'fr', journey.key_hash('order', 'fr:8'))$$, 'rows carry the source''s scope');
UPDATE journey.source SET scope = 'de' WHERE source = 'shop_fr';
SELECT is((SELECT problem FROM journey._check_attachments()), 'the source has moved to scope de', 'a trigger of another scope is noticed');
UPDATE journey.source SET scope = 'fr' WHERE source = 'shop_fr';
ALTER TABLE orders DISABLE TRIGGER journey_capture_order;
SELECT is((SELECT problem FROM journey._check_attachments()), 'the capture trigger is not ENABLE ALWAYS on public.orders', 'a disabled trigger is noticed');
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'capture_disabled' AND resolved_at IS NULL), 1::bigint, 'as an incident');
ALTER TABLE orders ENABLE ALWAYS TRIGGER journey_capture_order;
ALTER TABLE orders RENAME TO sales;
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'a renamed table is followed');
SELECT is((SELECT rel_name FROM journey.attachment WHERE detached_at IS NULL), 'sales', 'under its new name');
DROP TABLE sales CASCADE;
SELECT is((SELECT problem FROM journey._check_attachments()), 'the capture trigger is gone', 'a dropped table is noticed');
SELECT matches((SELECT hint FROM journey._check_attachments()), 'journey\.detach\(''public\.sales''', 'with the statement that ends it');
SELECT throws_ok($$SELECT journey.detach('public.sale')$$, '42704', 'public.sale is not attached', 'by its name, which must be right');
SELECT throws_ok($$SELECT journey.detach('sales', 'cart')$$, '42704', 'sales is not attached as cart', 'and its kind');
SELECT results_eq($$SELECT * FROM journey.detach('sales')$$, $$VALUES ('detached', 'public.sales', 'attachment 3, kind order; the table is gone')$$,
    'a table that is gone is detached by the name that it had');
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'then nothing is wrong');
SELECT is_empty('SELECT * FROM journey.incident WHERE resolved_at IS NULL', 'and no incident is open');

-- ---- names that change hands before anybody has followed them ----------------
CREATE SCHEMA "Old";
CREATE TABLE "Old".bought (id integer, email text);
CREATE TABLE bought (id integer, email text);
CREATE FUNCTION attach_order(rel regclass) RETURNS void LANGUAGE sql AS
    $$ SELECT count(*) FROM journey.attach(rel, 'order', '{"key": "id", "subject": {"email": "email"}}') $$;
SELECT attach_order('bought'), attach_order('"Old".bought');
-- a literal means what it would mean to any statement of the caller
CREATE SCHEMA first; CREATE TABLE first.bought (id integer, email text);
SET search_path = first, public;
SELECT throws_ok($$SELECT journey.detach('bought')$$, '42704', 'bought is not attached', 'the table that the caller''s path finds is not attached, whatever others of its name are');
SET search_path = "Old", public;
SELECT is((SELECT name FROM journey.detach('bought')), '"Old".bought', 'nor is another one taken that is');
RESET search_path;
ALTER TABLE "Old".bought RENAME TO apart;
SELECT attach_order('"Old".apart');
SELECT throws_ok($$SELECT journey.detach('apart')$$, '42704', 'apart is not attached', 'nor one that the path does not find');
ALTER TABLE "Old".apart RENAME TO bought;
CREATE TABLE sold (id integer, email text); CREATE TABLE "Old".sold (id integer, email text);
SELECT attach_order('sold'), attach_order('"Old".sold');
DROP TABLE sold; DROP TABLE "Old".sold;
SELECT throws_ok($$SELECT journey.detach('sold')$$, '22023', 'sold is the name of several attached tables', 'a name that two tables had which are gone');
SELECT journey.detach('public.sold'), journey.detach('"Old".sold');
ALTER TABLE bought RENAME TO "Bought";
SELECT attach_order('"Bought"');
SELECT results_eq('SELECT rel_schema, rel_name FROM journey.attachment WHERE detached_at IS NULL ORDER BY 1, 2', $$VALUES ('Old', 'bought'), ('public', 'Bought')$$,
    'a table attached under its new name has one attachment, not two');
CREATE TABLE bought (id integer, email text);
SELECT attach_order('bought');
ALTER TABLE bought RENAME TO swap; ALTER TABLE "Bought" RENAME TO bought; ALTER TABLE swap RENAME TO "Bought";
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'two tables that change names are both followed');
INSERT INTO bought VALUES (1, 'a@b.c');
SELECT is((SELECT count(*) FROM journey.detach('"Bought"')), 1::bigint, 'detach takes the one that has the name now');
SELECT count(*) FROM captured();
INSERT INTO bought VALUES (2, 'a@b.c'); INSERT INTO "Bought" VALUES (1, 'a@b.c');
SELECT is((SELECT count(*) FROM captured()), 1::bigint, 'and not the one that had it');
SELECT attach_order('"Bought"');
DROP TABLE bought; ALTER TABLE "Bought" RENAME TO bought;
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'an attached table in the place of one that was dropped replaces it');
SELECT journey.detach(format('%I.%I', rel_schema, rel_name), kind) FROM journey.attachment WHERE detached_at IS NULL;
SELECT is_empty('SELECT FROM journey.attachment WHERE detached_at IS NULL', 'all is detached by the names in the list');
SELECT count(*) FROM captured();

-- ---- a table that would be read for long under the trigger's lock ------------
CREATE TABLE big (id integer PRIMARY KEY, email text, filler text);
INSERT INTO big SELECT n, n || '@example.com', repeat('x', 1000) FROM generate_series(1, 2000) n;
SELECT matches((SELECT value || ' ' || COALESCE(rows, 0) FROM journey.attach('big', 'order', '{"key": "id", "subject": {"email": "email"}}') WHERE what = 'back-fill'),
    'above 1 MB: the laps to come read its \d+ blocks.*journey\.stat_progress.* 0$', 'a table above 1 MB is not read in the transaction that makes its trigger wait');
SELECT is_empty('SELECT * FROM captured()', 'none of its rows is taken');
SELECT matches((SELECT status || ': ' || detail FROM journey.health WHERE topic = 'back-fill'), 'warning: public\.big as order: 0 of \d+ blocks', 'health says that its past is unknown');
SELECT is((SELECT appended FROM journey.reconcile('big')), 2000::bigint, 'reconcile reads it, holding nobody up');
SELECT is_empty('SELECT * FROM journey.health WHERE topic IN (''attachment'', ''back-fill'')', 'then all is known');
SELECT count(*) FROM captured();
SELECT journey.detach('big');

-- ---- the other kinds -------------------------------------------------------
CREATE TABLE customers (id integer PRIMARY KEY, email text, accepts_marketing boolean, sms_ok text, city text);
SELECT journey.attach('customers', 'customer', '{"subject": {"customer_id": "id", "email": "email"}, "traits": ["city"],
    "consents": [{"channel": "email", "column": "accepts_marketing"},
                 {"channel": "sms", "purpose": "marketing", "column": "sms_ok", "values": {"y": "granted", "n": "revoked"}}]}');
INSERT INTO customers VALUES (1, 'a@b.c', true, 'y', 'Bonn');
SELECT is((SELECT fence FROM captured()), 'l', 'customer: id and e-mail belong together');
UPDATE customers SET city = 'Kiel';
SELECT is((SELECT fence FROM captured()), NULL, 'a trait changes nothing about that');
UPDATE customers SET accepts_marketing = false;
SELECT results_eq('SELECT fence, type, props FROM captured()', $$VALUES ('f'::"char", 'unsubscribed', '{"channel": "email", "purpose": "marketing"}'::jsonb)$$, 'an opt-out is a fence for its channel');
UPDATE customers SET accepts_marketing = true, sms_ok = 'n';
SELECT results_eq($$SELECT fence, props ->> 'channel' FROM captured()$$, $$VALUES ('f'::"char", 'sms')$$, 'yes to one and no to the other');
UPDATE customers SET accepts_marketing = false, sms_ok = 'y';
UPDATE customers SET accepts_marketing = true, sms_ok = 'y';
SELECT count(*) FROM captured();
UPDATE customers SET accepts_marketing = false, sms_ok = 'n';
SELECT results_eq($$SELECT op, fence, props ->> 'channel' FROM captured()$$, $$VALUES ('U'::"char", 'f'::"char", 'email'), ('f', 'f', 'sms')$$, 'two at once are two fences');

CREATE TABLE carts (id text PRIMARY KEY, visitor text, customer integer);
SELECT journey.attach('carts', 'cart', '{"key": "id", "subject": {"anonymous_id": "visitor", "customer_id": "customer"}}');
INSERT INTO carts VALUES ('C9', 'v1', NULL);
SELECT results_eq('SELECT fence, ref FROM captured()', $$VALUES ('l'::"char", 'cart:C9')$$, 'cart: whose it is');
UPDATE carts SET customer = 5;
SELECT is((SELECT keys FROM captured()), ARRAY[journey.key_hash('customer_id', '5'), journey.key_hash('anonymous_id', 'v1'), journey.key_hash('cart', 'default:C9')], 'a cart that gets its owner links all three');

CREATE TABLE cart_lines (id integer PRIMARY KEY, cart_id text, sku text, quantity integer, price numeric);
SELECT journey.attach('cart_lines', 'cart_line');
INSERT INTO cart_lines VALUES (1, 'C9', 'J1', 2, 9.99);
SELECT results_eq('SELECT fence, ref FROM captured()', $$VALUES (NULL::"char", 'cart:C9')$$, 'cart line, by a guessed map');
SELECT journey._fence('{cart_item_added}');
UPDATE cart_lines SET quantity = 3;
SELECT results_eq('SELECT fence, type, keys FROM captured()', $$VALUES ('f'::"char", 'cart_item_added', ARRAY[journey.key_hash('cart', 'default:C9')])$$, 'when a document lists its type, more of it is a fence');
UPDATE cart_lines SET quantity = 1;
SELECT is((SELECT type FROM captured()), NULL, 'less of it is none');

CREATE TABLE consents (customer integer, medium text, ok boolean);
SELECT journey.attach('consents', 'consent', '{"subject": {"customer_id": "customer"}, "channel": "medium", "state": {"column": "ok", "values": {"true": "granted", "false": "revoked"}}}');
INSERT INTO consents VALUES (1, 'push', false);
SELECT results_eq('SELECT fence, type, props FROM captured()', $$VALUES ('f'::"char", 'unsubscribed', '{"channel": "push", "purpose": "marketing"}'::jsonb)$$, 'consent: a no is a fence');

CREATE TABLE mails (external_id text, event text, at timestamptz);
SELECT journey.attach('mails', 'message_event', '{"type": {"column": "event", "values": {"open": "message_opened", "*": "message_delivered"}}, "provider_ref": "external_id", "at": "at"}');
INSERT INTO mails VALUES ('m1', 'open', '2026-01-01Z');
SELECT is((SELECT cols FROM captured()), '{"2026-01-01 00:00:00+00",open,m1}', 'message event: needs no subject');

CREATE TABLE stock (sku text, place text, on_hand integer);
SELECT journey.attach('stock', 'stock');
INSERT INTO stock VALUES ('J1', 'a', 2), ('J1', 'b', 3), ('J2', 'a', 0);
SELECT results_eq($$SELECT sku, available FROM journey._stock('{J1,J2,J3}') ORDER BY 1$$, $$VALUES ('J1', 5::numeric), ('J2', 0)$$, 'stock is read live, over all places');
ALTER TABLE stock ALTER on_hand TYPE text;
INSERT INTO stock VALUES ('J1', 'c', 'n/a'), ('J1', 'd', ''), ('J1', 'e', ' +1.5e1 '), ('J1', 'f', '1e999'), ('J3', 'a', 'many'), ('J4', 'a', NULL);
SELECT results_eq($$SELECT sku, available FROM journey._stock('{J1,J2,J3,J4}') ORDER BY 1$$, $$VALUES ('J1', 20::numeric), ('J2', 0)$$, 'what is no number is unknown');
ALTER TABLE stock ALTER on_hand TYPE boolean USING true;
SELECT is_empty($$SELECT * FROM journey._stock('{J1}')$$, 'as is what can be none');
ALTER TABLE stock RENAME on_hand TO pieces;
SELECT is_empty($$SELECT * FROM journey._stock('{J1}')$$, 'and unknown when the mapping no longer fits');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');

-- keys are what the column holds: the trigger and the laps could not agree on anything else
CREATE TABLE keyed (id text PRIMARY KEY, number text, customer text, sku text, on_hand int);
SELECT throws_ok($$SELECT journey.attach('keyed', 'order', '{"key": "id", "subject": {"customer_id": {"column": "customer", "values": {"VIP1": "42"}}}}')$$,
    '22023', 'field "subject.customer_id" of the map is a key and has no values to map', 'the values of a subject cannot be mapped');
SELECT throws_ok($$SELECT journey.attach('keyed', 'order', '{"key": {"column": "id", "values": {"1": "2"}}, "subject": {"customer_id": "customer"}}')$$,
    '22023', 'field "key" of the map is a key and has no values to map', 'nor those of a key');
SELECT throws_ok($$SELECT journey.attach('keyed', 'stock', '{"sku": {"column": "sku", "values": {"a": "A"}}, "available": "on_hand"}')$$,
    '22023', 'field "sku" of the map is a key and has no values to map', 'nor those of a product');
SELECT throws_ok($$SELECT journey.attach('keyed', 'order_line', '{"key": "id", "order": "number", "sku": "sku"}')$$,
    '22023', 'fields "key" and "order" of the map name two columns', 'a line belongs to one order');
SELECT lives_ok($$SELECT journey.attach('keyed', 'order_line', '{"order": "number", "sku": "sku"}', dry_run => true)$$, 'which either name may say');
SELECT * FROM finish();
