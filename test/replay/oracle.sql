-- What must have become of it, from the file and what was done to its orders, in plain SQL.
CREATE SCHEMA oracle;
CREATE VIEW oracle.clock AS SELECT day, max(at)::date + 1 AS at FROM raw.invoice GROUP BY day;

-- What the back office did to an order, and what the order was after it.
CREATE TABLE oracle.change AS
WITH counted AS (
    SELECT o.*, i.day + 3 AS delivered, i.lines AS all_lines,
           coalesce(sum(o.lines) OVER (PARTITION BY o.invoice ORDER BY o.n), 0) AS gone
    FROM raw.office AS o JOIN raw.invoice AS i USING (invoice))
SELECT n, day, invoice, customer, lines, amount, delivers,
       CASE WHEN delivers THEN 'delivered' WHEN gone < all_lines THEN CASE WHEN day > delivered THEN 'delivered' ELSE 'placed' END
            WHEN day > delivered THEN 'returned' ELSE 'cancelled' END AS status
FROM counted WHERE NOT (delivers AND gone = all_lines);     -- nothing is delivered of what was cancelled
CREATE TABLE oracle.orders AS
SELECT i.invoice, i.customer, i.at, i.total - coalesce(c.amount, 0) AS total, coalesce(c.status, 'placed') AS status
FROM raw.invoice AS i
LEFT JOIN (SELECT invoice, sum(amount) AS amount, (array_agg(status ORDER BY n DESC))[1] AS status FROM oracle.change GROUP BY invoice) AS c USING (invoice)
WHERE NOT i.is_credit;
CREATE TABLE oracle.line AS
SELECT l.*, i.at, b.day AS back, c.at AS back_at FROM raw.line AS l JOIN raw.invoice AS i USING (invoice)
LEFT JOIN raw.back AS b ON b.invoice = l.invoice AND b.line = l.line AND b.day <= (SELECT max(day) FROM raw.invoice)
LEFT JOIN oracle.clock AS c ON c.day = b.day
WHERE NOT l.is_credit;

