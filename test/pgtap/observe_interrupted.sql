-- What a backend keeps about the tables, when reading it is interrupted: half
-- of it must not pass for the whole. A prepared transaction holds the lock
-- that the shop runs into, and it is the shop's own session that frees it.
-- What would break if this failed: after one lock_timeout the shop's backend
-- crashes with the server, or writes rows without the fence that stops a
-- reminder, for as long as its connection lives.

-- a type that a document lists and a source of a scope, told by another session
INSERT INTO journey.fenced_type (type) VALUES ('shipment_shipped');
INSERT INTO journey.source (source, scope) VALUES ('shop_fr', 'fr');
\connect
SET lock_timeout = '100ms';
SELECT plan(16);
CREATE FUNCTION pg_temp.shipped(source text, n integer) RETURNS text LANGUAGE sql AS
$$SELECT format('SELECT journey.track(%L, ''shipment_shipped'', ''{"email":"a@x.example"}'', ''{"order_id":"%s"}'')', source, n)$$;
CREATE FUNCTION pg_temp.last() RETURNS journey.inbox_0 LANGUAGE sql AS $$SELECT * FROM journey.inbox_0 ORDER BY seq DESC LIMIT 1$$;

-- which scope a source speaks for
BEGIN; LOCK TABLE journey.source IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'observe_interrupted';
SELECT throws_ok(pg_temp.shipped('shop_fr', 1), '55P03', NULL, 'the scopes cannot be read');
ROLLBACK PREPARED 'observe_interrupted';

-- which types are fences
BEGIN; LOCK TABLE journey.fenced_type IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'observe_interrupted';
SELECT throws_ok(pg_temp.shipped('shop_fr', 1), '55P03', NULL, 'the fenced types cannot be read');
ROLLBACK PREPARED 'observe_interrupted';

-- the current generation, by a backend that knows nothing of it
BEGIN; LOCK TABLE journey.inbox_0 IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'observe_interrupted';
SELECT throws_ok(pg_temp.shipped('shop_fr', 1), '55P03', NULL, 'the generation cannot be learned');
SELECT throws_ok(pg_temp.shipped('shop_fr', 1), '55P03', NULL, 'nor at the second try');
ROLLBACK PREPARED 'observe_interrupted';
SELECT lives_ok(pg_temp.shipped('shop_fr', 1), 'once the lock is gone, the same call is taken');
SELECT is((pg_temp.last()).scope, 'fr', 'with the scope of its source');
SELECT is((pg_temp.last()).fence::text, 'f', 'with its fence');
SELECT is((pg_temp.last()).ref, 'order:1', 'and all columns in place');

-- by one that knew it and was told that it changed
SELECT journey._invalidate('journey.inbox_0');
BEGIN; LOCK TABLE journey.inbox_0 IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'observe_interrupted';
SELECT throws_ok(pg_temp.shipped('shop_fr', 2), '55P03', NULL, 'a generation known before cannot be learned again');
ROLLBACK PREPARED 'observe_interrupted';
SELECT lives_ok(pg_temp.shipped('shop_fr', 2), 'once the lock is gone, the call is taken');
SELECT is((pg_temp.last()).ref, 'order:2', 'with all columns in place');
SELECT is((SELECT string_agg(ref, ' ' ORDER BY seq) FROM journey._fences()), 'order:1 order:2', 'and found by the indexes');

-- when the test clock cannot be read
SELECT journey._invalidate('journey.node');
BEGIN; LOCK TABLE journey.node IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'observe_interrupted';
SELECT throws_ok(pg_temp.shipped('shop_fr', 3), '55P03', NULL, 'the clock cannot be read');
ROLLBACK PREPARED 'observe_interrupted';
SELECT lives_ok(pg_temp.shipped('shop_fr', 3), 'once the lock is gone, the call is taken');
SELECT is((SELECT sum(value) FROM journey.run_once() WHERE name = 'events'), 3::numeric, 'all three are consumed');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');

SELECT * FROM finish();
