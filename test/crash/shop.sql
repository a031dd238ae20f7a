-- A shop for the crash harness: it knows nothing of journey, and its orders
-- remember their transaction, so that the truth can be read without journey.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (
    id integer PRIMARY KEY,
    email text NOT NULL,
    accepts_marketing boolean NOT NULL
);
CREATE TABLE shop.products (sku text PRIMARY KEY, price numeric NOT NULL);
CREATE TABLE shop.stock (sku text PRIMARY KEY, on_hand integer NOT NULL);
CREATE TABLE shop.carts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer,
    email text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shop.cart_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cart_id bigint NOT NULL,
    sku text NOT NULL,
    quantity integer NOT NULL,
    price numeric NOT NULL
);
CREATE INDEX ON shop.cart_lines (cart_id);
CREATE TABLE shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer,
    email text,
    cart_id bigint,
    status text NOT NULL,          -- paid, void
    total numeric NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    void_xact xid8
);
CREATE INDEX ON shop.orders (cart_id);
CREATE TABLE shop.order_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL,
    sku text NOT NULL,
    quantity integer NOT NULL,
    price numeric NOT NULL
);
INSERT INTO shop.products SELECT 'P' || n, 10 + n FROM generate_series(1, 20) n;
INSERT INTO shop.stock SELECT sku, 1000000 FROM shop.products;
INSERT INTO shop.customers SELECT n, 'c' || n || '@example.com', n % 10 <> 0 FROM generate_series(1, :customers) n;

CREATE EXTENSION journey;
SELECT journey.install() \g /dev/null
SELECT journey.adopt() \g /dev/null
SELECT journey.attach('shop.customers', 'customer', '{
    "subject": {"customer_id": "id", "email": "email"},
    "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing",
                  "values": {"true": "granted", "false": "denied"}}]}') \g /dev/null
SELECT journey.attach('shop.stock', 'stock', '{"sku": "sku", "available": "on_hand"}') \g /dev/null
SELECT journey.attach('shop.carts', 'cart', '{
    "key": "id", "subject": {"customer_id": "customer_id", "email": "email"}, "at": "created_at"}') \g /dev/null
SELECT journey.attach('shop.cart_lines', 'cart_line', '{
    "key": "cart_id", "line": "id", "sku": "sku", "quantity": "quantity", "price": "price"}') \g /dev/null
SELECT journey.attach('shop.orders', 'order', '{
    "key": "id", "subject": {"customer_id": "customer_id", "email": "email"}, "cart": "cart_id",
    "status": {"column": "status", "values": {"paid": "placed", "void": "cancelled"}},
    "amount": "total", "currency": {"const": "EUR"}, "at": "placed_at"}') \g /dev/null
SELECT journey.attach('shop.order_lines', 'order_line', '{
    "key": "order_id", "line": "id", "sku": "sku", "quantity": "quantity", "price": "price"}') \g /dev/null
SELECT journey.apply(:'documents'::jsonb) \g /dev/null
SELECT journey.resume() \g /dev/null

CREATE SCHEMA crash;
CREATE UNLOGGED TABLE crash.seen (sync boolean, kind text, id text);
CREATE UNLOGGED TABLE crash.accepted (key text, address text);
CREATE TABLE crash.bulk (committed bigint NOT NULL);
INSERT INTO crash.bulk VALUES (0);
