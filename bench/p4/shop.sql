-- P4: twenty journeys over the events of a shop, features, stages; the events of a round come from events().
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.set_clock('2026-03-07 12:00+00');

-- Journey n enters on its event, for about one in a thousand of them; the first, a cart reminder, for every cart.
CREATE FUNCTION journey_of(n integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('kind', 'journey', 'name', 'p4_' || n, 'scope', '*', 'purpose', 'service', 'stage', 'consideration',
        'objective', 'measure', 'kpi', 'cart_recovery_rate', 'owners', '{"business": "crm", "technical": "data", "qa": "qa"}'::jsonb,
        'entry', jsonb_build_array(jsonb_build_object('on', e.type, 'key', e.key, 'data', e.data, 'when',
            CASE WHEN n = 0 THEN 'event.quantity > 0'
                 ELSE format('event.price >= %s and event.price < %s and event.sku like ''%%7'' and (orders.count < 3 or product_views_7d > 2)', n * 4, n * 4 + 1) END)),
        'reentry', '{"per": "key", "after": "1 day"}'::jsonb,
        'exit', '[{"on": "order_placed", "reason": "ordered"}]'::jsonb,
        'suppress_on', '["order_placed"]'::jsonb, 'control', '{"none": true, "reason": "a measurement"}'::jsonb, 'priority', n + 1,
        'defaults', '{"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"}'::jsonb,
        'steps', '{"idle": {"wait": {"for": "1 hour"}, "next": "remind"},
                   "remind": {"send": {"channel": "p4", "template": "p4_text", "data": {"about": "entry.sku"}}, "next": "done"},
                   "done": {"exit": "finished"}}'::jsonb)
    FROM (SELECT CASE WHEN n % 5 IN (1, 2, 3) THEN 'product_viewed' ELSE 'cart_item_added' END AS type,
                 CASE WHEN n % 5 IN (1, 2, 3) THEN '"product"' ELSE '"cart"' END::jsonb AS key, '{"sku": "event.sku"}'::jsonb AS data) AS e
$$;
SELECT journey.apply((SELECT jsonb_agg(journey_of(n)) FROM generate_series(0, 19) AS n) || '[
  {"kind": "channel", "name": "p4", "mode": "push"},
  {"kind": "template", "name": "p4_text", "channels": ["p4"], "variables": {"about": "text"}, "content": {"en": {"subject": "{{about}}", "body": "{{about}}"}}},
  {"kind": "feature", "name": "p4_spent", "on": "order_placed", "aggregate": "sum", "of": "amount", "window": "30 days"},
  {"kind": "feature", "name": "p4_last", "on": "product_viewed", "aggregate": "last", "of": "sku"}]'::jsonb);

CREATE TABLE plain (source text, type text, occurred_at timestamptz, message_id text, subject jsonb, props jsonb);
-- Of a hundred events 80 are views, 10 fill carts, 6 are steps of the checkout, 4 are orders; one in a hundred comes twice.
CREATE FUNCTION events(round integer, rows integer, people integer) RETURNS SETOF plain LANGUAGE sql AS $$
    SELECT 'web', CASE WHEN k < 80 THEN 'product_viewed' WHEN k < 90 THEN 'cart_item_added' WHEN k < 96 THEN 'checkout_step_viewed' ELSE 'order_placed' END,
           journey.clock() - interval '1 s' * (rows - i) / 100, format('p4-%s-%s', round, i - (i % 100 = 0)::integer),
           jsonb_build_object('customer_id', p::text),
           CASE WHEN k < 80 THEN jsonb_build_object('sku', 's' || i % 1000, 'price', i % 97, 'session_id', 'v' || p)
                WHEN k < 90 THEN jsonb_build_object('sku', 's' || i % 1000, 'price', i % 97, 'quantity', 1, 'cart_id', 'c' || p)
                WHEN k < 96 THEN jsonb_build_object('step', 'shipping', 'cart_id', 'c' || p)
                ELSE jsonb_build_object('order_id', format('o%s-%s', round, i), 'amount', i % 97, 'currency', 'EUR', 'cart_id', 'c' || p) END
    FROM (SELECT i, abs(hashint8(i)::bigint) % 100 AS k, abs(hashint8(i + round * 1000000)::bigint) / 7 % people AS p FROM generate_series(1, rows) AS i) AS e
$$;
-- Nanoseconds that this backend has been on a processor.
CREATE FUNCTION cpu() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint $$;
CREATE PROCEDURE drain(INOUT events bigint) LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    events := 0;
    LOOP
        SELECT sum(value) FILTER (WHERE name = 'events') INTO n FROM journey.run_once();
        COMMIT;
        EXIT WHEN coalesce(n, 0) = 0;
        events := events + n;
    END LOOP;
END
$$;
