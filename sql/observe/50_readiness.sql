-- Whether enough is observed for the first journeys: the least that every use
-- case needs, and whether what comes back from messages finds them. What a single journey listens to is event_usage()'s.
CREATE FUNCTION journey.readiness()
    RETURNS TABLE (item text, ready boolean, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    max_null_rate constant numeric := 0.05;
    max_orphan_rate constant numeric := 0.05;
    catalogue record;
BEGIN
    RETURN QUERY
    SELECT 'event ' || m.type, coalesce(t.seen, 0) > 0,
           CASE WHEN t.seen > 0 THEN format('%s seen, the last at %s', t.seen, t.last_at) ELSE 'never seen' END,
           CASE WHEN coalesce(t.seen, 0) = 0 THEN m.hint END
    FROM (VALUES
        ('product_viewed', 'Have the shop''s pages send it with journey.track().'),
        ('list_viewed', 'Have the shop''s pages send it with journey.track().'),
        ('cart_item_added', 'Attach the table of cart lines as cart_line, or send it with journey.track().'),
        ('cart_item_removed', 'Attach the table of cart lines as cart_line, or send it with journey.track().'),
        ('checkout_started', 'Have the checkout send it with journey.track().'),
        ('order_placed', 'Attach the table of orders as order, or send it with journey.track().')) AS m (type, hint)
    LEFT JOIN journey.event_type AS t USING (type);

    SELECT count(*) AS rows, count(*) - count(p.category) AS category, count(*) - count(p.price) AS price,
           count(*) - count(p.available) AS available
    INTO catalogue FROM journey.product AS p;
    RETURN QUERY
    SELECT 'product ' || c.name, catalogue.rows > 0 AND c.nulls <= max_null_rate * catalogue.rows,
           CASE WHEN catalogue.rows = 0 THEN 'no products'
                ELSE format('%s %% null: %s of %s products', round(100.0 * c.nulls / catalogue.rows, 1), c.nulls, catalogue.rows) END,
           CASE WHEN catalogue.rows = 0 OR c.nulls > max_null_rate * catalogue.rows THEN c.hint END
    FROM (VALUES
        ('category', catalogue.category, 'Map the category when attaching the table of products.'),
        ('price', catalogue.price, 'Map the price when attaching the table of products.'),
        ('available', catalogue.available, 'Attach the table of stock as stock, or map available with the products.')) AS c (name, nulls, hint);

    -- What comes back names the action that it is about. A message event that names none is counted as it is read;
    -- a visit is somebody's event all the same, so its action is looked for here, of the last 30 days.
    RETURN QUERY
    SELECT 'orphans ' || o.name, o.orphans <= max_orphan_rate * o.seen,
           CASE WHEN o.seen = 0 THEN 'nothing has come back yet'
                ELSE format('%s %%, %s of %s', round(100.0 * o.orphans / o.seen, 1), o.orphans, o.seen) END,
           CASE WHEN o.orphans > max_orphan_rate * o.seen THEN o.hint END
    FROM (
        SELECT 'message events', i.orphans, i.orphans + m.known,
               'Have the senders pass action_id or the idempotency key to the provider and back, or tell its reference with ack().'
        FROM (SELECT coalesce(sum(x.count), 0)::bigint AS orphans FROM journey.incident AS x WHERE x.kind = 'orphan_message') AS i,
             (SELECT count(*) AS known FROM journey.message_event) AS m
        UNION ALL
        SELECT 'visits', count(*) FILTER (WHERE NOT v.known), count(*),
               'Have the links of messages carry the action_id, and the shop''s pages hand it on with session_started.'
        FROM (SELECT EXISTS (SELECT FROM journey.outbox AS a WHERE a.action_id = e.action_id)
                     OR EXISTS (SELECT FROM journey.outbox_history AS a WHERE a.action_id = e.action_id) AS known
              FROM (SELECT CASE WHEN x.props ->> 'action_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                THEN (x.props ->> 'action_id')::uuid END AS action_id
                    FROM journey.event AS x
                    WHERE x.type = 'session_started' AND x.props ? 'action_id'
                      AND x.received_at > journey.clock() - interval '30 days') AS e) AS v) AS o (name, orphans, seen, hint);
END
$$;
COMMENT ON FUNCTION journey.readiness() IS
    'Is enough observed for the first journeys? A row for each event of the least that they need, never seen = not ready, and for category, price and stock of the products, with the share that is null, and one each for message events and visits, with the share that names no known action; above 5 % = not ready.';

-- Names that nobody knows are taken as they are. Most are a source's own, some are slips.
CREATE FUNCTION journey._unknown_events()
    RETURNS TABLE (type text, seen bigint, first_at timestamptz, last_at timestamptz, nearest text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT t.type, t.seen, t.first_at, t.last_at,
           journey._nearest(lower(regexp_replace(t.type, '[^[:alnum:]]+', '_', 'g')), ARRAY(SELECT k.type FROM journey.event_type AS k WHERE k.known ORDER BY 1))
    FROM journey.event_type AS t
    WHERE NOT t.known AND t.seen > 0
    ORDER BY t.seen DESC, t.type;
END
$$;
COMMENT ON FUNCTION journey._unknown_events() IS 'What the view unknown_events shows.';
