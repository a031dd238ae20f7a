-- What each kind of attached table may say: canonical field -> the usual names
-- of its column, best first. Fields marked "!" are required. The same table
-- serves validation and the guess.
CREATE FUNCTION journey._attach_fields(kind text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE kind
        WHEN 'customer' THEN '{"subject!": [], "email": [], "phone": ["phone", "phone_number", "mobile"], "push_token": ["push_token"],
            "zone": ["time_zone", "timezone", "tz"], "locale": ["locale", "lang", "language", "language_code"],
            "consents": [], "on_delete": [], "traits": [], "at": ["updated_at", "changed_at", "modified_at", "last_change", "created_at"]}'
        WHEN 'product' THEN '{"sku!": ["sku", "product_sku", "variant_sku", "code", "product_id", "id"], "name": ["name", "title", "product_name"],
            "category": ["category", "category_name", "product_type", "category_id"], "class": ["class"], "replenishable": ["replenishable"],
            "replenish_after": ["replenish_after"], "price": ["price", "unit_price", "list_price", "amount"],
            "cost": ["cost", "cost_price", "unit_cost"], "currency": ["currency", "currency_code"],
            "available": ["available"], "traits": [], "props": [], "at": ["updated_at", "changed_at", "modified_at", "created_at"]}'
        WHEN 'stock' THEN '{"sku!": ["sku", "product_sku", "variant_sku", "product_variant_id", "variant_id", "product_id"],
            "available!": ["available", "on_hand", "stock_on_hand", "count_on_hand", "quantity", "qty", "stock"],
            "at": ["updated_at", "changed_at"], "max_age": [], "props": []}'
        WHEN 'cart' THEN '{"key!": ["id", "cart_id", "token", "checkout_id"], "subject": [], "status": ["status", "state"],
            "currency": ["currency", "currency_code"], "order": ["order_id"],
            "at": ["updated_at", "changed_at", "last_change", "created_at"]}'
        WHEN 'cart_line' THEN '{"key!": ["cart_id", "cart", "checkout_id", "basket_id"], "subject": [], "line": ["id", "line_id", "line", "position"],
            "sku!": ["sku", "product_sku", "variant_sku", "variant_id", "product_variant_id", "product_id"], "quantity": ["quantity", "qty", "count"],
            "price": ["price", "unit_price", "item_price"], "at": ["updated_at", "changed_at", "added_at", "created_at"], "props": []}'
        WHEN 'order' THEN '{"key!": ["id", "order_id", "order_number", "number"], "subject!": [], "status": ["status", "state", "order_status"],
            "amount": ["total", "amount", "grand_total", "total_amount", "total_price", "amount_total"],
            "currency": ["currency", "currency_code"], "cart": ["cart_id", "checkout_token", "checkout_id", "basket_id"],
            "at": ["placed_at", "ordered_at", "order_placed_at", "date_order", "order_date", "created_at", "created"],
            "origin": ["origin"], "codes": ["codes", "coupon_codes", "coupon_code", "coupon"], "on_delete": [], "props": []}'
        WHEN 'order_line' THEN '{"key!": ["order_id", "order"], "order": [], "line": ["id", "line_id", "line", "position"],
            "sku!": ["sku", "product_sku", "variant_sku", "variant_id", "product_variant_id", "product_id"], "quantity": ["quantity", "qty", "product_uom_qty", "count"],
            "price": ["price", "unit_price", "price_unit", "item_price"], "status": ["status", "state"], "subject": [],
            "at": ["updated_at", "changed_at", "created_at"], "props": []}'
        WHEN 'consent' THEN '{"subject!": [], "channel!": ["channel", "medium"], "purpose": ["purpose"],
            "state!": ["state", "status", "consent", "granted", "opted_in", "subscribed"], "basis": ["basis", "legal_basis"], "proof": ["proof"],
            "expires_at": ["expires_at", "valid_until"], "at": ["at", "changed_at", "updated_at", "given_at", "recorded_at", "created_at"],
            "on_delete": [], "props": []}'
        WHEN 'message_event' THEN '{"type!": ["type", "event", "event_type", "status"], "subject": [], "action_id": ["action_id", "idempotency_key"],
            "provider_ref": ["provider_ref", "message_id", "provider_message_id", "external_id"], "reason": ["reason", "error"], "machine": ["machine", "is_bot"],
            "channel": ["channel"], "at": ["at", "occurred_at", "event_at", "created_at"], "props": []}'
        WHEN 'shipment' THEN '{"key!": ["id", "shipment_id", "parcel_id", "fulfillment_id", "tracking_number"], "order": ["order_id", "order"], "subject": [],
            "status": ["status", "state", "shipment_status"], "promised_at": ["promised_at", "promised_date", "delivery_promised_at"],
            "expected_at": ["expected_at", "estimated_delivery_at", "estimated_delivery", "eta"], "shipped_at": ["shipped_at", "dispatched_at"],
            "ready_at": ["ready_at", "pickup_ready_at"], "delivered_at": ["delivered_at", "picked_up_at"],
            "at": ["updated_at", "changed_at", "created_at"], "props": []}'
        WHEN 'return' THEN '{"key!": ["id", "return_id", "rma_number"], "order": ["order_id", "order"], "subject": [],
            "status": ["status", "state", "return_status"], "reason": ["reason", "return_reason"], "requested_at": ["requested_at", "created_at"],
            "approved_at": ["approved_at", "authorized_at"], "received_at": ["received_at", "returned_at"],
            "at": ["updated_at", "changed_at", "created_at"], "props": []}'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_fields(text) IS
    'Canonical fields of a kind of attached table and the usual column names of each; a field that is required ends in "!". Null for an unknown kind.';

