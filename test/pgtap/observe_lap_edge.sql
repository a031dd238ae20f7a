-- A lap does not end between an order and its lines
-- mission: 15
SET client_min_messages = warning;
SELECT plan(3);
CREATE TABLE o (id text PRIMARY KEY, customer text, status text, total numeric);
CREATE TABLE l (o text, n int, sku text, qty int, price numeric, PRIMARY KEY (o, n));
SELECT journey.attach('o', 'order', '{"source": "shop", "key": "id", "subject": {"customer_id": "customer"}, "status": "status", "amount": "total"}');
SELECT journey.attach('l', 'order_line', '{"source": "shop", "key": "o", "line": "n", "sku": "sku", "quantity": "qty", "price": "price"}');
SELECT journey.run_until_idle();
BEGIN;
INSERT INTO o SELECT g::text, 'c' || g, 'paid', 10 FROM generate_series(1, 1) g;
INSERT INTO l VALUES ('1', 1, 'a', 1, 5), ('1', 2, 'b', 1, 5);
COMMIT;
BEGIN;
INSERT INTO o VALUES ('2', 'c2', 'paid', 10);
INSERT INTO l VALUES ('2', 1, 'a', 1, 5), ('2', 2, 'b', 1, 5), ('2', 3, 'c', 1, 5);
COMMIT;
SELECT journey.run_once(2);
SELECT is((SELECT jsonb_array_length(props -> 'lines') FROM journey.event WHERE type = 'order_placed'), 2, 'the first lap goes on to the end of the transaction, and no further');
SELECT journey.run_once(2);
SELECT journey.run_once(2);
SELECT is((SELECT string_agg(jsonb_array_length(props -> 'lines')::text, ' ' ORDER BY seq) FROM journey.event WHERE type = 'order_placed'), '2 3', 'one order_placed each, with all its lines');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
