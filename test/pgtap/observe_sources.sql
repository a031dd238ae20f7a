-- What a source document says of its source: trusted or not, how long it may
-- be silent, which of the eight systems it is.
-- What would break if this failed: a browser that gives consent for others or joins two people.
SELECT plan(27);
SELECT journey.set_clock('2026-03-01 10:00+00');
SELECT journey.apply('{"kind": "source", "name": "browser", "system": "commerce", "trusted": false}');
SELECT journey.apply('{"kind": "source", "name": "shop", "system": "commerce"}');

CREATE FUNCTION pg_temp.who(namespace text, value text) RETURNS uuid LANGUAGE sql AS
$$ SELECT journey.profile_id(jsonb_build_object(namespace, value)) $$;

-- no consent from it
SELECT journey.track('shop', 'identified', '{"customer_id": "1", "email": "ann@example.com"}', '{}');
SELECT journey.track('browser', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}');
SELECT journey.run_once();
SELECT is_empty('SELECT * FROM journey.consent', 'a browser grants no consent');
SELECT is_empty('SELECT * FROM journey.consent_history', 'it is no statement');
SELECT is_empty($$SELECT * FROM journey.event WHERE type = 'consent_granted'$$, 'and no journey hears of it');
SELECT results_eq($$SELECT name, severity FROM journey.incident WHERE kind = 'untrusted_consent'$$, $$VALUES ('browser', 'warning')$$, 'it is reported');
SELECT journey.track('shop', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-03-01 09:00+00');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.consent), 'granted', 'a trusted source grants it');
SELECT journey.track('browser', 'consent_revoked', '{"customer_id": "1"}', '{"channel": "email"}');
SELECT journey.run_once();
SELECT results_eq('SELECT state, source FROM journey.consent', $$VALUES ('revoked', 'browser')$$, 'a browser takes it away');

-- no links from it
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT isnt(pg_temp.who('anonymous_id', 'a1'), NULL, 'a browser alone is a session');
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a2", "email": "ann@example.com"}', '{"sku": "J2"}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.event WHERE props ->> 'sku' = 'J2'), pg_temp.who('customer_id', '1'), 'its event is filed under the strongest key');
SELECT is(pg_temp.who('anonymous_id', 'a2'), NULL, 'the other key joins nobody');
SELECT journey.track('browser', 'identified', '{"anonymous_id": "a1", "email": "eve@example.com"}', '{"email": "eve@example.com"}');
SELECT journey.run_once();
SELECT is(pg_temp.who('email', 'eve@example.com'), NULL, 'a new address joins no session');
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a3", "email": "new@example.com"}', '{"sku": "J3"}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.event WHERE props ->> 'sku' = 'J3'), pg_temp.who('email', 'new@example.com'), 'of two new keys the stronger makes the person');
SELECT is(pg_temp.who('anonymous_id', 'a3'), NULL, 'and the weaker is nobody''s');
SELECT journey.track('browser', 'identified', '{"customer_id": "1"}', '{"email": "eve@example.com"}');
SELECT journey.run_once();
SELECT results_eq($$SELECT address FROM journey.contact_point WHERE profile_id = pg_temp.who('customer_id', '1') AND state = 'active'$$,
    ARRAY['ann@example.com'], 'it changes nobody''s address');

-- nor by way of a cart
SELECT journey.track('shop', 'cart_item_added', '{"customer_id": "1"}', '{"sku": "J1", "cart_id": "C1", "price": 3}');
SELECT journey.track('browser', 'cart_item_added', '{"anonymous_id": "b1"}', '{"sku": "J1", "cart_id": "C2", "price": 4}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C2'), pg_temp.who('anonymous_id', 'b1'), 'a new cart of a browser is its session''s');
SELECT journey.track('browser', 'cart_viewed', '{"anonymous_id": "b2"}', '{"cart_id": "C1"}');
SELECT journey.track('browser', 'cart_viewed', '{"customer_id": "1"}', '{"cart_id": "C2"}');
SELECT journey.run_once();
SELECT isnt(pg_temp.who('anonymous_id', 'b2'), pg_temp.who('customer_id', '1'), 'a browser that names a person''s cart is not that person');
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C2'), pg_temp.who('anonymous_id', 'b1'), 'and moves no cart');
SELECT journey.track('shop', 'cart_viewed', '{"email": "guest@example.com"}', '{"cart_id": "C2"}');
SELECT journey.run_once();
SELECT isnt(pg_temp.who('email', 'guest@example.com'), pg_temp.who('anonymous_id', 'b1'), 'nobody joins a session because a browser said whose the cart is');
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C2'), pg_temp.who('email', 'guest@example.com'), 'the cart goes to whom the shop names');

-- the document decides from the next lap on
SELECT journey.apply('{"kind": "source", "name": "browser", "system": "commerce"}');
SELECT journey.track('browser', 'identified', '{"anonymous_id": "a1", "email": "ann@example.com"}', '{}');
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a2", "email": "ann@example.com"}', '{"sku": "J2"}');
SELECT journey.run_once();
SELECT is(pg_temp.who('anonymous_id', 'a2'), pg_temp.who('customer_id', '1'), 'a source that is trusted again links');

