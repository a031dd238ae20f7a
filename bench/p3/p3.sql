-- A plain queue, and a journey that answers each order at once.
CREATE TABLE bare (id bigint PRIMARY KEY, payload jsonb NOT NULL);
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.apply('[
  {"kind": "channel", "name": "p3", "mode": "push"},
  {"kind": "template", "name": "p3_confirmed", "channels": ["p3"], "variables": {"order_id": "text", "amount": "numeric"},
   "content": {"en": {"subject": "Your order", "body": "{{order_id}} {{amount}}"}}},
  {"kind": "journey", "name": "p3_confirmation", "scope": "*", "purpose": "transactional", "stage": "fulfillment",
   "objective": "confirm every order at once", "kpi": "where_is_my_order_rate",
   "owners": {"business": "service", "technical": "data", "qa": "qa"},
   "entry": [{"on": "order_placed", "key": "order", "data": {"order_id": "event.order_id", "amount": "event.amount"}}],
   "reentry": {"per": "key", "after": "never"},
   "exit": [{"on": "order_cancelled", "match": "event.order_id = key"}],
   "control": {"none": true, "reason": "nobody is left without a confirmation"}, "priority": 100,
   "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "1 day"},
   "steps": {
     "confirm": {"send": {"channel": "p3", "template": "p3_confirmed", "data": {"order_id": "entry.order_id", "amount": "entry.amount"}}, "next": "done"},
     "done": {"exit": "finished"} } }
]'::jsonb);
SELECT journey.resume();

-- Permits and acks of everything that is claimed, as a sender would take them.
CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    tokens bigint[];
BEGIN
    SELECT array_agg(action_id), array_agg(token) INTO ids, tokens FROM journey.outbox WHERE status = 'claimed';
    IF ids IS NULL THEN
        RETURN;
    END IF;
    SET LOCAL journey.allow_in_transaction = on;
    PERFORM journey.begin_send(ids, tokens);
    PERFORM journey.ack(ids, tokens);
END $$;

-- PgQ, where it is installed: a queue, and a consumer that takes whole batches.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgq') AS pgq \gset
\if :pgq
CREATE EXTENSION pgq;
SELECT pgq.create_queue('p3'), pgq.set_queue_config('p3', 'ticker_max_lag', '0'), pgq.register_consumer('p3', 'sender');
CREATE FUNCTION pgq_take() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    batch bigint := pgq.next_batch('p3', 'sender');
BEGIN
    IF batch IS NOT NULL THEN
        RETURN QUERY SELECT ev_data FROM pgq.get_batch_events(batch);
        PERFORM pgq.finish_batch(batch);
    END IF;
END $$;
\endif