-- Fields that one kind has and another does not, where the nearest name would be no help.
CREATE FUNCTION journey._attach_instead(kind text, field text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE kind || '.' || field
        WHEN 'cart.amount' THEN 'A cart''s value is the sum over its lines: attach their table as cart_line.'
        WHEN 'cart.props' THEN 'A cart''s row is no event: map them with the lines, whose events carry them.'
        WHEN 'customer.props' THEN 'Put them under "traits".'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_instead(text, text) IS
    'What to write instead of a field that this kind of attached table does not have; null when nothing is known.';

CREATE FUNCTION journey._attach_kinds() RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{customer,consent,product,stock,cart,cart_line,order,order_line,shipment,return,message_event}';
END
$$;
COMMENT ON FUNCTION journey._attach_kinds() IS 'Kinds of tables that journey.attach() knows, in the order in which they are read: whose it is before what it is.';

-- Canonical values of fields that have a closed set of them.
CREATE FUNCTION journey._attach_values(kind text, field text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE
        WHEN kind = 'order' AND field = 'status'
            THEN '{pending,placed,paid,shipped,delivered,cancelled,refunded,returned}'::text[]
        WHEN kind = 'order_line' AND field = 'status' THEN '{placed,returned,cancelled}'
        WHEN kind = 'shipment' AND field = 'status' THEN '{pending,shipped,ready,delivered,picked_up,failed,cancelled}'
        WHEN kind = 'return' AND field = 'status' THEN '{requested,approved,received,rejected,cancelled}'
        WHEN kind = 'cart' AND field = 'status' THEN '{open,ordered,emptied,deleted}'
        WHEN field = 'state' THEN '{unknown,pending,granted,denied,revoked,bounced,complained}'
        WHEN kind = 'order' AND field = 'origin' THEN '{web,pos,subscription,exchange,marketplace}'
        WHEN kind = 'message_event' AND field = 'type'
            THEN '{message_delivered,message_opened,message_clicked,message_bounced,message_complained,message_replied,unsubscribed}'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_values(text, text) IS
    'Canonical values that a field of an attached table may be mapped to; null when any value will do.';

-- Words that shops use, for the guess only.
CREATE FUNCTION journey._attach_usual_values(kind text, field text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE
        WHEN kind = 'order' AND field = 'status' THEN '{
            "pending": "pending", "new": "pending", "created": "pending", "draft": "pending", "quotation": "pending", "sent": "pending",
            "awaiting_payment": "pending", "payment_pending": "pending", "requires_action": "pending", "unconfirmed": "pending", "cart": "pending",
            "placed": "placed", "confirmed": "placed", "accepted": "placed", "processing": "placed", "on-hold": "placed", "sale": "placed",
            "complete": "placed", "completed": "placed", "done": "placed", "unfulfilled": "placed", "archived": "placed",
            "paid": "paid", "authorized": "paid", "captured": "paid",
            "shipped": "shipped", "fulfilled": "shipped", "dispatched": "shipped", "delivered": "delivered",
            "cancelled": "cancelled", "canceled": "cancelled", "cancel": "cancelled", "void": "cancelled", "voided": "cancelled",
            "failed": "cancelled", "expired": "cancelled", "declined": "cancelled",
            "refunded": "refunded", "returned": "returned"}'::jsonb
        WHEN kind = 'order_line' AND field = 'status' THEN '{
            "placed": "placed", "open": "placed", "shipped": "placed", "delivered": "placed", "returned": "returned",
            "cancelled": "cancelled", "canceled": "cancelled"}'
        WHEN kind = 'shipment' AND field = 'status' THEN '{
            "pending": "pending", "new": "pending", "created": "pending", "open": "pending", "label_created": "pending", "packed": "pending",
            "shipped": "shipped", "sent": "shipped", "dispatched": "shipped", "fulfilled": "shipped", "in_transit": "shipped", "out_for_delivery": "shipped",
            "ready": "ready", "ready_for_pickup": "ready", "delivered": "delivered", "done": "delivered", "picked_up": "picked_up", "collected": "picked_up",
            "failed": "failed", "lost": "failed", "returned_to_sender": "failed", "cancelled": "cancelled", "canceled": "cancelled"}'
        WHEN kind = 'return' AND field = 'status' THEN '{
            "requested": "requested", "new": "requested", "open": "requested", "pending": "requested", "approved": "approved", "authorized": "approved",
            "sent": "approved", "received": "received", "returned": "received", "completed": "received", "refunded": "received",
            "rejected": "rejected", "declined": "rejected", "cancelled": "cancelled", "canceled": "cancelled"}'
        WHEN kind = 'cart' AND field = 'status' THEN '{
            "open": "open", "active": "open", "new": "open", "abandoned": "open", "ordered": "ordered", "converted": "ordered", "completed": "ordered",
            "complete": "ordered", "emptied": "emptied", "empty": "emptied", "deleted": "deleted", "expired": "deleted", "merged": "deleted"}'
        WHEN field = 'state' THEN '{
            "true": "granted", "false": "denied", "granted": "granted", "yes": "granted", "opt_in": "granted", "opted_in": "granted", "subscribed": "granted",
            "denied": "denied", "no": "denied", "revoked": "revoked", "opt_out": "revoked", "opted_out": "revoked", "unsubscribed": "revoked",
            "pending": "pending", "unknown": "unknown", "bounced": "bounced", "complained": "complained"}'
        WHEN kind = 'message_event' AND field = 'type' THEN '{
            "delivered": "message_delivered", "message_delivered": "message_delivered", "opened": "message_opened", "open": "message_opened",
            "message_opened": "message_opened", "clicked": "message_clicked", "click": "message_clicked", "message_clicked": "message_clicked",
            "bounced": "message_bounced", "bounce": "message_bounced", "hard_bounce": "message_bounced", "message_bounced": "message_bounced",
            "complained": "message_complained", "complaint": "message_complained", "spam": "message_complained", "message_complained": "message_complained",
            "unsubscribed": "unsubscribed", "unsubscribe": "unsubscribed"}'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_usual_values(text, text) IS
    'Words that shops use for a field''s canonical values; what attach() guesses when it is given no map.';

