-- The tables that a message passes, without anybody who judges: what writing its rows costs by itself.
CREATE SCHEMA twin;
CREATE TABLE twin.outbox (LIKE journey.outbox INCLUDING ALL) WITH (fillfactor = 60);
CREATE TABLE twin.outbox_history (LIKE journey.outbox_history INCLUDING ALL);
CREATE TABLE twin.attempt_log (LIKE journey.attempt_log INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE twin.lease (LIKE journey.lease INCLUDING ALL);
CREATE TABLE twin.permit_batch (LIKE journey.permit_batch INCLUDING ALL);
CREATE TABLE twin.inbox (LIKE journey.inbox_0 INCLUDING ALL);
CREATE TABLE twin.letters AS SELECT * FROM journey.outbox;
CREATE FUNCTION refill_twin() RETURNS void LANGUAGE sql AS $$
    TRUNCATE twin.outbox, twin.outbox_history, twin.attempt_log, twin.lease, twin.permit_batch, twin.inbox;
    INSERT INTO twin.outbox SELECT * FROM twin.letters;
$$;
SELECT refill_twin();
ANALYZE twin.outbox;
