-- Where a person, and each of their open carts and orders, stands among the seven stages.

CREATE FUNCTION journey.stages(subject jsonb) RETURNS TABLE (stage text, object text, since timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(subject);
    b smallint := journey.bucket(person);
BEGIN
    IF person IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT coalesce(journey.stage(stages.subject), 'awareness'), '',
           coalesce((SELECT max(t.at) FROM journey.stage_transition AS t WHERE t.bucket = b AND t.profile_id = person AND t.object = ''),
                    (SELECT p.created_at FROM journey.profile AS p WHERE p.bucket = b AND p.profile_id = person))
    UNION ALL
    SELECT 'purchase', 'cart:' || c.cart_id, c.created_at FROM journey.cart AS c
    WHERE c.bucket = b AND c.profile_id = person AND c.status = 'open' AND c.items > 0
    UNION ALL
    SELECT CASE WHEN o.status = 'delivered' THEN 'post_purchase' ELSE 'fulfillment' END, 'order:' || o.order_id, coalesce(o.placed_at, o.changed_at)
    FROM journey.orders AS o
    WHERE o.bucket = b AND o.profile_id = person AND o.status IN ('placed', 'paid', 'shipped', 'delivered');
END
$$;
COMMENT ON FUNCTION journey.stages(jsonb) IS
    'Main stage of a person (object empty) and the stage of each open cart and order.';
