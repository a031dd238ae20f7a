-- Many of everything, written by plain SQL: people, what they have done, who waits, what is to be sent.
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.run_once();
SELECT journey.apply('[
  {"kind": "channel", "name": "many", "mode": "push"},
  {"kind": "template", "name": "many_text", "channels": ["many"], "variables": {"about": "text"}, "content": {"en": {"subject": "{{about}}", "body": "{{about}}"}}},
  {"kind": "journey", "name": "many", "scope": "*", "purpose": "service", "stage": "purchase", "objective": "measure", "kpi": "cart_recovery_rate",
   "owners": {"business": "crm", "technical": "data", "qa": "qa"},
   "entry": [{"on": "cart_item_added", "key": "cart", "when": "event.quantity > 0", "data": {"sku": "event.sku"}}],
   "reentry": {"per": "key", "after": "0"}, "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"],
   "control": {"none": true, "reason": "a measurement"}, "priority": 1,
   "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "900 days"},
   "steps": {"idle": {"wait": {"for": "1 hour"}, "next": "remind"},
             "remind": {"send": {"channel": "many", "template": "many_text", "data": {"about": "entry.sku"}}, "next": "done"},
             "done": {"exit": "finished"}}}
]'::jsonb);

CREATE TABLE person (i integer PRIMARY KEY, profile_id uuid NOT NULL, bucket smallint NOT NULL);
-- People in the order of their buckets, as tables have them that were loaded.
CREATE FUNCTION fill_people(n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO person SELECT i, md5('p' || i)::uuid, journey.bucket(md5('p' || i)::uuid) FROM generate_series(1, n) AS i;
    INSERT INTO journey.profile (bucket, profile_id, class, confidence, created_at, changed_at)
    SELECT bucket, profile_id, 'person', 1, now(), now() FROM person;
    INSERT INTO journey.profile_state (bucket, profile_id) SELECT bucket, profile_id FROM person;
    INSERT INTO journey.identity (bucket, key_hash, namespace, value, profile_bucket, profile_id, confidence, method, source, since)
    SELECT (journey.key_hash('customer_id', i::text) >> 54) & 1023, journey.key_hash('customer_id', i::text), 'customer_id', i::text, bucket, profile_id, 1, 'created', 'bench', now() FROM person;
END
$$;
-- As many of them wait, from then on a millisecond apart.
CREATE FUNCTION wait_for(first interval, n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journey.enrollment (bucket, profile_id, enrollment_id, journey, version, scope, key, occurrence, status, step, visit, transitions, arm,
        data, confidence, entered_at, stepped_at, wake_at, lap, test)
    SELECT bucket, profile_id, md5('e' || i)::uuid, 'many', 1, 'default', 'c' || i, 1, 'active', 'idle', 1, 1, 'treatment',
           '{"sku": "s1"}', 1, journey.clock(), journey.clock(), journey.clock() + first + i * interval '1 ms', 1, false FROM person WHERE i <= n;
    INSERT INTO journey.timer (bucket, profile_id, enrollment_id, wake_at, planned_at, visit)
    SELECT bucket, profile_id, enrollment_id, wake_at, wake_at, visit FROM journey.enrollment WHERE wake_at IS NOT NULL;
END
$$;
-- As many actions, of people who wait for nothing else, become due a millisecond apart.
CREATE FUNCTION fill_outbox(first interval, n integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.outbox (bucket, profile_id, action_id, channel, status, claim_at, reap_at, priority, due_at, not_after,
        enrollment_id, journey, version, step, visit, purpose, scope, template, template_version, payload, suppress_on, caps,
        max_attempts, idempotency_key, decision_id, decided_at, decided_lap, decided_seq, test)
    SELECT bucket, profile_id, md5('a' || i)::uuid, 'many', 'pending', t.at, t.at + interval '900 days', 1, t.at, t.at + interval '900 days',
        md5('e' || i)::uuid, 'many', 1, 'remind', 1, 'service', 'default', 'many_text', 1, '{"about": "s1"}', '[{"on": "order_placed", "match": false}]', '[]',
        3, md5('a' || i), gen_random_uuid(), journey.clock(), 0, 0, true
    FROM person, LATERAL (SELECT journey.clock() + interval '1 hour' + first + i * interval '1 ms') AS t (at) WHERE i <= n
$$;
-- Nanoseconds that this backend has been on a processor.
CREATE FUNCTION cpu() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint $$;