-- Stages: one fold over what happened to a customer, in its order.
CREATE FUNCTION oracle.next_stage(was text, happened text, amount numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN happened = 'ordered' AND amount >= 1000 THEN 'loyalty'
                WHEN happened = 'ordered' AND was <> 'loyalty' THEN 'fulfillment'
                WHEN happened = 'cancelled' AND was = 'fulfillment' THEN 'consideration'
                WHEN happened = 'delivered' AND was = 'fulfillment' THEN 'post_purchase' ELSE was END
$$;
CREATE AGGREGATE oracle.stage (text, numeric) (SFUNC = oracle.next_stage, STYPE = text, INITCOND = 'awareness');
CREATE TABLE oracle.stage AS
SELECT customer, day, is_office, n, at, oracle.stage(happened, amount) OVER so_far AS stage,
       row_number() OVER (PARTITION BY customer ORDER BY day DESC, is_office DESC, n DESC) = 1 AS is_last
FROM (SELECT customer, day, false AS is_office, n, at, 'ordered' AS happened, total AS amount
      FROM raw.invoice WHERE NOT is_credit AND customer IS NOT NULL
      UNION ALL   -- a row whose amount and status stay as they were is no news
      SELECT c.customer, c.day, true, c.n, k.at, c.status, NULL FROM oracle.change AS c JOIN oracle.clock AS k USING (day)
      WHERE c.customer IS NOT NULL AND (c.amount <> 0 OR c.delivers OR c.status IN ('cancelled', 'returned'))) AS e
WINDOW so_far AS (PARTITION BY customer ORDER BY day, is_office, n);

CREATE FUNCTION oracle.days(at timestamptz) RETURNS bigint LANGUAGE sql AS $$ SELECT floor(extract(epoch FROM at) / 86400)::bigint $$;
CREATE FUNCTION oracle.hours(at timestamptz) RETURNS bigint LANGUAGE sql AS $$ SELECT floor(extract(epoch FROM at) / 3600)::bigint $$;
CREATE TABLE oracle.feature AS
WITH o AS (SELECT customer, count(*) AS orders_placed, sum(total) AS spent,
                  coalesce(sum(total) FILTER (WHERE oracle.days(at) > oracle.days(journey.clock()) - 30), 0) AS spent_30d,
                  count(*) FILTER (WHERE oracle.hours(at) > oracle.hours(journey.clock()) - 168) AS orders_7d,
                  (array_agg(total ORDER BY at DESC, n DESC))[1] AS last_amount,
                  (array_agg(invoice ORDER BY at, n))[1] AS first_order,
                  oracle.days(journey.clock() - (max(at) - timestamptz 'epoch')) AS days_without,
                  to_jsonb((array_agg(invoice ORDER BY at DESC, n DESC))[:3]) AS last_orders,
                  sum(total::float8 * 2 ^ (-extract(epoch FROM journey.clock() - at)::float8 / 2592000)) AS warmth
           FROM raw.invoice WHERE NOT is_credit AND customer IS NOT NULL GROUP BY customer),
     l AS (SELECT customer, count(*) AS lines_bought, sum(quantity) AS pieces, count(back) AS lines_returned,
                  count(*) FILTER (WHERE oracle.days(back_at) > oracle.days(journey.clock()) - 14) AS returned_14d,
                  max(price) AS dearest, avg(price) AS price_avg, count(DISTINCT sku) AS skus
           FROM oracle.line WHERE customer IS NOT NULL GROUP BY customer),
     c AS (SELECT customer, count(*) AS orders_cancelled FROM oracle.change WHERE status = 'cancelled' GROUP BY customer)
SELECT o.customer, (to_jsonb(o) || to_jsonb(l)) - 'customer' ||
       jsonb_build_object('orders_cancelled', coalesce(c.orders_cancelled, 0), 'return_rate', l.lines_returned::numeric / l.lines_bought) AS value
FROM o JOIN l USING (customer) LEFT JOIN c USING (customer);

-- Ours, told in the words of the shop.
CREATE SCHEMA ours;
CREATE TABLE ours.customer AS
SELECT value AS customer, profile_bucket AS bucket, profile_id FROM journey.identity WHERE namespace = 'customer_id';
CREATE INDEX ON ours.customer (bucket, profile_id);
CREATE TABLE ours.orders AS
SELECT o.order_id AS invoice, c.customer, o.placed_at AS at, o.amount AS total, o.status
FROM journey.orders AS o LEFT JOIN ours.customer AS c USING (bucket, profile_id);
CREATE TABLE ours.line AS
SELECT order_id AS invoice, line::bigint, sku, quantity::integer, price, status = 'returned' AS is_back FROM journey.order_line;
CREATE TABLE ours.feature AS
SELECT c.customer, journey.features(jsonb_build_object('customer_id', c.customer)) AS value FROM ours.customer AS c;
-- Floating-point sums differ in the last digits with the order of their terms; a distinct
-- of more than 128 is an estimate, of three standard errors of 3.25 % at most.
CREATE FUNCTION oracle.same(name text, ours jsonb, theirs jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN name = 'warmth' THEN abs(ours::numeric - theirs::numeric) <= 1e-9 * abs(theirs::numeric) + 1e-9
                WHEN name = 'skus' AND theirs::numeric > 128 THEN abs(ours::numeric - theirs::numeric) <= 0.0975 * theirs::numeric
                ELSE ours IS NOT DISTINCT FROM theirs END
$$;
CREATE TABLE oracle.mismatch AS
SELECT f.key AS feature, o.customer, u.value -> f.key AS ours, f.value AS theirs
FROM oracle.feature AS o LEFT JOIN ours.feature AS u USING (customer) CROSS JOIN LATERAL jsonb_each(o.value) AS f
WHERE oracle.same(f.key, u.value -> f.key, f.value) IS NOT TRUE;
