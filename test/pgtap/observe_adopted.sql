-- A shop that was there before: its products, carts and orders are adopted as they stand, by
-- the names of its columns, and nothing of them is copied that no map names.
-- What would break if this failed: a shop would have to change its tables, or find them twice.
-- mission: 15
SELECT plan(7);
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT journey.set_clock('2026-03-01 10:00+00');
CREATE SCHEMA old_shop;
SET search_path = old_shop, public;
CREATE TABLE artikel (nr integer PRIMARY KEY, titel text, gruppe text, preis numeric, einkauf text);
CREATE TABLE korb (nr text PRIMARY KEY, kunde integer, notiz text);
CREATE TABLE korb_zeile (nr serial PRIMARY KEY, korb text REFERENCES korb, artikel integer REFERENCES artikel, stueck integer, preis numeric, notiz text);
CREATE TABLE auftrag (nr integer PRIMARY KEY, kunde integer, zustand text, summe numeric, wann timestamptz, karte text);
CREATE TABLE auftrag_zeile (auftrag integer REFERENCES auftrag, artikel integer REFERENCES artikel, stueck integer, notiz text, PRIMARY KEY (auftrag, artikel));
INSERT INTO artikel VALUES (1, 'Jacke', 'Jacken', 99, 'hidden 1'), (2, 'Socken', 'Socken', 5, 'hidden 2');
INSERT INTO korb VALUES ('K1', 7, 'hidden 3');
INSERT INTO korb_zeile (korb, artikel, stueck, preis, notiz) VALUES ('K1', 1, 1, 99, 'hidden 4'), ('K1', 2, 2, 5, 'hidden 5');
INSERT INTO auftrag VALUES (1, 7, 'bezahlt', 104, '2026-01-05 10:00+00', 'hidden 6'), (2, 8, 'weg', 5, '2026-01-06 10:00+00', 'hidden 7');
INSERT INTO auftrag_zeile VALUES (1, 1, 1, 'hidden 8'), (2, 2, 1, 'hidden 9');
-- All that the catalogue and the files say of the shop, but for our triggers.
CREATE FUNCTION public.shop_says() RETURNS text LANGUAGE sql AS $$
    SELECT md5(string_agg(t, E'\n' ORDER BY t)) FROM (
        SELECT concat_ws(' ', c.relname, c.relfilenode, c.relowner, c.relacl, c.relkind, c.relhasrules, c.relrowsecurity, c.relreplident) AS t FROM pg_class c WHERE c.relnamespace = 'old_shop'::regnamespace
        UNION ALL SELECT a.attrelid::regclass::text || (to_jsonb(a) - 'attmissingval')::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'old_shop'::regnamespace
        UNION ALL SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.connamespace = 'old_shop'::regnamespace
        UNION ALL SELECT g.tgrelid::regclass::text || g.tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid WHERE c.relnamespace = 'old_shop'::regnamespace AND g.tgname NOT LIKE 'journey%') x
$$;
SELECT shop_says() AS shop, (SELECT count(*) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid WHERE c.relnamespace = 'old_shop'::regnamespace) AS triggers \gset
SELECT count(*) FROM journey.attach('artikel', 'product', '{"sku": "nr", "name": "titel", "category": "gruppe", "price": "preis"}');
SELECT count(*) FROM journey.attach('korb', 'cart', '{"key": "nr", "subject": {"customer_id": "kunde"}}');
SELECT count(*) FROM journey.attach('korb_zeile', 'cart_line', '{"key": "korb", "line": "nr", "sku": "artikel", "quantity": "stueck", "price": "preis"}');
SELECT count(*) FROM journey.attach('auftrag', 'order', '{"key": "nr", "subject": {"customer_id": "kunde"}, "amount": "summe", "currency": {"const": "EUR"}, "at": "wann",
    "status": {"column": "zustand", "values": {"neu": "placed", "bezahlt": "paid", "weg": "shipped", "storno": "cancelled"}}}');
SELECT count(*) FROM journey.attach('auftrag_zeile', 'order_line', '{"key": "auftrag", "sku": "artikel", "quantity": "stueck"}');
SELECT journey.run_until_idle();
CREATE FUNCTION public.known() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT * FROM (
        SELECT concat_ws(' ', 'product', sku, name, category, price) FROM journey.product WHERE sku IN ('1', '2')
        UNION ALL SELECT concat_ws(' ', 'cart', c.cart_id, i.value, c.status, c.items, c.value) FROM journey.cart c JOIN journey.identity i USING (profile_id) WHERE i.namespace = 'customer_id' AND c.cart_id = 'K1'
        UNION ALL SELECT concat_ws(' ', 'order', o.order_id, i.value, o.status, o.amount, o.placed_at, string_agg(l.sku || ' x ' || l.quantity, ', ')) FROM journey.orders o JOIN journey.identity i USING (profile_id)
            JOIN journey.order_line l USING (profile_id, order_id) WHERE i.namespace = 'customer_id' AND o.order_id IN ('1', '2', '3') GROUP BY o.order_id, i.value, o.status, o.amount, o.placed_at) x ORDER BY 1
$$;
SELECT results_eq('SELECT known()', ARRAY['cart K1 7 open 3 109', 'order 1 7 paid 104 2026-01-05 10:00:00+00 1 x 1', 'order 2 8 shipped 5 2026-01-06 10:00:00+00 2 x 1',
    'product 1 Jacke Jacken 99', 'product 2 Socken Socken 5'], 'products, carts and orders that were there are known, by their columns'' own names and words');
BEGIN;
INSERT INTO auftrag VALUES (3, 7, 'neu', 10, '2026-02-01 10:00+00', 'hidden 10');
INSERT INTO auftrag_zeile VALUES (3, 2, 2, 'hidden 11');
UPDATE artikel SET preis = 6, einkauf = 'hidden 12' WHERE nr = 2;
UPDATE korb_zeile SET stueck = 3, notiz = 'hidden 13' WHERE artikel = 2;
COMMIT;
SELECT journey.run_until_idle();
SELECT results_eq('SELECT known()', ARRAY['cart K1 7 open 4 114', 'order 1 7 paid 104 2026-01-05 10:00:00+00 1 x 1', 'order 2 8 shipped 5 2026-01-06 10:00:00+00 2 x 1',
    'order 3 7 placed 10 2026-02-01 10:00:00+00 2 x 2', 'product 1 Jacke Jacken 99', 'product 2 Socken Socken 6'], 'and so is what the shop writes from then on');
SELECT is(shop_says(), :'shop', 'its tables are the same files with the same columns, constraints and rights');
-- no copy: columns that no map names are in no table of ours, nor in the inbox
CREATE FUNCTION public.copies(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    t regclass;
    found boolean;
BEGIN
    FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s t WHERE t::text LIKE ''%%'' || $1 || ''%%'')', t) USING what INTO found;
        IF found THEN
            RETURN NEXT t::text;
        END IF;
    END LOOP;
END $$;
SELECT ok('journey.product' IN (SELECT copies('Jacke')), 'a mapped value is found where it is used');
SELECT is_empty($$SELECT copies('hidden')$$, 'what no map names is nowhere');
SELECT count(*) FROM unnest('{artikel,korb,korb_zeile,auftrag,auftrag_zeile}'::text[]) t CROSS JOIN LATERAL journey.detach(t::regclass);
SELECT is((SELECT count(*) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid WHERE c.relnamespace = 'old_shop'::regnamespace), :triggers::bigint, 'detached, nothing of us is left');
RESET search_path;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
