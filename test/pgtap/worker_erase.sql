-- The rights of a person: to be forgotten, to be left alone, to see what is known.
\ir ../fixtures/orchestrate.sql
\ir ../lib/orphans.sql
SELECT plan(44);
SELECT pg_temp.move('2026-03-02 10:00+00');
-- mission: 218
CREATE FUNCTION pg_temp.rows_of(id uuid) RETURNS TABLE (name text) LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
    FOR t IN SELECT c.oid::regclass FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'profile_id'
             WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition LOOP
        RETURN QUERY EXECUTE format('SELECT %L::text FROM %s x WHERE x.profile_id = $1', t, t) USING id;
    END LOOP;
END $$;
-- every table of ours, whole, as text: does it hold the word?
CREATE FUNCTION pg_temp.mentions(word text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
    FOR t IN SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             AND c.relname NOT LIKE 'inbox%' LOOP
        RETURN QUERY EXECUTE format('SELECT DISTINCT %L::text FROM %s x WHERE x::text ILIKE %L', t, t, '%' || word || '%');
    END LOOP;
END $$;
SELECT journey.apply(pg_temp.cart_doc()) \g /dev/null
SELECT pg_temp.person('ann'), pg_temp.cart('ann', 'AC'), pg_temp.person('bob');
SELECT journey.track('web', 'product_viewed', '{"customer_id": "ann", "anonymous_id": "ann-browser"}', '{"sku": "J1"}');
SELECT journey.track('shop', 'order_placed', '{"customer_id": "bob", "email": "bob@example.com"}', '{"order_id": "BO", "amount": 10, "currency": "EUR"}');
SELECT count(*) FROM journey.ingest('[{"type": "track", "properties": {"email": "ann@example.com"}}]') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.move('2026-03-02 11:20+00');
SELECT pg_temp.pid('ann') AS ann \gset

-- ---- to see what is known -------------------------------------------------------
SELECT journey.export_person('{"email": "ann@example.com"}') AS export \gset
SELECT is((SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(:'export'::jsonb) k),
    'cart cart_line consent consent_history contact_point decision enrollment event exposure identity outbox profile profile_state stage_transition transition', 'an export has every table');
SELECT is((SELECT string_agg(k ->> 'value', ' ' ORDER BY k ->> 'value') FROM jsonb_array_elements(:'export'::jsonb -> 'identity') k WHERE k ->> 'namespace' <> 'cart'), 'ann ann-browser ann@example.com', 'and every key');
SELECT is(journey.export_person('{"email": "nobody@example.com"}'), NULL, 'of nobody there is nothing');

-- ---- to be left alone --------------------------------------------------------------
SELECT ok(journey.restrict('{"customer_id": "ann"}'), 'somebody wants to be left alone');
SELECT is((SELECT count(*) FROM journey.claim('email', 10)), 0::bigint, 'and is, before any lap');
SELECT results_eq('SELECT status, reason FROM journey.outbox_history', $$VALUES ('refused', 'restricted')$$, 'the refusal says why');
SELECT journey.run_once() \g /dev/null
SELECT ok((SELECT p.restricted FROM journey.profile p WHERE p.profile_id = :'ann'), 'it is written on them');
SELECT ok(journey.restrict('{"customer_id": "ann"}', false), 'until they want it no longer');
SELECT journey.run_once() \g /dev/null
SELECT ok((SELECT NOT p.restricted FROM journey.profile p WHERE p.profile_id = :'ann'), 'then it is not');
SELECT is(journey.restrict('{"customer_id": "nobody"}'), false, 'nobody cannot be left alone');

-- ---- to be forgotten ------------------------------------------------------------------
SELECT pg_temp.cart('ann', 'AC2');
SELECT pg_temp.move('2026-03-02 13:00+00');
SELECT action_id AS a, token AS t FROM journey.claim('email', 10) \gset
SELECT journey.erase('{"customer_id": "ann"}', 'by letter') AS proof \gset
SELECT results_eq(format('SELECT granted, reason FROM journey.begin_send(%L::uuid, %L::bigint)', :'a', :'t'), $$VALUES (false, 'restricted')$$, 'from the request on no permit is granted');
SELECT journey.run_once() \g /dev/null
SELECT is_empty(format('SELECT * FROM pg_temp.rows_of(%L)', :'ann'), 'a lap deletes every row');
SELECT is_empty($$SELECT pg_temp.mentions('ann@example')$$, 'no table of ours knows the address');
SELECT is_empty($$SELECT pg_temp.mentions('ann-browser')$$, 'nor the browser');
SELECT results_eq(format($$SELECT asked_by = session_user, reason, keys, erased_at, (rows ->> 'event')::integer > 5 FROM journey.erasure WHERE erasure_id = %L$$, :'proof'),
    $$VALUES (true, 'by letter', 5, '2026-03-02 13:00+00'::timestamptz, true)$$, 'the proof says what was done');
SELECT is(journey.ack(:'a'::uuid, :'t'::bigint), false, 'a sender''s late word brings nothing back');
SELECT is_empty(format('SELECT * FROM pg_temp.rows_of(%L)', :'ann'), 'nothing');
SELECT is(journey.profile_id('{"customer_id": "ann"}'), NULL, 'nobody has the key');
SELECT isnt(pg_temp.pid('bob'), NULL, 'somebody else is still there');

-- what was captured before, and is read after
CREATE TABLE late AS SELECT journey._next_seq() AS seq;
SELECT journey.erase('{"email": "late@example.com"}') \g /dev/null
SELECT journey.track('shop', 'identified', '{"email": "late@example.com"}', '{"city": "Ulm"}');
UPDATE journey.inbox_0 SET seq = late.seq FROM late WHERE type = 'identified' AND subject ->> 'email' = 'late@example.com';
UPDATE journey.inbox_1 SET seq = late.seq FROM late WHERE type = 'identified' AND subject ->> 'email' = 'late@example.com';
UPDATE journey.inbox_2 SET seq = late.seq FROM late WHERE type = 'identified' AND subject ->> 'email' = 'late@example.com';
SELECT journey.run_once() \g /dev/null
SELECT is(journey.profile_id('{"email": "late@example.com"}'), NULL, 'what was captured before an erasure brings nobody back');
SELECT is((SELECT keys FROM journey.erasure ORDER BY erasure_id DESC LIMIT 1), 1, 'somebody whom nobody knows is remembered all the same');

-- a re-import
CREATE TABLE customers (id text PRIMARY KEY, email text, marketing boolean);
INSERT INTO customers VALUES ('ann', 'ann@example.com', true), ('new', 'new@example.com', true);
SELECT count(*) FROM journey.attach('customers', 'customer', '{"subject": {"customer_id": "id", "email": "email"}, "consents": [{"channel": "email", "purpose": "marketing", "column": "marketing", "values": {"true": "granted", "false": "denied"}}]}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.cart(c, c || '3') FROM unnest(ARRAY['ann', 'new']) c;
SELECT pg_temp.move('2026-03-02 15:00+00');
SELECT results_eq('SELECT profile_id FROM journey.claim(''email'', 10)', $$SELECT pg_temp.pid('new')$$, 'a re-import contacts nobody who was erased');
SELECT results_eq(format($$SELECT type, note FROM journey.suppression WHERE profile_id = %L$$, pg_temp.pid('ann')), $$VALUES ('manual', 'journey: somebody with this key was erased before')$$, 'and says why');
SELECT is(journey.unsuppress('{"customer_id": "ann"}'), 1, 'until somebody says otherwise');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.cart('ann', 'ann4');
SELECT pg_temp.move('2026-03-02 17:00+00');
SELECT ok(EXISTS (SELECT FROM journey.claim('email', 10) c WHERE c.profile_id = pg_temp.pid('ann')), 'then they are a customer like others');

-- merged, then forgotten
SELECT journey.track('shop', 'product_viewed', '{"email": "bob@guest.com"}', '{"sku": "J1"}');
SELECT journey.run_once() \g /dev/null
SELECT journey.profile_id('{"email": "bob@guest.com"}') AS guest, pg_temp.pid('bob') AS bob \gset
SELECT journey.track('shop', 'product_viewed', '{"email": "bob@guest.com", "customer_id": "bob"}', '{"sku": "J1"}');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count(*) FROM journey.profile_alias), 1::bigint, 'two who are one');
SELECT journey.erase('{"email": "bob@guest.com"}') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT is_empty(format('SELECT * FROM pg_temp.rows_of(%L) UNION ALL SELECT * FROM pg_temp.rows_of(%L)', :'bob', :'guest'), 'are forgotten as one');
SELECT is_empty($$SELECT pg_temp.mentions('bob@guest') UNION ALL SELECT pg_temp.mentions('bob@example')$$, 'under every address');
-- whoever nobody knew yet when they were forgotten: their cart is a table's row with lines that name the cart alone
CREATE TABLE carts (id text PRIMARY KEY, email text);
CREATE TABLE cart_lines (id integer PRIMARY KEY, cart text, sku text);
SELECT count(*) FROM journey.attach('carts', 'cart', '{"key": "id", "subject": {"email": "email"}}') \g /dev/null
SELECT count(*) FROM journey.attach('cart_lines', 'cart_line', '{"key": "cart", "line": "id", "sku": "sku"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
INSERT INTO carts VALUES ('GC', 'ghost@example.com');
INSERT INTO cart_lines VALUES (1, 'GC', 'J1');
SELECT journey.erase('{"email": "ghost@example.com"}') AS proof \gset
SELECT results_eq(format('SELECT erased_at FROM journey.erasure WHERE erasure_id = %L', :'proof'), ARRAY[NULL::timestamptz], 'as long as a lap has not looked, it is not done');
SELECT journey.run_once() \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT is(journey.profile_id('{"email": "ghost@example.com"}'), NULL, 'nobody is known by what was read after it');
SELECT is_empty($$SELECT FROM journey.cart c WHERE c.cart_id = 'GC' UNION ALL SELECT FROM journey.identity i WHERE i.value ~ 'GC'$$, 'nor does their cart stay as nobody''s');
SELECT isnt((SELECT erased_at FROM journey.erasure WHERE erasure_id = :'proof'), NULL, 'then it is done');
SELECT is_empty($$SELECT pg_temp.mentions('ghost@')$$, 'and the address is nowhere');
INSERT INTO cart_lines VALUES (2, 'GC', 'J2');
SELECT journey.run_once() \g /dev/null
SELECT is_empty($$SELECT FROM journey.cart c WHERE c.cart_id = 'GC'$$, 'a line that comes later does not make a cart of it');
INSERT INTO carts VALUES ('GD', 'ghost@example.com');
INSERT INTO cart_lines VALUES (3, 'GD', 'J1');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count(*) FROM journey.cart c WHERE c.cart_id = 'GD' AND c.profile_id = journey.profile_id('{"email": "ghost@example.com"}')), 1::bigint, 'who comes back fills another');

