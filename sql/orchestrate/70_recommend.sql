-- What to show somebody, without a model: what others order most, of what the person looks at, never what came back.

CREATE FUNCTION journey._count_sales() RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET jit = off
AS $$
DECLARE
    began timestamptz := clock_timestamp();
    today timestamptz := journey.clock();
    test boolean := (SELECT n.test_clock IS NOT NULL FROM journey.node AS n);
BEGIN
    IF NOT test AND EXISTS (SELECT FROM journey.sales_count AS c WHERE c.due_at > began) THEN
        RETURN false;
    END IF;
    WITH sold AS (
        SELECT x.sku, count(*) AS orders
        FROM (SELECT DISTINCT l.sku, l.bucket, l.profile_id, l.scope, l.order_id
              FROM journey.orders AS o JOIN journey.order_line AS l USING (bucket, profile_id, scope, order_id)
              WHERE o.placed_at > today - interval '90 days' AND o.status IN ('placed', 'paid', 'shipped', 'delivered') AND l.status = 'placed') AS x
        GROUP BY x.sku)
    INSERT INTO journey.product_sales AS s (sku, category, orders)
    SELECT p.sku, p.category, coalesce(n.orders, 0) FROM journey.product AS p LEFT JOIN sold AS n USING (sku)
    ON CONFLICT ON CONSTRAINT product_sales_pkey DO UPDATE SET category = excluded.category, orders = excluded.orders
    WHERE (s.category, s.orders) IS DISTINCT FROM (excluded.category, excluded.orders);
    -- it may take a thousandth of the time, and no more
    INSERT INTO journey.sales_count AS c (one, counted_at, due_at)
    VALUES (true, today, began + greatest(interval '1 hour', 1000 * (clock_timestamp() - began)))
    ON CONFLICT ON CONSTRAINT sales_count_pkey DO UPDATE SET counted_at = excluded.counted_at, due_at = excluded.due_at;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey._count_sales() IS
    'Counts for each product the orders of the last 90 days anew: by maintenance once an hour, on large tables more seldom; each time under a test clock. False: it is not due yet.';

CREATE FUNCTION journey._never_again(person uuid) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    b smallint := journey.bucket(person);
BEGIN
    RETURN ARRAY(
        WITH line AS (
            SELECT l.sku, l.scope, l.order_id, l.status, coalesce(o.status, 'placed') AS order_status
            FROM journey.order_line AS l LEFT JOIN journey.orders AS o USING (bucket, profile_id, scope, order_id)
            WHERE l.bucket = b AND l.profile_id = person),
        told AS (
            SELECT e.props ->> 'sku' AS sku, e.props ->> 'order_id' AS order_id, e.props ->> 'return_id' AS return_id
            FROM journey.event AS e
            WHERE e.bucket = b AND e.profile_id = person AND e.type IN ('return_requested', 'return_received', 'order_line_returned')),
        back AS (
            SELECT r.scope, r.order_id, coalesce(r.props ->> 'sku', CASE WHEN starts_with(r.return_id, r.order_id || '/') THEN substr(r.return_id, length(r.order_id) + 2) END) AS sku,
                   EXISTS (SELECT FROM told AS t WHERE t.sku IS NOT NULL AND t.return_id = r.return_id) AS named
            FROM journey.returns AS r
            WHERE r.bucket = b AND r.profile_id = person AND r.status NOT IN ('rejected', 'cancelled'))
        SELECT l.sku FROM line AS l WHERE l.status = 'returned' OR l.order_status = 'returned'
        UNION SELECT t.sku FROM told AS t
        UNION SELECT r.sku FROM back AS r
        -- a return that does not say of what is of the whole order
        UNION SELECT l.sku FROM back AS r JOIN line AS l USING (scope, order_id) WHERE r.sku IS NULL AND NOT r.named
        UNION SELECT l.sku FROM line AS l
              WHERE l.status = 'placed' AND l.order_status NOT IN ('cancelled', 'refunded')
                AND NOT EXISTS (SELECT FROM journey.product AS p WHERE p.sku = l.sku AND p.replenishable));
END
$$;
COMMENT ON FUNCTION journey._never_again(uuid) IS
    'Products that are not to be recommended to a person: what they have sent back or asked to, and what they own, unless it is bought again and again. Reads the person''s orders, returns and events about returns whole.';