CREATE FUNCTION journey._rel_columns(rel regclass) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT attname::text FROM pg_attribute
                 WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped ORDER BY attnum);
END
$$;
COMMENT ON FUNCTION journey._rel_columns(regclass) IS 'Names of a relation''s columns, in order.';

-- A map from usual column names; shown to the caller, never applied unseen.
CREATE FUNCTION journey._attach_guess(rel regclass, kind text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    fields jsonb := journey._attach_fields(kind);
    columns text[] := journey._rel_columns(rel);
    usual_subject constant jsonb := '{
        "customer_id": ["customer_id", "customerid", "customer", "user_id", "account_id", "partner_id"],
        "email": ["email", "email_address", "emailaddress", "customer_email", "user_email", "billing_email"],
        "loyalty_id": ["loyalty_id", "loyalty_number"],
        "anonymous_id": ["anonymous_id", "visitor_id", "guest_token"]}';
    marketing constant text[] := '{accepts_marketing,accepts_email_marketing,marketing_consent,marketing,newsletter,newsletter_subscribed,email_opt_in,opt_in}';
    result jsonb := '{}';
    part jsonb;
    field text;
    col text;
    words jsonb;
BEGIN
    FOR field IN SELECT rtrim(k, '!') FROM jsonb_object_keys(fields) k ORDER BY 1 LOOP
        SELECT c INTO col
        FROM jsonb_array_elements_text(COALESCE(fields -> field, fields -> (field || '!'))) WITH ORDINALITY AS u (name, n)
        JOIN unnest(columns) AS c ON lower(c) = u.name
        ORDER BY u.n LIMIT 1;
        words := CASE WHEN col IS NOT NULL THEN journey._attach_usual_values(kind, field) END;
        result := result || CASE
            WHEN col IS NULL THEN '{}'
            WHEN words IS NOT NULL THEN jsonb_build_object(field, jsonb_build_object('column', col, 'values', words))
            ELSE jsonb_build_object(field, col)
        END;
    END LOOP;
    IF fields ? 'subject' OR fields ? 'subject!' THEN
        SELECT jsonb_object_agg(s.key, (SELECT c FROM jsonb_array_elements_text(s.value) WITH ORDINALITY AS u (name, n)
                                        JOIN unnest(columns) AS c ON lower(c) = u.name ORDER BY u.n LIMIT 1))
        INTO part
        FROM jsonb_each(usual_subject) s
        WHERE EXISTS (SELECT FROM jsonb_array_elements_text(s.value) u JOIN unnest(columns) AS c ON lower(c) = u);
        IF kind = 'customer' AND NOT COALESCE(part ? 'customer_id', false)
           AND (SELECT true FROM unnest(columns) AS c WHERE lower(c) = 'id') THEN
            SELECT COALESCE(part, '{}') || jsonb_build_object('customer_id', c) INTO part FROM unnest(columns) AS c WHERE lower(c) = 'id';
        END IF;
        result := result || COALESCE(jsonb_build_object('subject', part), '{}');
        IF part IS NULL THEN
            result := result - 'subject';
        END IF;
    END IF;
    IF kind = 'customer' THEN
        SELECT c INTO col FROM unnest(marketing) WITH ORDINALITY AS u (name, n) JOIN unnest(columns) AS c ON lower(c) = u.name ORDER BY u.n LIMIT 1;
        IF col IS NOT NULL THEN
            result := result || jsonb_build_object('consents', jsonb_build_array(jsonb_build_object(
                'channel', 'email', 'purpose', 'marketing', 'column', col, 'values', journey._attach_usual_values(kind, 'state'))));
        END IF;
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION journey._attach_guess(regclass, text) IS
    'The map that usual column names suggest for a table of this kind. What it cannot know it leaves out.';

