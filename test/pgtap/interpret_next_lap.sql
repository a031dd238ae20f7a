-- Whatever is committed is known to rules after the next lap, one lap, whichever way it came in.
-- What would break if this failed: a decision of the next lap would not know what the shop knows.
-- mission: 1
\ir ../fixtures/orchestrate.sql
SELECT plan(6);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE TABLE s_customer (id text PRIMARY KEY, city text, mail text);
CREATE TABLE s_product (sku text PRIMARY KEY, price numeric);
CREATE TABLE s_stock (sku text, pieces int);
CREATE TABLE s_cart (id text PRIMARY KEY, who text, money text);
CREATE TABLE s_cart_line (cart text, sku text, qty int);
CREATE TABLE s_order (id text PRIMARY KEY, who text, state text, total numeric);
CREATE TABLE s_order_line (id text, sku text);
CREATE TABLE s_consent (who text, medium text, state text);
CREATE TABLE s_mail (who text, what text);
SELECT count(*) FROM (VALUES
    ('s_customer', 'customer', '{"subject": {"customer_id": "id", "email": "mail"}, "traits": ["city"]}'), ('s_product', 'product', '{"sku": "sku", "price": "price"}'),
    ('s_stock', 'stock', '{"sku": "sku", "available": "pieces"}'), ('s_cart', 'cart', '{"key": "id", "subject": {"customer_id": "who"}, "currency": "money"}'),
    ('s_cart_line', 'cart_line', '{"key": "cart", "sku": "sku", "quantity": "qty"}'), ('s_order', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": "state", "amount": "total"}'),
    ('s_order_line', 'order_line', '{"key": "id", "sku": "sku"}'), ('s_consent', 'consent', '{"subject": {"customer_id": "who"}, "channel": "medium", "state": "state"}'),
    ('s_mail', 'message_event', '{"subject": {"customer_id": "who"}, "type": "what"}')) t (rel, kind, map)
CROSS JOIN LATERAL journey.attach(rel::regclass, kind, map::jsonb);
SELECT journey.apply('[{"kind": "feature", "name": "clicks", "on": "message_clicked", "aggregate": "count"},
                       {"kind": "feature", "name": "searches", "on": "searched", "aggregate": "count"}]');
SELECT journey.apply(pg_temp.journey_doc('hats', '{"on": "searched", "when": "event.query = ''hats'' and profile.city = ''Bonn''"}',
    '{"idle": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}', '{"exit": [{"when": "cart.items > 5", "reason": "many"}]}'));
SELECT journey.run_until_idle();

-- what is written, and a rule that is true from then on and not before
CREATE TEMP TABLE writes (n serial, what text, rule text, before text, after text);
INSERT INTO writes (what, rule) VALUES
    ($$INSERT INTO s_customer VALUES ('p', 'Ulm', 'p@example.com')$$, $$profile.city = 'Ulm'$$),
    ($$UPDATE s_customer SET city = 'Bonn'$$, $$profile.city = 'Bonn'$$),
    ($$INSERT INTO s_product VALUES ('A', 5)$$, $$product.price = 5$$),
    ($$UPDATE s_product SET price = 6$$, $$product.price = 6$$),
    ($$INSERT INTO s_stock VALUES ('A', 2)$$, $$product.available = 2$$),
    ($$UPDATE s_stock SET pieces = 0$$, $$product.available = 0$$),
    ($$INSERT INTO s_cart VALUES ('K', 'p', 'EUR')$$, $$cart.id = 'K'$$),
    ($$INSERT INTO s_cart_line VALUES ('K', 'A', 2)$$, $$cart.items = 2$$),
    ($$DELETE FROM s_cart_line$$, $$cart.items = 0$$),
    ($$INSERT INTO s_order VALUES ('O', 'p', 'placed', 20)$$, $$orders.count = 1 and orders.sum = 20$$),
    ($$INSERT INTO s_order_line VALUES ('O', 'A')$$, $$order.skus = array['A']$$),
    ($$UPDATE s_order SET state = 'cancelled'$$, $$orders.count = 0$$),
    ($$INSERT INTO s_consent VALUES ('p', 'sms', 'granted')$$, $$consent.sms_marketing = 'granted'$$),
    ($$UPDATE s_consent SET state = 'revoked'$$, $$consent.sms_marketing = 'revoked'$$),
    ($$INSERT INTO s_mail VALUES ('p', 'message_clicked')$$, $$clicks = 1$$),
    ($$SELECT journey.track('web', 'order_placed', '{"email": "p@example.com"}', '{"order_id": "T", "amount": 7}')$$, $$orders.count = 1 and orders.sum = 7$$),
    ($$SELECT journey.detach('s_stock'), journey.track('web', 'stock_changed', NULL, '{"sku": "A", "available": 9}')$$, $$product.available = 9$$),
    ($$SELECT journey.track('web', 'tier_changed', '{"customer_id": "p"}', '{"tier": "gold"}'), journey.track('web', 'identified', '{"customer_id": "p"}', '{"tier": "gold"}')$$, $$profile.tier = 'gold'$$),
    ($$SELECT journey.ingest('[{"source": "web", "type": "searched", "subject": {"customer_id": "p"}, "props": {"query": "hats"}}, {"type": "identify", "userId": "p", "traits": {"likes": "hats"}}]')$$, $$searches = 1 and profile.likes = 'hats'$$),
    ($$INSERT INTO journey.inbox_copy (source, type, subject, props) VALUES ('web', 'searched', '{"customer_id": "p"}', '{"query": "caps"}')$$, $$searches = 2$$),
    ($$SELECT journey.set_preferences(journey._unsubscribe_token(journey.profile_id('{"customer_id": "p"}'), 'default', 'email'), '[{"channel": "email", "state": "granted"}]')$$, $$consent.email_marketing = 'granted'$$),
    ($$SELECT journey.unsubscribe(journey._unsubscribe_token(journey.profile_id('{"customer_id": "p"}'), 'default', 'email'))$$, $$consent.email_marketing = 'revoked'$$);
CREATE FUNCTION pg_temp.judge(rule text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(CASE WHEN bool_and(verdict = 'true') THEN 'true' ELSE 'not yet' END, 'nobody') FROM journey.explain_rule(rule, '{"customer_id": "p"}', '{"sku": "A", "cart_id": "K"}')
$$;
SELECT lap AS first FROM journey.cursor \gset
SELECT format('UPDATE writes SET before = pg_temp.judge(rule) WHERE n = %s', n), what, format('UPDATE writes SET before = before || '' '' || pg_temp.judge(rule) WHERE n = %s', n),
       'SELECT journey.run_once()', format('UPDATE writes SET after = pg_temp.judge(rule) WHERE n = %s', n)
FROM writes ORDER BY n \gexec
SELECT set_eq($$SELECT what FROM writes WHERE before NOT IN ('not yet not yet', 'nobody nobody')$$,
    $$VALUES ('INSERT INTO s_stock VALUES (''A'', 2)'), ('UPDATE s_stock SET pieces = 0')$$, 'no rule knew it before, but of stock, whose table is read live');
SELECT is_empty($$SELECT what, after FROM writes WHERE after <> 'true'$$, 'one lap later each does');
SELECT is((SELECT lap FROM journey.cursor) - :first, (SELECT count(*) FROM writes), 'one lap each');

-- and the rules of journeys, in the lap itself
SELECT results_eq($$SELECT journey, step, status FROM journey.enrollment$$, $$VALUES ('hats', 'idle', 'active')$$, 'an entry is judged in the lap that takes its event, by what the laps before took');
INSERT INTO s_cart_line VALUES ('K', 'A', 6);
SELECT journey.run_once();
SELECT results_eq($$SELECT status, exit_reason FROM journey.enrollment$$, $$VALUES ('exited', 'many')$$, 'and so is an exit, by what this one took');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