-- silence
SELECT is_empty($$SELECT * FROM journey.health WHERE topic = 'source'$$, 'without max_lag silence is no matter');
SELECT journey.apply('{"kind": "source", "name": "shop", "system": "commerce", "max_lag": "10 minutes"}');
SELECT is_empty($$SELECT * FROM journey.health WHERE topic = 'source'$$, 'a source that has just sent is not silent');
UPDATE journey.source SET last_received_at = clock_timestamp() - interval '11 minutes' WHERE source IN ('shop', 'browser');
SELECT results_eq($$SELECT status, detail LIKE 'shop has sent nothing for 00:11:0%; its max\_lag is 00:10:00', hint IS NOT NULL FROM journey.health WHERE topic = 'source'$$,
    $$VALUES ('warning', true, true)$$, 'one that is silent for longer is a warning');
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "1"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT is_empty($$SELECT * FROM journey.health WHERE topic = 'source'$$, 'until it sends again');

SELECT set_eq($$SELECT jsonb_array_elements_text(journey.json_schema() #> '{$defs,source,properties,system,enum}')$$,
    'SELECT system FROM journey.system', 'documents and the registry name the same eight systems');

-- each signal has one source of truth, and whoever else writes it is reported, whichever way in
-- mission: 23
CREATE TABLE crm_people (id text PRIMARY KEY, city text, wants boolean);
CREATE TABLE pos_receipts (id text PRIMARY KEY, who text);
CREATE TABLE erp_stock (sku text, pieces int);
CREATE TABLE pim_products (sku text, title text, pieces int);
CREATE TABLE cmp_consents (who text, medium text, state text);
SELECT count(*) FROM journey.attach('crm_people', 'customer', '{"source": "other_rows", "subject": {"customer_id": "id"}, "traits": ["city"],
    "consents": [{"channel": "email", "purpose": "marketing", "column": "wants", "values": {"true": "granted", "false": "denied"}}]}');
SELECT count(*) FROM journey.attach('pos_receipts', 'order', '{"source": "other_rows", "key": "id", "subject": {"customer_id": "who"}}');
SELECT count(*) FROM journey.attach('erp_stock', 'stock', '{"source": "other_rows", "sku": "sku", "available": "pieces"}');
SELECT count(*) FROM journey.attach('pim_products', 'product', '{"source": "other_rows", "sku": "sku", "name": "title", "available": "pieces"}');
SELECT count(*) FROM journey.attach('cmp_consents', 'consent', '{"source": "other_rows", "subject": {"customer_id": "who"}, "channel": "medium", "state": "state"}');
CREATE TEMP TABLE says (n serial, what text, signals text);
INSERT INTO says (what, signals) VALUES
    ('identified {}', 'identity'),
    ('order_placed {"order_id": "O1"}', 'orders'), ('order_line_placed {"order_id": "O1", "sku": "A"}', 'orders'),
    ('stock_changed {"sku": "A", "available": 1}', 'inventory'), ('product_changed {"sku": "A", "available": 1}', 'inventory'), ('product_changed {"sku": "A", "name": "a"}', NULL),
    ('consent_granted {"channel": "email"}', 'consent'), ('consent_revoked {"channel": "email"}', 'consent'),
    ('tier_changed {"tier": "gold"}', 'eligibility'), ('reward_issued {"reward_id": "R"}', 'eligibility'),
    ('product_viewed {"sku": "A"}', NULL), ('ticket_opened {"reason": "late"}', NULL);
INSERT INTO says (what, signals) VALUES
    ($$INSERT INTO crm_people VALUES ('p', 'Ulm', NULL)$$, 'identity'), ($$UPDATE crm_people SET wants = true$$, 'consent identity'),
    ($$INSERT INTO pos_receipts VALUES ('P1', 'p')$$, 'orders'), ($$INSERT INTO erp_stock VALUES ('A', 2)$$, 'inventory'),
    ($$INSERT INTO pim_products VALUES ('B', 'b', NULL)$$, NULL), ($$UPDATE pim_products SET pieces = 2$$, 'inventory'),
    ($$INSERT INTO cmp_consents VALUES ('p', 'sms', 'granted')$$, 'consent');
CREATE FUNCTION pg_temp.say(what text, source text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.declare_truth(signal, 'truth') FROM journey.source_of_truth;
    UPDATE journey.incident SET resolved_at = journey.clock() WHERE kind = 'second_writer';
    IF what ~ '^[A-Z]' THEN
        EXECUTE what;
    ELSE
        PERFORM journey.track(source, split_part(what, ' ', 1), '{"customer_id": "p"}', substr(what, strpos(what, ' '))::jsonb);
    END IF;
END $$;
-- Which signals somebody is seen to write beside their source of truth: by the registry and by incidents alike.
CREATE FUNCTION pg_temp.seen() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(t.signal, ' ' ORDER BY t.signal) FROM journey.source_of_truth t
    JOIN journey.incident i ON i.kind = 'second_writer' AND i.name = t.signal || ': ' || t.second_writer AND i.resolved_at IS NULL
    WHERE t.second_writer LIKE 'other%' AND t.second_count = 1
$$;
CREATE TEMP TABLE seen (n int, source text, signals text);
SELECT format('SELECT pg_temp.say(%L, %L)', what, source), 'SELECT journey.run_once()', format('INSERT INTO seen SELECT %s, %L, pg_temp.seen()', n, source)
FROM says CROSS JOIN unnest('{truth,other}'::text[]) source WHERE source = 'other' OR what !~ '^[A-Z]' ORDER BY n, source DESC \gexec
SELECT is_empty($$SELECT what FROM seen JOIN says USING (n) WHERE seen.source = 'truth' AND seen.signals <> ''$$, 'what the declared source says is no news');
SELECT results_eq($$SELECT what, seen.signals FROM seen JOIN says USING (n) WHERE seen.source = 'other' ORDER BY n$$, $$SELECT what, signals FROM says ORDER BY n$$, 'what another says is reported, by signal');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