-- Every column that a map names, each once, in the order of the map.
CREATE FUNCTION journey._attach_columns(map jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(
        SELECT col
        FROM (
            SELECT f.n, 0 AS m, COALESCE(f.value ->> 'column', f.value #>> '{}') AS col
            FROM jsonb_each(map) WITH ORDINALITY AS f (name, value, n)
            WHERE f.name NOT IN ('subject', 'props', 'traits', 'consents', 'source', 'on_delete', 'max_age')
              AND (jsonb_typeof(f.value) = 'string' OR f.value ? 'column')
            UNION ALL
            SELECT 1000 + f.n, g.n, COALESCE(g.value ->> 'column', g.value #>> '{}')
            FROM jsonb_each(map) WITH ORDINALITY AS f (name, value, n),
                 jsonb_each(f.value) WITH ORDINALITY AS g (name, value, n)
            WHERE f.name IN ('subject', 'props', 'traits') AND jsonb_typeof(f.value) = 'object'
              AND (jsonb_typeof(g.value) = 'string' OR g.value ? 'column')
            UNION ALL
            SELECT 2000 + f.n, g.n, g.value
            FROM jsonb_each(map) WITH ORDINALITY AS f (name, value, n),
                 jsonb_array_elements_text(CASE jsonb_typeof(f.value) WHEN 'array' THEN f.value ELSE '[]' END) WITH ORDINALITY AS g (value, n)
            WHERE f.name IN ('props', 'traits')
            UNION ALL
            SELECT 3000, 2 * g.n + h.n, h.col
            FROM jsonb_array_elements(CASE jsonb_typeof(map -> 'consents') WHEN 'array' THEN map -> 'consents' ELSE '[]' END) WITH ORDINALITY AS g (value, n),
                 unnest(ARRAY[g.value ->> 'column', CASE jsonb_typeof(g.value -> 'at') WHEN 'object' THEN g.value #>> '{at,column}' ELSE g.value ->> 'at' END])
                     WITH ORDINALITY AS h (col, n)
        ) c
        WHERE col IS NOT NULL
        GROUP BY col
        ORDER BY min(n), min(m), col);
END
$$;
COMMENT ON FUNCTION journey._attach_columns(jsonb) IS
    'Every column that a map names, each once: what the trigger captures, in this order.';
