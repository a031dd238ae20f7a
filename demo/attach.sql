-- From a shop to a shop with journeys: five minutes of a DBA's work.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION journey;
SELECT journey.install();
SELECT * FROM journey.adopt();

-- Which column means what. dry_run => true would only tell what it would do.
CREATE TEMP TABLE said AS
SELECT 'customers' AS rel, a::text AS what FROM journey.attach('shop.customers', 'customer', '{
    "subject": {"customer_id": "id", "email": "email"},
    "traits": {"city": "city", "name": "full_name"}, "zone": "time_zone",
    "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing",
                  "values": {"true": "granted", "false": "denied"}, "at": "created_at"}]}') a
UNION ALL
SELECT 'products', a::text FROM journey.attach('shop.products', 'product',
    '{"sku": "sku", "name": "title", "category": "category", "price": "price", "currency": {"const": "EUR"}}') a
UNION ALL
SELECT 'stock', a::text FROM journey.attach('shop.stock', 'stock', '{"sku": "sku", "available": "on_hand"}') a
UNION ALL
SELECT 'carts', a::text FROM journey.attach('shop.carts', 'cart', '{
    "key": "id", "subject": {"customer_id": "customer_id", "email": "email"}, "at": "created_at"}') a
UNION ALL
SELECT 'cart_lines', a::text FROM journey.attach('shop.cart_lines', 'cart_line', '{
    "key": "cart_id", "line": "id", "sku": "sku", "quantity": "quantity", "price": "unit_price", "at": "added_at"}') a
UNION ALL
SELECT 'orders', a::text FROM journey.attach('shop.orders', 'order', '{
    "key": "id", "subject": {"customer_id": "customer_id", "email": "email"}, "cart": "cart_id",
    "status": {"column": "status", "values": {"open": "pending", "paid": "placed", "void": "cancelled"}},
    "amount": "total", "currency": "currency", "at": "placed_at"}') a
UNION ALL
SELECT 'order_lines', a::text FROM journey.attach('shop.order_lines', 'order_line', '{
    "key": "order_id", "line": "id", "sku": "sku", "quantity": "quantity", "price": "unit_price"}') a;
SELECT rel, count(*) AS lines FROM said GROUP BY rel ORDER BY rel;