-- what was set aside: theirs goes, however it came, and of others nothing
CREATE TABLE odd_orders (id text PRIMARY KEY, email text, customer text, amount text);
SELECT count(*) FROM journey.attach('odd_orders', 'order', '{"key": "id", "subject": {"email": "email", "customer_id": "customer"}, "amount": "amount", "currency": {"const": "EUR"}, "status": {"const": "placed"}}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
DELETE FROM journey.quarantine;
SELECT journey.track('shop', 'product_viewed', jsonb_build_object('customer_id', c), '{"sku": "J1"}') FROM unnest('{2026,42}'::text[]) c;
SELECT journey.track('shop', 'identified', '{"customer_id": "odo", "email": "odo@example.com"}', '{}');
INSERT INTO odd_orders VALUES ('O1', 'odo@example.com', 'odo', 'a lot'), ('O2', 'jo.odo@example.com', 'jo', 'a lot');
SELECT count(*) FROM journey.ingest('[{"type": "track", "userId": "other", "timestamp": "2026-01-01T00:00:00Z", "properties": {"note": "42 pieces", "pieces": 42}},
    {"type": "track", "userId": "42", "properties": {"note": "of 42"}},
    {"type": "track", "userId": "other2", "properties": {"url": "https://shop.example/?to=Lone@example.com&x=1"}}]') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.quarantine WHERE original IS NOT NULL), 5::bigint, 'five messages are set aside');
SELECT journey.erase('{"customer_id": "odo"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT FROM journey.quarantine WHERE original_text ~ '[,{"]odo'$$, 'the columns of a row that was set aside are forgotten with the person');
SELECT journey.erase(jsonb_build_object('customer_id', c)) FROM unnest('{2026,42}'::text[]) c \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT FROM journey.quarantine WHERE original ->> 'userId' = '42'$$, 'so is a message under a short number');
SELECT is((SELECT count(*) FROM journey.quarantine WHERE original_text ~ 'jo.odo@example' OR original ->> 'userId' LIKE 'other%'), 3::bigint, 'of others all is there, whatever numbers it holds');
SELECT journey.erase('{"email": "lone@example.com"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT pg_temp.mentions('lone@example')$$, 'whom nobody ever knew is forgotten in what was set aside');

SELECT throws_ok($$SELECT journey.erase('{"custmer_id": "42"}')$$, '22023', 'erase() was given a subject that names nobody', 'a name that is misspelt is no erasure');
SELECT throws_ok($$SELECT journey.erase(NULL)$$, '22004', NULL, 'whom to forget must be said');

SELECT is_empty('SELECT pg_temp.orphans()', 'no row of any table is left behind');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
