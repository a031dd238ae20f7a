-- Tables and routines of the replay; the file's rows end up in replay.raw.
SET client_min_messages = warning;
CREATE EXTENSION journey;
DO $$ BEGIN PERFORM journey.install(); PERFORM journey.adopt(); END $$;
CREATE SCHEMA replay;
CREATE TABLE replay.rees46 (event_time timestamptz, event_type text, product_id text, category_id text, category_code text,
    brand text, price numeric, user_id text, user_session text, n bigserial);


CREATE TABLE replay.taobao (user_id text, item_id text, category_id text, behavior text, ts bigint, n bigserial);
CREATE TABLE replay.raw (n bigint PRIMARY KEY, at timestamptz, person text, session text, kind text, sku text, price numeric);
CREATE INDEX ON replay.raw (at);

-- Everybody in the file has an address and has agreed to marketing mail.
CREATE FUNCTION replay.begin() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.set_clock((SELECT min(at) FROM replay.raw) - interval '1 hour');
    PERFORM journey.ingest((SELECT jsonb_agg(m) FROM (
        SELECT jsonb_build_object('source', 'crm', 'type', t.type, 'message_id', t.type || ':' || p.person,
                   'subject', jsonb_build_object('customer_id', p.person, 'email', p.person || '@example.com'),
                   'props', t.props) AS m
        FROM (SELECT DISTINCT person FROM replay.raw) p,
             (VALUES ('identified', '{"traits": {}}'::jsonb),
                     ('consent_granted', '{"channel": "email", "purpose": "marketing"}')) t(type, props)) x));
    RETURN format('%s rows of %s people, %s to %s', (SELECT count(*) FROM replay.raw),
                  (SELECT count(DISTINCT person) FROM replay.raw), (SELECT min(at) FROM replay.raw), (SELECT max(at) FROM replay.raw));
END
$$;

CREATE FUNCTION replay.message(r replay.raw) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('source', 'web', 'message_id', r.n, 'occurred_at', r.at,
        'subject', jsonb_build_object('customer_id', r.person),
        'type', CASE r.kind WHEN 'view' THEN 'product_viewed' WHEN 'cart' THEN 'cart_item_added'
                            WHEN 'fav' THEN 'wishlist_added' ELSE 'order_placed' END,
        'props', jsonb_strip_nulls(CASE r.kind
            WHEN 'purchase' THEN jsonb_build_object('order_id', r.n::text, 'amount', r.price, 'session_id', r.session,
                'currency', CASE WHEN r.price IS NOT NULL THEN 'USD' END,
                'lines', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('sku', r.sku, 'quantity', 1, 'price', r.price))))
            WHEN 'cart' THEN jsonb_build_object('cart_id', 'c' || r.person, 'sku', r.sku, 'quantity', 1, 'price', r.price, 'session_id', r.session)
            ELSE jsonb_build_object('sku', r.sku, 'session_id', r.session) END))
$$;

-- What a sender does, a transaction each.
CREATE PROCEDURE replay.send() LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    tokens bigint[];
BEGIN
    SET journey.allow_in_transaction = on;   -- it commits before it goes on
    LOOP
        SELECT array_agg(c.action_id), array_agg(c.token) INTO ids, tokens FROM journey.claim('email', 100) c;
        COMMIT;
        EXIT WHEN ids IS NULL;
        SELECT array_agg(b.action_id), array_agg(t.token) INTO ids, tokens
        FROM journey.begin_send(ids, tokens) b JOIN unnest(ids, tokens) t(action_id, token) USING (action_id)
        WHERE b.granted;
        COMMIT;
        PERFORM journey.ack(ids, tokens) WHERE ids IS NOT NULL;
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE replay.play(step integer) LANGUAGE plpgsql AS $$
DECLARE
    done bigint := 0;
    till timestamptz;
    next_event timestamptz;
    next_timer timestamptz;
    upto bigint;
BEGIN
    LOOP
        SELECT min(at) INTO next_event FROM replay.raw WHERE n = done + 1;
        SELECT min(wake_at) INTO next_timer FROM journey.timer;
        EXIT WHEN next_event IS NULL AND next_timer IS NULL;
        -- an event at the instant of a timer comes first, as it does in a lap
        till := least(next_event + make_interval(secs => step - 1), next_timer);
        IF next_event IS NOT NULL AND next_event <= till THEN
            SELECT max(n) INTO upto FROM replay.raw WHERE at <= till AND n > done;
            PERFORM journey.set_clock(till);
            PERFORM journey.ingest((SELECT jsonb_agg(replay.message(r) ORDER BY r.n) FROM replay.raw r WHERE r.n > done AND r.n <= upto));
            done := upto;
            COMMIT;
        ELSE
            PERFORM journey.set_clock(till);
        END IF;
        PERFORM journey.run_until_idle();
        COMMIT;
        IF EXISTS (SELECT FROM journey.outbox WHERE status = 'pending') THEN
            CALL replay.send();
            PERFORM journey.run_until_idle();
            COMMIT;
        END IF;
    END LOOP;
END
$$;
