-- A wholesaler's order tables, filled from its invoices (Online Retail layout)
-- by three sessions at once: the shop sells, the back office takes goods back
-- and delivers, and laps consume. psql -v days=N: trading days to play, 0 = all.
SET client_min_messages = warning;
CREATE EXTENSION journey;
DO $$ BEGIN PERFORM journey.install(); PERFORM journey.adopt(); END $$;

CREATE SCHEMA raw;
CREATE TABLE raw.file (n bigint GENERATED ALWAYS AS IDENTITY, invoice text, sku text, description text, quantity integer,
    at timestamptz, price numeric, customer text, country text);
SET timezone = 'UTC';
\copy raw.file (invoice, sku, description, quantity, at, price, customer, country) FROM pstdin (FORMAT csv, HEADER)
-- an invoice is of the moment of its first line
CREATE TABLE raw.invoice AS
SELECT invoice, min(n) AS n, min(at) AS at, max(customer) AS customer, max(country) AS country,
       count(*) AS lines, sum(quantity * price) AS total, invoice LIKE 'C%' AS is_credit,
       dense_rank() OVER (ORDER BY min(at)::date) AS day
FROM raw.file GROUP BY invoice;
DELETE FROM raw.invoice WHERE :days > 0 AND day > :days;
CREATE UNIQUE INDEX ON raw.invoice (invoice);
CREATE INDEX ON raw.invoice (day, n);
CREATE TABLE raw.line AS
SELECT f.n, f.invoice, row_number() OVER (PARTITION BY f.invoice ORDER BY f.n) AS line, f.sku, f.quantity, f.price,
       i.customer, i.is_credit, i.day
FROM raw.file AS f JOIN raw.invoice AS i USING (invoice);
CREATE UNIQUE INDEX ON raw.line (invoice, line);

-- Which line of which order a credit note takes back: the first for the first of what the
-- customer bought at that price. What was bought before the file begins is nobody's.
CREATE TABLE raw.back AS
WITH bought AS (SELECT *, row_number() OVER (PARTITION BY customer, sku, price ORDER BY n) AS k FROM raw.line WHERE NOT is_credit AND quantity > 0),
     credit AS (SELECT *, row_number() OVER (PARTITION BY customer, sku, price ORDER BY n) AS k FROM raw.line WHERE is_credit)
SELECT b.invoice, b.line, b.quantity * b.price AS amount, c.invoice AS credit, c.day + 1 AS day
FROM bought AS b JOIN credit AS c USING (customer, sku, price, k) WHERE b.n < c.n;
-- What the back office does on a day: first yesterday's credit notes, then what was ordered three days ago is delivered.
CREATE TABLE raw.office AS
WITH last AS (SELECT max(day) AS day FROM raw.invoice)
SELECT row_number() OVER (ORDER BY o.day, o.delivers, o.cause, i.n) AS n, o.*, i.customer,
       EXISTS (SELECT FROM raw.invoice AS s WHERE s.day = o.day AND s.customer = i.customer AND NOT s.is_credit) AS is_late
FROM (SELECT b.day, false AS delivers, c.n, b.invoice, b.credit, count(*) AS lines, sum(b.amount) AS amount
      FROM raw.back AS b JOIN raw.invoice AS c ON c.invoice = b.credit GROUP BY b.day, c.n, b.invoice, b.credit
      UNION ALL SELECT day + 3, true, n, invoice, NULL, 0, 0 FROM raw.invoice WHERE NOT is_credit) AS o (day, delivers, cause, invoice, credit, lines, amount)
JOIN raw.invoice AS i USING (invoice), last WHERE o.day <= last.day;
CREATE INDEX ON raw.office (day, is_late, n);
CREATE INDEX ON raw.back (credit, invoice);
ANALYZE;

CREATE SCHEMA shop;
CREATE TABLE shop.customers (id text PRIMARY KEY, country text);
CREATE TABLE shop.orders (invoice text PRIMARY KEY, customer text, status text NOT NULL, total numeric NOT NULL, placed_at timestamptz NOT NULL);
CREATE TABLE shop.order_lines (invoice text REFERENCES shop.orders, line integer, sku text, quantity integer, price numeric,
    status text NOT NULL DEFAULT 'open', PRIMARY KEY (invoice, line));
DO $$ BEGIN
    PERFORM journey.attach('shop.customers', 'customer', '{"subject": {"customer_id": "id"}, "traits": ["country"]}');
    PERFORM journey.attach('shop.orders', 'order', '{"key": "invoice", "subject": {"customer_id": "customer"},
        "status": {"column": "status", "values": {"open": "placed", "sent": "delivered", "void": "cancelled", "back": "returned"}},
        "amount": "total", "currency": {"const": "GBP"}, "at": "placed_at"}');
    PERFORM journey.attach('shop.order_lines', 'order_line', '{"key": "invoice", "line": "line", "sku": "sku", "quantity": "quantity",
        "price": "price", "status": {"column": "status", "values": {"open": "placed", "back": "returned"}}}');
