-- Many refused in front: a call judges so many and gives back what there is. The next one
-- goes on, and a sender that comes again while something is due gets to the good ones.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(13);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql
SELECT journey.apply('{"kind": "channel", "name": "email", "mode": "push", "address": "email"}') \g /dev/null

CREATE FUNCTION pg_temp.refused() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM journey.outbox_history WHERE status = 'refused' $$;
-- a sender that comes again as long as something is due: what it gets, and in how many calls
CREATE FUNCTION pg_temp.drain(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    got text;
    calls integer := 0;
BEGIN
    WHILE got IS NULL AND calls < 20 AND journey.next_due('email') <= journey.clock() LOOP
        EXECUTE format('SELECT string_agg(step, '','') FROM %s', call) INTO got;
        calls := calls + 1;
    END LOOP;
    RETURN concat_ws(' in ', got, calls);
END $$;

-- with the permit: people are locked, and the table of locks is the shop's, too
SELECT count(pg_temp.action('P' || g)) FROM generate_series(1, 2500) g \gset
UPDATE journey.consent SET state = 'denied';
SELECT pg_temp.action('G', step => 'good', due => journey.clock() - interval '1 second') \gset
UPDATE journey.outbox SET claim_at = journey.clock() - interval '1 hour' WHERE step = 'remind';
BEGIN;
SELECT is((SELECT count(*) FROM journey.claim_and_begin('email', 100)), 0::bigint, 'one call comes to no end');
SELECT is(pg_temp.refused(), 1000::bigint, 'it judges so many');
SELECT cmp_ok((SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 7 AND pid = pg_backend_pid()), '<=', 1000::bigint, 'and locks no more people');
COMMIT;
SELECT cmp_ok(journey.next_due('email'), '<', journey.clock(), 'next_due says that there is more');
SELECT is(pg_temp.drain($$journey.claim_and_begin('email', 100)$$), 'good in 2', 'the next calls come to the good one');
SELECT is(pg_temp.refused(), 2500::bigint, 'behind all the others');

-- without it
DELETE FROM journey.outbox_history;
DELETE FROM journey.outbox;
SELECT count(pg_temp.action('P' || g, stock_sku => '{J1}')) FROM generate_series(1, 1500) g \gset
INSERT INTO journey.product (sku, available, changed_at) VALUES ('J1', 0, now());
SELECT pg_temp.action('G', step => 'good', due => journey.clock() - interval '1 second') \gset
UPDATE journey.outbox SET claim_at = journey.clock() - interval '1 hour' WHERE step = 'remind';
SELECT is((SELECT count(*) FROM journey.claim('email', 1)) + pg_temp.refused(), 100::bigint, 'who wants one at a time has fewer judged');
SELECT is((SELECT count(*) FROM journey.claim('email', 100, wait => '1 second')), 0::bigint, 'a claim comes to no end either');
SELECT is(pg_temp.refused(), 1100::bigint, 'nor does it wait for more work');
SELECT is(pg_temp.drain($$journey.claim('email', 100)$$), 'good in 1', 'the next one comes to the good one');

-- the bound is of refused ones and good ones together
SELECT count(pg_temp.action('P' || g, step => 'fine', due => journey.clock() - interval '1 minute')) FROM generate_series(1, 990) g \gset
SELECT count(pg_temp.action('P' || g, stock_sku => '{J1}')) FROM generate_series(1, 20) g \gset
UPDATE journey.outbox SET claim_at = journey.clock() - interval '1 hour' WHERE step = 'remind';
SELECT is((SELECT count(*) FROM journey.claim('email', 1000) WHERE step = 'fine'), 980::bigint, 'a full call gives what is left beside the refused');
SELECT is((SELECT count(*) FROM journey.claim('email', 1000) WHERE step = 'fine'), 10::bigint, 'the next one gives the rest');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
