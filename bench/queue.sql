-- The two queues of p8 and p9: a bare table, and the outbox with what its checks need.
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.run_once();
UPDATE journey.node SET mode = 'live';
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('channel', 'mail', 1, 'active', '{"kind": "channel", "name": "mail", "mode": "push", "address": "email"}',
        '[]', 'journey_owner', 'bench', now(), 'mail');

CREATE TABLE bare (
    id uuid PRIMARY KEY, channel text NOT NULL, status text NOT NULL, priority integer NOT NULL,
    claim_at timestamptz NOT NULL, lease_until timestamptz, token bigint NOT NULL DEFAULT 0, payload jsonb NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX bare_claim ON bare (channel, priority DESC, claim_at, id) WHERE status = 'pending';

CREATE TABLE person AS
SELECT i, md5('p' || i)::uuid AS profile_id, journey.bucket(md5('p' || i)::uuid) AS bucket FROM generate_series(1, 60000) i;
INSERT INTO journey.profile (bucket, profile_id, class, confidence, created_at, changed_at)
SELECT bucket, profile_id, 'person', 1, now(), now() FROM person;
INSERT INTO journey.identity (bucket, key_hash, namespace, value, profile_bucket, profile_id, confidence, method, source, since)
SELECT (journey.key_hash('customer_id', i::text) >> 54) & 1023, journey.key_hash('customer_id', i::text), 'customer_id', i, bucket, profile_id, 1, 'created', 'bench', now() FROM person;
INSERT INTO journey.consent (bucket, profile_id, scope, channel, purpose, state, source, at)
SELECT bucket, profile_id, 'default', 'mail', 'marketing', 'granted', 'bench', now() FROM person;
INSERT INTO journey.contact_point (bucket, profile_id, scope, channel, address, address_hash, state, since, changed_at)
SELECT bucket, profile_id, 'default', 'mail', i || '@x', journey.key_hash('email', i || '@x'), 'active', now(), now() FROM person;
INSERT INTO journey.enrollment (bucket, profile_id, enrollment_id, journey, version, scope, key, occurrence, status, step, visit, arm,
    confidence, entered_at, stepped_at, lap, test)
SELECT bucket, profile_id, md5('e' || i)::uuid, 'cart_recovery', 1, 'default', '', 1, 'active', 'remind', 1, 'treatment', 1, now(), now(), 0, false FROM person;
INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, occurred_at, effective_at, incarnation, lap)
SELECT bucket, profile_id, i, 'order_placed', 'order:old' || i, 'default', 'ordered', now(), now(), 1, 0 FROM person;

CREATE SEQUENCE refills;
CREATE FUNCTION refill(n integer DEFAULT 60000) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r bigint := nextval('refills');
BEGIN
    TRUNCATE bare, journey.outbox, journey.outbox_history, journey.attempt_log, journey.decision, journey.permit_batch,
        journey.inbox_0, journey.inbox_1, journey.inbox_2;
    INSERT INTO bare (id, channel, status, priority, claim_at, payload)
    SELECT md5('a' || r || '.' || i)::uuid, 'mail', 'pending', i % 3, now() - interval '1 s' * (n - i) / 1000, '{"sku": "J1", "price": 10}'
    FROM generate_series(1, n) i;
    INSERT INTO journey.outbox (bucket, profile_id, action_id, channel, status, claim_at, reap_at, priority, due_at, not_after,
        enrollment_id, journey, version, step, visit, purpose, scope, template, template_version, payload, suppress_on, caps,
        max_attempts, idempotency_key, decision_id, decided_at, decided_lap, decided_seq, test)
    SELECT p.bucket, p.profile_id, md5('a' || r || '.' || p.i)::uuid, 'mail', 'pending', now() - interval '1 s' * (n - p.i) / 1000, now() + interval '1 day',
        p.i % 3, now() - interval '1 s' * (n - p.i) / 1000, now() + interval '1 day', md5('e' || p.i)::uuid, 'cart_recovery', 1, 'remind', 1, 'marketing',
        'default', 'reminder', 1, '{"sku": "J1", "price": 10}', '[{"on": "order_placed", "match": false}]',
        '[{"scope": "journey", "channel": "mail", "max": 1, "per": "1 day", "window": "calendar"}]', 3,
        md5('a' || r || '.' || p.i), gen_random_uuid(), now(), 0, 0, false
    FROM person p WHERE p.i <= n;
    PERFORM journey.track('web', 'order_placed', jsonb_build_object('customer_id', (k * 2000)::text), jsonb_build_object('order_id', k))
    FROM generate_series(1, 30) k;
END $$;
SELECT refill();
-- one warm round through everything, then statistics
ANALYZE;
-- p9's producer: the same rows for other people, now
CREATE FUNCTION produce(n integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.outbox (bucket, profile_id, action_id, channel, status, claim_at, reap_at, priority, due_at, not_after,
        enrollment_id, journey, version, step, visit, purpose, scope, template, template_version, payload, suppress_on, caps,
        max_attempts, idempotency_key, decision_id, decided_at, decided_lap, decided_seq, test)
    SELECT p.bucket, p.profile_id, a.id, 'mail', 'pending', now(), now() + interval '1 day', p.i % 3, now(), now() + interval '1 day',
        md5('e' || p.i)::uuid, 'cart_recovery', 1, 'remind', 1, 'service', 'default', 'reminder', 1, '{"sku": "J1", "price": 10}',
        '[{"on": "order_placed", "match": false}]', '[]', 3, a.id::text, gen_random_uuid(), now(), 0, 0, false
    FROM generate_series(1, n) g, LATERAL (SELECT gen_random_uuid() AS id, 1 + (random() * 59999)::integer AS i WHERE g > 0) a
    JOIN person p ON p.i = a.i
$$;
CREATE UNIQUE INDEX ON person (i);
