-- A small shop that knows nothing of journey, with two years of past.
--   psql -v customers=2000 -v seed=42 -f demo/shop.sql
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT setseed(:seed / 1000.0) \g /dev/null

CREATE SCHEMA shop;
CREATE TABLE shop.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    full_name text NOT NULL,
    city text,
    time_zone text NOT NULL,
    accepts_marketing boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE shop.products (
    sku text PRIMARY KEY,
    title text NOT NULL,
    category text NOT NULL,
    price numeric(10, 2) NOT NULL
);
CREATE TABLE shop.stock (
    sku text PRIMARY KEY REFERENCES shop.products,
    on_hand integer NOT NULL
);
CREATE TABLE shop.carts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint REFERENCES shop.customers,
    email text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shop.cart_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cart_id bigint NOT NULL REFERENCES shop.carts,
    sku text NOT NULL REFERENCES shop.products,
    quantity integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON shop.cart_lines (cart_id);
CREATE TABLE shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint REFERENCES shop.customers,
    email text NOT NULL,
    cart_id bigint REFERENCES shop.carts,
    status text NOT NULL,          -- open, paid, void
    total numeric(12, 2) NOT NULL,
    currency text NOT NULL DEFAULT 'EUR',
    placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shop.order_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES shop.orders,
    sku text NOT NULL REFERENCES shop.products,
    quantity integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL
);
CREATE INDEX ON shop.order_lines (order_id);

INSERT INTO shop.products (sku, title, category, price)
SELECT 'P' || lpad(n::text, 4, '0'),
       (ARRAY['Jacket', 'Coffee', 'Socks', 'Lamp', 'Tent', 'Kettle', 'Boots', 'Mug'])[1 + n % 8] || ' ' || n,
       (ARRAY['outdoor', 'food', 'basics', 'home', 'outdoor', 'home', 'outdoor', 'home'])[1 + n % 8],
       round((5 + random() * 195)::numeric, 2)
FROM generate_series(1, 200) n;
INSERT INTO shop.stock (sku, on_hand)
SELECT sku, CASE WHEN random() < 0.05 THEN 0 ELSE 1000 END FROM shop.products;

INSERT INTO shop.customers (email, full_name, city, time_zone, accepts_marketing, created_at)
SELECT 'shopper' || n || '@example.com', 'Shopper ' || n,
       (ARRAY['Berlin', 'Wien', 'Lisboa', 'Paris', 'London'])[1 + n % 5],
       (ARRAY['Europe/Berlin', 'Europe/Vienna', 'Europe/Lisbon', 'Europe/Paris', 'Europe/London'])[1 + n % 5],
       random() < 0.85, now() - random() * interval '700 days'
FROM generate_series(1, :customers) n;

-- the past: about one order and a half each, most of them long ago
WITH past AS (
    INSERT INTO shop.orders (customer_id, email, status, total, placed_at)
    SELECT c.id, c.email, CASE WHEN random() < 0.05 THEN 'void' ELSE 'paid' END, 0,
           c.created_at + random() * (now() - c.created_at)
    FROM shop.customers c, generate_series(1, 3) n
    WHERE random() < 0.5
    RETURNING id
), line AS (
    INSERT INTO shop.order_lines (order_id, sku, quantity, unit_price)
    SELECT o.id, p.sku, 1 + (random() * 2)::int, p.price
    FROM past o, LATERAL (SELECT * FROM shop.products WHERE o.id > 0 ORDER BY random() LIMIT 2) p
    RETURNING order_id, quantity * unit_price AS amount
)
SELECT count(*) FROM line \g /dev/null
UPDATE shop.orders o SET total = (SELECT sum(quantity * unit_price) FROM shop.order_lines l WHERE l.order_id = o.id);
ANALYZE;
