-- Where a person, and each of their open carts, orders and shipments, stands among the seven stages.

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
    -- since the last move into it; what has no history was so when it was first seen
    RETURN QUERY
    SELECT o.stage, o.object, coalesce(m.at, o.since)
    FROM (SELECT coalesce(journey.stage(stages.subject), 'awareness') AS stage, '' AS object,
                 (SELECT p.created_at FROM journey.profile AS p WHERE p.bucket = b AND p.profile_id = person) AS since
          UNION ALL
          SELECT 'purchase', 'cart:' || c.cart_id, c.created_at FROM journey.cart AS c
          WHERE c.bucket = b AND c.profile_id = person AND c.status = 'open' AND c.items > 0
          UNION ALL
          SELECT CASE WHEN o.status = 'delivered' THEN 'post_purchase' ELSE 'fulfillment' END, 'order:' || o.order_id, coalesce(o.placed_at, o.changed_at)
          FROM journey.orders AS o
          WHERE o.bucket = b AND o.profile_id = person AND o.status IN ('placed', 'paid', 'shipped', 'delivered')
          UNION ALL
          SELECT 'fulfillment', 'shipment:' || s.shipment_id, s.status_at FROM journey.shipment AS s
          WHERE s.bucket = b AND s.profile_id = person AND s.status IN ('pending', 'shipped', 'ready', 'failed')) AS o
    LEFT JOIN LATERAL (
        SELECT t.at FROM journey.stage_transition AS t
        WHERE t.bucket = b AND t.profile_id = person AND t.object = o.object AND t.to_stage = o.stage
        ORDER BY t.seq DESC, t.n DESC LIMIT 1) AS m ON true;
END
$$;
COMMENT ON FUNCTION journey.stages(jsonb) IS
    'Main stage of a person (object empty) and the stage of each open cart (cart:<id>), order (order:<id>) and shipment that is on its way (shipment:<id>), each since when.';