CREATE FUNCTION journey._interests(person uuid) RETURNS TABLE (category text, how text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    b smallint := journey.bucket(person);
BEGIN
    RETURN QUERY
    WITH seen AS (
        SELECT e.props ->> 'sku' AS sku, e.props ->> 'category' AS category, e.received_at AS at, 'looked at' AS how
        FROM (SELECT x.type, x.props, x.received_at FROM journey.event AS x
              WHERE x.bucket = b AND x.profile_id = person AND x.received_at > journey.clock() - interval '90 days'
              ORDER BY x.received_at DESC LIMIT 500) AS e
        WHERE e.type IN ('product_viewed', 'product_engaged', 'list_viewed', 'wishlist_added', 'cart_item_added', 'recommendation_clicked')
        UNION ALL
        SELECT l.sku, NULL, l.changed_at, 'bought from' FROM journey.order_line AS l
        WHERE l.bucket = b AND l.profile_id = person AND l.status <> 'returned'),
    named AS (
        SELECT coalesce(p.category, s.category) AS category, s.at, s.how
        FROM seen AS s LEFT JOIN journey.product AS p ON p.sku = s.sku)
    SELECT n.category, string_agg(DISTINCT n.how, ', ') FROM named AS n WHERE n.category IS NOT NULL
    GROUP BY n.category ORDER BY max(n.at) DESC, n.category LIMIT 20;
END
$$;
COMMENT ON FUNCTION journey._interests(uuid) IS
    'Up to 20 categories that a person has bought from, or looked at within 90 days (by the newest 500 events), the latest first.';

CREATE FUNCTION journey.recommend(subject jsonb, n integer DEFAULT 10, context jsonb DEFAULT '{}')
    RETURNS TABLE (sku text, score double precision, reason text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
    -- how much somebody has bought makes the plan
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(recommend.subject);
    wrong text;
    within text;
    not_these text[];
    most bigint;
    deep integer;
BEGIN
    context := coalesce(context, '{}');
    IF jsonb_typeof(context) <> 'object' THEN
        RAISE EXCEPTION 'the context must be a JSON object' USING ERRCODE = 'invalid_parameter_value', HINT = 'It may have category, sku and exclude, as in {"category": "shoes"}.';
    END IF;
    SELECT k INTO wrong FROM jsonb_object_keys(context) AS k WHERE k NOT IN ('category', 'sku', 'exclude') ORDER BY 1 LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the context has an unknown field "%"', left(wrong, 100) USING ERRCODE = 'invalid_parameter_value',
            HINT = coalesce(journey._did_you_mean(left(wrong, 100), '{category,sku,exclude}'), 'It may have category, sku and exclude.');
    END IF;
    IF person IS NULL OR EXISTS (SELECT FROM journey.profile AS p WHERE p.bucket = journey.bucket(person) AND p.profile_id = person AND p.restricted) THEN
        RETURN;
    END IF;
    within := coalesce(context ->> 'category', (SELECT p.category FROM journey.product AS p WHERE p.sku = context ->> 'sku'));
    not_these := array_remove(journey._never_again(person) || journey._list(context -> 'exclude') || (context ->> 'sku'), NULL);
    deep := least(200 + cardinality(not_these), 2000);
    SELECT s.orders INTO most FROM journey.product_sales AS s ORDER BY s.orders DESC, s.sku LIMIT 1;
    RETURN QUERY
    WITH interest (category, how) AS (
        SELECT within, 'asked for' WHERE within IS NOT NULL
        UNION ALL
        SELECT i.category, i.how FROM journey._interests(person) AS i WHERE NOT context ?| '{category,sku}'),
    -- of each category the best, and as many more as may have to go
    listed AS (
        SELECT c.sku, c.orders, i.category, i.how FROM interest AS i
        CROSS JOIN LATERAL (SELECT s.sku, s.orders FROM journey.product_sales AS s WHERE s.category = i.category
                            ORDER BY s.orders DESC, s.sku LIMIT deep) AS c
        UNION ALL
        SELECT c.sku, c.orders, NULL, NULL
        FROM (SELECT s.sku, s.orders FROM journey.product_sales AS s WHERE NOT context ?| '{category,sku}' AND s.orders > 0
              ORDER BY s.orders DESC, s.sku LIMIT deep) AS c),
    candidate AS MATERIALIZED (
        SELECT DISTINCT ON (l.how IS NULL, l.orders, l.sku) l.* FROM listed AS l
        WHERE NOT EXISTS (SELECT FROM unnest(not_these) AS x (sku) WHERE x.sku = l.sku)
        ORDER BY l.how IS NULL, l.orders DESC, l.sku LIMIT 1000),
    live AS MATERIALIZED (SELECT t.sku, t.available FROM journey._stock(ARRAY(SELECT DISTINCT c.sku FROM candidate AS c)) AS t),
    best AS (
        SELECT DISTINCT ON (c.sku) c.sku, c.orders, c.category, c.how
        FROM candidate AS c JOIN journey.product AS p USING (sku) LEFT JOIN live AS t USING (sku)
        -- how many there are nobody may know: that is not enough
        WHERE CASE WHEN t.sku IS NULL THEN p.available ELSE t.available END > 0
        ORDER BY c.sku, c.how IS NULL)
    SELECT r.sku, (r.how IS NOT NULL)::integer + r.orders::double precision / greatest(most, 1),
           concat_ws('; ', r.how || ' ' || r.category, format('ordered %s times in 90 days', r.orders))
    FROM best AS r ORDER BY 2 DESC, r.sku LIMIT least(greatest(coalesce(n, 10), 0), 100);
END
$$;
COMMENT ON FUNCTION journey.recommend(jsonb, integer, jsonb) IS
    'Up to n (at most 100) products for a person, the best first, each with its reason: those ordered most in the last 90 days in categories that the person has bought from or looked at, then those ordered most of all; ties by sku. Never one that is not known to be in stock, that the person owns (unless it is replenishable) or has sent back. context: {"category"} or {"sku"} = only of that category, or of that of a product; {"exclude": [sku, …]}. No model takes part. No row for an unknown subject, or one whose data rest.';
