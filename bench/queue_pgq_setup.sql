-- PgQ for p8: batches of 100, and where a sender notes what it has sent of the present one.
CREATE EXTENSION pgq;
SELECT pgq.create_queue('mail'), pgq.register_consumer('mail', 'sender');
CREATE TABLE pgq_done (event bigint PRIMARY KEY);
