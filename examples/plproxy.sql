-- A router in front of shards, with PL/Proxy; docs/scale-out.md explains it.
--
-- Run it in the router's database, which has the extension journey for its hash
-- and no data: no install(), no adopt(). Each shard is a database of its own with
-- install() and adopt() done, which knows its number:
--     ALTER DATABASE shop SET router.shard = 0;
-- The foreign server "shop" names them, p0, p1, ...: 2, 4, 8 ... of them.
CREATE EXTENSION IF NOT EXISTS plproxy;
CREATE SCHEMA router;

-- Where somebody lives follows from one key, which every call must carry: an
-- order that came without it would go to another shard than the reminder which
-- it ends. A house that knows its people by e-mail puts that here.
CREATE FUNCTION router.home(subject jsonb) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF subject ->> 'customer_id' IS NULL THEN
        RAISE EXCEPTION 'the subject has no customer_id: %', subject
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The shard of a person follows from this key; look it up first.';
    END IF;
    RETURN journey.key_hash('customer_id', subject ->> 'customer_id');
END
$$;

-- ---- about one person: one shard -------------------------------------------
CREATE FUNCTION router.track(source text, type text, subject jsonb, props jsonb DEFAULT '{}',
                             occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL) RETURNS void
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON router.home(subject);
    TARGET journey.track;
$$;

-- claim() says which shard gave an action; its permit and its outcome go there.
CREATE FUNCTION router.begin_send(shard integer, action_id uuid, token bigint,
                                  OUT granted boolean, OUT reason text, OUT final boolean, OUT retry_at timestamptz,
                                  OUT contact jsonb, OUT headers jsonb, OUT offer_code text)
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON shard;
    SELECT granted, reason, final, retry_at, contact, headers, offer_code FROM journey.begin_send(action_id, token);
$$;

CREATE FUNCTION router.ack(shard integer, action_id uuid, token bigint, provider_ref text DEFAULT NULL) RETURNS boolean
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON shard;
    SELECT journey.ack(action_id, token, provider_ref);
$$;

-- ---- about everybody: all shards, side by side -------------------------------
-- up to n from each shard
CREATE FUNCTION router.claim(channel text, n integer DEFAULT 100,
                             OUT shard integer, OUT action_id uuid, OUT token bigint, OUT journey text, OUT template text,
                             OUT payload jsonb, OUT idempotency_key text, OUT lease_until timestamptz) RETURNS SETOF record
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON ALL;
    SELECT current_setting('router.shard')::integer AS shard, action_id, token, journey, template, payload, idempotency_key, lease_until FROM journey.claim(channel, n);
$$;

-- Documents are the same everywhere: what one shard refuses, all refuse the same way.
CREATE FUNCTION router.apply(documents jsonb, OUT change text, OUT kind text, OUT name text) RETURNS SETOF record
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON ALL;
    SELECT change, kind, name FROM journey.apply(documents);
$$;

-- ---- reports: each shard counts, the router adds ------------------------------
CREATE FUNCTION router.messages_of_shards(OUT journey text, OUT status text, OUT reason text, OUT n bigint) RETURNS SETOF record
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON ALL;
    SELECT m.journey, m.status, coalesce(m.reason, '') AS reason, count(*) AS n FROM journey.message m GROUP BY 1, 2, 3;
$$;
CREATE VIEW router.messages AS
SELECT journey, status, reason, sum(n) AS messages FROM router.messages_of_shards() GROUP BY 1, 2, 3;

CREATE FUNCTION router.health(OUT shard integer, OUT topic text, OUT status text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE plproxy AS $$
    CLUSTER 'shop';
    RUN ON ALL;
    SELECT current_setting('router.shard')::integer AS shard, topic, status, detail, hint FROM journey.health;
$$;
