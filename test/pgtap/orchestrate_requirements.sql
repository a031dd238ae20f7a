-- What a journey depends on, held against the columns that are there and the events that came.
-- mission: 27
-- What would break if this failed: a journey goes live on a column that nobody mapped.
\set QUIET on
SET client_min_messages = warning;
\set cart `cat test/fixtures/cart_recovery.json`
SELECT plan(24);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
CREATE FUNCTION pg_temp.needs(wanted text, met boolean) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(r.need || ' ' || r.item, ', ' ORDER BY r.need, r.item) FROM journey.requirements(wanted) r WHERE r.ready = met $$;
CREATE FUNCTION pg_temp.row_of(wanted text, what text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', CASE WHEN r.ready THEN 'ready' ELSE 'missing' END, r.provided_by, r.detail, r.hint)
    FROM journey.requirements(wanted) r WHERE r.need || ' ' || r.item = what $$;

SELECT throws_ok($$SELECT * FROM journey.requirements('cart_recovery')$$, '42704', 'there is no journey "cart_recovery"', 'what is not there has no needs');
SELECT journey.apply(:'cart') \g /dev/null
SELECT is(pg_temp.needs('cart_recovery', false),
    'address email, address push, consent email_marketing, consent push_marketing, event cart_item_added, event checkout_step_viewed, event message_clicked, event message_opened, '
    || 'event order_placed, event session_started, field cart.items, field cart.top_category, field cart.top_sku, field product.available, property cart_item_added.cart_id, '
    || 'property checkout_step_viewed.cart_id, property checkout_step_viewed.step, stock product.available',
    'every event, column and person''s datum of entry, exit, restart, waits, frozen data and sends; a new database has none of it');
SELECT is(pg_temp.needs('cart_recovery', true), 'channel email, channel onsite, channel push, template cart_reminder, template cart_soft_followup, template cart_substitute', 'documents are there');
SELECT is_empty($$SELECT * FROM journey.requirements('cart_recovery') WHERE ready IS NULL OR ready <> (hint IS NULL) OR ready <> (provided_by IS NOT NULL) OR detail IS NULL OR needed_by = '{}'$$,
    'what is missing has a hint, what is there a source, and each a place');
SELECT is((SELECT needed_by FROM journey.requirements('cart_recovery') WHERE item = 'checkout_step_viewed.step'), ARRAY['/entry/0/when'], 'the place in the document');
SELECT is((SELECT needed_by FROM journey.requirements('cart_recovery') WHERE item = 'order_placed'), ARRAY['/exit/0/on', '/goal/on', '/suppress_on/0'], 'or all of them');

-- the shop's tables, checked column by column
CREATE TABLE shop_lines (id int PRIMARY KEY, cart_id text, customer text, sku text, qty int);
CREATE TABLE shop_orders (id int PRIMARY KEY, customer text, state text, total numeric);
CREATE TABLE shop_products (sku text PRIMARY KEY, kind text, left_over int);
CREATE TABLE shop_people (id text PRIMARY KEY, mail text, news boolean);
SELECT journey.attach('shop_lines', 'cart_line', '{"key": "cart_id", "line": "id", "sku": "sku", "quantity": "qty", "subject": {"customer_id": "customer"}}') \g /dev/null
SELECT journey.attach('shop_orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": {"column": "state", "values": {"void": "cancelled"}}}') \g /dev/null
SELECT journey.attach('shop_products', 'product', '{"sku": "sku", "available": "left_over"}') \g /dev/null
SELECT journey.attach('shop_people', 'customer', '{"subject": {"customer_id": "id", "email": "mail"}, "consents": [{"channel": "email", "column": "news"}]}') \g /dev/null
SELECT is(pg_temp.row_of('cart_recovery', 'field cart.top_sku'), 'ready | public.shop_lines.sku | "sku" of cart_line', 'a field, with the column that gives it');
SELECT is(pg_temp.row_of('cart_recovery', 'stock product.available'), 'ready | public.shop_products.left_over | "available" of product', 'stock that is kept with the products');
SELECT is(pg_temp.row_of('cart_recovery', 'event cart_item_added'), 'ready | public.shop_lines as cart_line | none seen yet', 'an event that rows of a table will make');
SELECT is(pg_temp.row_of('cart_recovery', 'property cart_item_added.cart_id'), 'ready | public.shop_lines.cart_id | "key" of cart_line', 'and its property');
SELECT is(pg_temp.row_of('cart_recovery', 'address email'), 'ready | public.shop_people.mail | "email" of customer', 'an address');
SELECT is(pg_temp.row_of('cart_recovery', 'consent email_marketing'), 'ready | public.shop_people | stated by public.shop_people', 'a consent');
SELECT is(pg_temp.row_of('cart_recovery', 'event order_placed'),
    'missing | public.shop_orders is attached as order, and nothing in its map leads to placed or paid or shipped or delivered; never seen | Attach the table again with a map that says it, or send it with journey.track().',
    'a table whose words never mean that an order was placed');
SELECT is(pg_temp.row_of('cart_recovery', 'field cart.top_category'),
    'missing | public.shop_products is attached as product without "category"; product_changed was not seen in 30 days | Map "category" when attaching the table of kind product, or send product_changed with "category" with journey.track().',
    'a column that nobody mapped');
SELECT journey.attach('shop_orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": {"column": "state", "values": {"void": "cancelled", "ok": "placed"}}}') \g /dev/null
SELECT is(pg_temp.row_of('cart_recovery', 'event order_placed'), 'ready | public.shop_orders as order | none seen yet', 'mapped, it is there');

-- a column that the shop renames
ALTER TABLE shop_lines RENAME sku TO article;
SELECT is(pg_temp.row_of('cart_recovery', 'field cart.top_sku'),
    'missing | public.shop_lines has no column sku any more; cart_item_added was not seen in 30 days | Map "sku" when attaching the table of kind cart_line, or send cart_item_added with "sku" with journey.track().', 'one that is gone');
ALTER TABLE shop_lines RENAME article TO sku;

-- what is sent counts by what it says
SELECT journey.track('web', 'checkout_step_viewed', '{"customer_id": "1"}', '{"cart_id": "9", "stage": "shipping"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.row_of('cart_recovery', 'event checkout_step_viewed'), 'ready | what is sent | 1 seen, the last at 2026-03-02 12:00:00+00', 'an event that came');
SELECT is(pg_temp.row_of('cart_recovery', 'property checkout_step_viewed.step'),
    'missing | none of the newest 1 checkout_step_viewed has "step" | Send checkout_step_viewed with "step" with journey.track().', 'without what the condition reads');
SELECT journey.track('web', 'checkout_step_viewed', '{"customer_id": "1"}', '{"cart_id": "9", "step": "shipping"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.row_of('cart_recovery', 'property checkout_step_viewed.step'), 'ready | what is sent | 1 of the newest 2 checkout_step_viewed have "step"', 'and with it');

-- features, traits, ages of sources; a draft
CREATE ROLE req_author LOGIN;
GRANT journey_author TO req_author;
SET ROLE req_author;
SELECT journey.apply($$[{"kind": "feature", "name": "big_orders", "on": "order_placed", "where": "event.amount > 100", "aggregate": "count"},
 {"kind": "journey", "name": "thanks", "purpose": "service", "entry": [{"on": "picked_up", "when": "big_orders > 0 and profile.tier = 'gold' and source.age('erp') < interval '1 hour'"}],
  "steps": {"done": {"exit": "finished"}}}]$$) \g /dev/null
RESET ROLE;
SELECT is(pg_temp.needs('thanks', false), 'event picked_up, feature big_orders, property order_placed.amount, source erp, trait tier', 'a draft; what its features count is needed, too');
SELECT is((SELECT needed_by FROM journey.requirements('thanks') WHERE item = 'order_placed.amount'), ARRAY['feature/big_orders/where'], 'and says for which');
SELECT is(pg_temp.row_of('thanks', 'trait tier'),
    'missing | public.shop_people is attached as customer without "tier"; identified was not seen in 30 days | Map "tier" when attaching the table of kind customer, or send identified with "tier" with journey.track().', 'a trait');

SET ROLE journey_analyst;
SELECT isnt_empty($$SELECT * FROM journey.requirements('thanks')$$, 'an analyst may read it');
RESET ROLE;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