END $$;

-- How far everybody is. Who waits for somebody looks here.
CREATE TABLE raw.turn (who text PRIMARY KEY, day bigint NOT NULL);
INSERT INTO raw.turn VALUES ('clock', 0), ('shop', 0), ('office', 0), ('laps', 0);
CREATE PROCEDURE raw.done(whose text, upto bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE raw.turn SET day = upto WHERE who = whose;
    COMMIT;
END
$$;
CREATE PROCEDURE raw.await(whose text, upto bigint) LANGUAGE plpgsql AS $$
BEGIN
    WHILE (SELECT day FROM raw.turn WHERE who = whose) < upto LOOP
        COMMIT;
        PERFORM pg_sleep(0.002);
    END LOOP;
    COMMIT;
END
$$;

-- The shop: a transaction an invoice, in the order of the file. It moves the clock when a day is over for everybody.
CREATE PROCEDURE raw.sell() LANGUAGE plpgsql AS $$
DECLARE
    i raw.invoice;
BEGIN
    FOR today IN 1 .. (SELECT max(day) FROM raw.invoice) LOOP
        CALL raw.await('laps', today - 1);
        PERFORM journey.set_clock((SELECT max(at)::date + 1 FROM raw.invoice WHERE day = today));
        COMMIT;     -- whoever sees the next one has heard of the clock
        CALL raw.done('clock', today);
        FOR i IN SELECT * FROM raw.invoice WHERE day = today AND NOT is_credit ORDER BY n LOOP
            INSERT INTO shop.customers SELECT i.customer, i.country WHERE i.customer IS NOT NULL ON CONFLICT DO NOTHING;
            INSERT INTO shop.orders VALUES (i.invoice, i.customer, 'open', i.total, i.at);
            INSERT INTO shop.order_lines (invoice, line, sku, quantity, price)
            SELECT invoice, line, sku, quantity, price FROM raw.line WHERE invoice = i.invoice ORDER BY line;
            COMMIT;
        END LOOP;
        CALL raw.done('shop', today);
    END LOOP;
END
$$;

-- The back office, beside it: customers who order today come after today's orders, so that
-- what happens to one of them has an order, whoever is faster.
CREATE PROCEDURE raw.work() LANGUAGE plpgsql AS $$
DECLARE
    o raw.office;
BEGIN
    FOR today IN 1 .. (SELECT max(day) FROM raw.invoice) LOOP
        CALL raw.await('clock', today);
        FOR o IN SELECT * FROM raw.office WHERE day = today ORDER BY is_late, n LOOP
            IF o.is_late THEN
                CALL raw.await('shop', today);
            END IF;
            IF o.delivers THEN
                UPDATE shop.orders SET status = 'sent' WHERE invoice = o.invoice AND status = 'open';
            ELSE
                UPDATE shop.order_lines AS l SET status = 'back'
                FROM raw.back AS b WHERE b.credit = o.credit AND b.invoice = o.invoice AND l.invoice = b.invoice AND l.line = b.line;
                UPDATE shop.orders AS s SET total = s.total - o.amount,
                    status = CASE WHEN EXISTS (SELECT FROM shop.order_lines AS l WHERE l.invoice = s.invoice AND l.status = 'open') THEN s.status
                                  WHEN s.status = 'sent' THEN 'back' ELSE 'void' END
                WHERE s.invoice = o.invoice;
            END IF;
            COMMIT;
        END LOOP;
        CALL raw.await('shop', today);
        CALL raw.done('office', today);
    END LOOP;
END
$$;

-- Laps and maintenance, all the while.
CREATE PROCEDURE raw.consume() LANGUAGE plpgsql AS $$
DECLARE
    idle bigint := 0;
    n bigint := 0;
BEGIN
    WHILE idle < (SELECT max(day) FROM raw.invoice) LOOP
        IF (SELECT day FROM raw.turn WHERE who = 'office') > idle THEN
            PERFORM journey.run_until_idle();
            idle := idle + 1;
            CALL raw.done('laps', idle);
        ELSE
            PERFORM journey.run_once();
            COMMIT;
            PERFORM pg_sleep(0.002);
        END IF;
        n := n + 1;
        IF n % 20 = 0 THEN
            PERFORM journey.maintain();
            COMMIT;
        END IF;
    END LOOP;
END
$$;
