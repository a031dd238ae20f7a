-- Fixtures for tests of deliver: people and actions without journeys.
-- person('A') has a@example.org, consent to marketing, and the customer id A.

-- a sender's calls are made in functions here
SET journey.allow_in_transaction = on;
-- permits wait until what adopt() read has been consumed
SELECT journey.run_until_idle() \g /dev/null

CREATE FUNCTION pg_temp.pid(who text) RETURNS uuid LANGUAGE sql AS $$
    SELECT md5('profile ' || who)::uuid
$$;

CREATE FUNCTION pg_temp.person(who text, zone text DEFAULT NULL, consent text DEFAULT 'granted',
                               address text DEFAULT NULL, scope text DEFAULT 'default', is_test boolean DEFAULT false)
    RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    p uuid := pg_temp.pid(who);
    b smallint := journey.bucket(p);
    mail text := coalesce(address, lower(who) || '@example.org');
    at timestamptz := journey.clock();
BEGIN
    INSERT INTO journey.profile (bucket, profile_id, class, confidence, zone, created_at, changed_at)
    VALUES (b, p, 'person', 1, zone, at, at) ON CONFLICT DO NOTHING;
    INSERT INTO journey.test_profile SELECT b, p, current_user, at WHERE is_test ON CONFLICT DO NOTHING;
    INSERT INTO journey.identity
        (bucket, key_hash, namespace, value, profile_bucket, profile_id, confidence, method, source, since)
    SELECT (journey.key_hash(k.namespace, k.value) >> 54) & 1023, journey.key_hash(k.namespace, k.value),
           k.namespace, k.value, b, p, 1, 'created', 'test', at
    FROM (VALUES ('customer_id', who), ('email', mail)) k(namespace, value)
    ON CONFLICT DO NOTHING;
    IF consent IS NOT NULL THEN
        INSERT INTO journey.consent (bucket, profile_id, scope, channel, purpose, state, source, at)
        SELECT b, p, person.scope, c, 'marketing', consent, 'test', at FROM unnest(ARRAY['email', 'sms']) c
        ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO journey.contact_point (bucket, profile_id, scope, channel, address, address_hash, state, since, changed_at)
    VALUES (b, p, person.scope, 'email', mail, journey.key_hash('email', mail), 'active', at, at)
    ON CONFLICT DO NOTHING;
    RETURN p;
END $$;

CREATE FUNCTION pg_temp.action(who text, channel text DEFAULT 'email', priority integer DEFAULT 0,
                               due timestamptz DEFAULT NULL, purpose text DEFAULT 'marketing',
                               suppress_on jsonb DEFAULT '[{"on": "order_placed", "match": false}]',
                               journey text DEFAULT 'cart_recovery', step text DEFAULT 'remind',
                               scope text DEFAULT 'default', own_ref text DEFAULT '', entry text DEFAULT NULL,
                               stock_sku text[] DEFAULT NULL, caps jsonb DEFAULT '[]', quiet jsonb DEFAULT NULL,
                               not_after timestamptz DEFAULT NULL, late interval DEFAULT NULL,
                               max_attempts integer DEFAULT 3, enrolled boolean DEFAULT false,
                               name text DEFAULT NULL)
    RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    p uuid := pg_temp.pid(who);
    d uuid := gen_random_uuid();
    a uuid := CASE WHEN name IS NULL THEN gen_random_uuid() ELSE md5('action ' || name)::uuid END;
    e uuid := CASE WHEN enrolled THEN md5('enrollment ' || a)::uuid END;
    at timestamptz := journey.clock();
    c journey.cursor := (SELECT c FROM journey.cursor c);
BEGIN
    IF NOT EXISTS (SELECT FROM journey.contact_point x WHERE x.profile_id = p AND x.scope = action.scope) THEN
        PERFORM pg_temp.person(who, scope => action.scope);
    END IF;
    IF enrolled THEN
        INSERT INTO journey.enrollment (bucket, profile_id, enrollment_id, journey, version, scope, key, occurrence,
                                        status, step, visit, arm, confidence, entered_at, stepped_at, lap, test)
        VALUES (journey.bucket(p), p, e, action.journey, 1, action.scope, '', 1, 'active', action.step, 1, 'treatment',
                1, at, at, c.lap, journey.mode() = 'test');
        UPDATE journey.enrollment SET transitions = 1 WHERE enrollment_id = e;
        INSERT INTO journey.transition (bucket, profile_id, enrollment_id, n, to_step, edge, at)
        VALUES (journey.bucket(p), p, e, 1, action.step, 'entry', at);
        INSERT INTO journey.decision (bucket, profile_id, decided_at, decision_id, enrollment_id, journey, version,
                                      step, kind, verdict, action_id, lap, test)
        VALUES (journey.bucket(p), p, at, d, e, action.journey, 1, action.step, 'step', 'enqueue', a, c.lap,
                journey.mode() = 'test');
    END IF;
    INSERT INTO journey.outbox (bucket, profile_id, action_id, channel, status, claim_at, reap_at, priority, due_at,
        not_after, late, enrollment_id, journey, version, step, visit, purpose, scope, template, template_version,
        locale, payload, suppress_on, own_ref, entry_hash, stock_sku, caps, quiet, max_attempts, idempotency_key,
        decision_id, decided_at, decided_lap, decided_seq, test)
    VALUES (journey.bucket(p), p, a, action.channel, 'pending', coalesce(due, at),
        coalesce(action.not_after, at + interval '2 days'), action.priority, coalesce(due, at),
        coalesce(action.not_after, at + interval '2 days'), action.late, e, action.journey, 1, action.step, 1,
        action.purpose, action.scope, 'reminder', 1, 'en', '{"sku": "J1"}', action.suppress_on, action.own_ref,
        journey.key_hash('cart', action.scope || ':' || entry), action.stock_sku, action.caps, action.quiet,
        action.max_attempts, a::text, d, at, c.lap, c.applied_seq, journey.mode() = 'test');
    RETURN a;
END $$;
