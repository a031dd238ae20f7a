-- Changes to data tables that are there already, in order, each one harmless
-- when repeated: migrate() runs all of them every time. New tables, indexes and
-- comments come by themselves.
DO $$
BEGIN
    -- once: a shop may say otherwise afterwards
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'journey.namespace'::regclass AND a.attname = 'one_per_person') THEN
        ALTER TABLE journey.namespace ADD COLUMN merges boolean NOT NULL DEFAULT true, ADD COLUMN one_per_person boolean NOT NULL DEFAULT false;
        UPDATE journey.namespace SET one_per_person = true WHERE namespace = 'customer_id';
    END IF;
    -- of two people who became one, both the own word and what a link brought may be there
    IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                   WHERE i.indexrelid = 'journey.suppression_pkey'::regclass AND a.attname = 'linked') THEN
        ALTER TABLE journey.suppression DROP CONSTRAINT suppression_pkey, ADD PRIMARY KEY (bucket, profile_id, seq, type, linked);
    END IF;
END
$$;
ALTER TABLE journey.suppression ADD COLUMN IF NOT EXISTS original_id uuid;
ALTER TABLE journey.attempt_log ADD COLUMN IF NOT EXISTS original_id uuid;
ALTER TABLE journey.exposure ADD COLUMN IF NOT EXISTS original_id uuid;
ALTER TABLE journey.journey_day
    ADD COLUMN IF NOT EXISTS ended bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS held_out bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS enqueued bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS withheld bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS cancelled bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS sent bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS stopped bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS dead bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS unknown bigint NOT NULL DEFAULT 0;
UPDATE journey.event_type AS t SET meaning = n.meaning
FROM (VALUES ('product_engaged', 'a product page was used: sku, session_id, dwell_seconds'),
             ('ticket_opened', 'service was asked for: ticket_id, reason, order_id, severity'),
             ('ticket_closed', 'a service case was closed: ticket_id, reason, escalated')) AS n (type, meaning)
WHERE t.type = n.type AND t.meaning <> n.meaning;
