-- Words of any length and alphabet: what is cut is cut between characters, so
-- that every row can be read, dumped and restored; what only begins alike is
-- counted apart.
\ir ../fixtures/orchestrate.sql
SELECT plan(9);

-- Every table of ours as text: rows whose bytes are no text of the database's.
CREATE FUNCTION pg_temp.unreadable() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    rel regclass;
    r record;
BEGIN
    FOR rel IN SELECT c.oid FROM pg_class c
               WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind = 'r' ORDER BY c.relname LOOP
        FOR r IN EXECUTE format('SELECT t::text AS bytes FROM %s AS t', rel) LOOP
            BEGIN
                PERFORM convert_to(r.bytes, 'UTF8');
            EXCEPTION WHEN character_not_in_repertoire THEN
                RETURN NEXT rel::text;
            END;
        END LOOP;
    END LOOP;
END $$;

-- sources and types
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.track('shop', repeat('é', 120), '{"anonymous_id": "a"}', '{}') FROM generate_series(1, 2);
SELECT journey.track('shop', repeat('é', 120) || 'x', '{"anonymous_id": "a"}', '{}') FROM generate_series(1, 3);
SELECT journey.track(repeat('é', 110), 'page_viewed', '{"anonymous_id": "a"}', '{}') FROM generate_series(1, 2);
SELECT journey.track(repeat('é', 110) || 'x', 'page_viewed', '{"anonymous_id": "a"}', '{}');
SELECT journey.run_until_idle();
SELECT is_empty('SELECT pg_temp.unreadable()', 'long names of sources and types are readable');
SELECT results_eq($$SELECT char_length(type), seen FROM journey.event_type WHERE type LIKE 'éé%' ORDER BY 1$$,
                  $$VALUES (120, 2::bigint), (121, 3)$$, 'two types that begin alike are two');
SELECT results_eq($$SELECT char_length(source), events FROM journey.source WHERE source LIKE 'éé%' ORDER BY 1$$,
                  $$VALUES (110, 2::bigint), (111, 1)$$, 'and so are two sources');

-- namespaces: one that nobody registered, and one with a long name
SELECT journey.track('shop', 'page_viewed', jsonb_build_object('anonymous_id', 'a', 'x' || repeat('é', 100), '1'), '{}');
INSERT INTO journey.namespace SELECT 'x' || repeat('é', 40), class, rank, crosses_scopes, confidence, meaning FROM journey.namespace WHERE namespace = 'customer_id';
SELECT journey._invalidate('journey.namespace');
SELECT journey.track('shop', 'order_placed', jsonb_build_object('x' || repeat('é', 40), '7'), '{"order_id": "o7"}');
SELECT journey.run_until_idle();
SELECT is_empty('SELECT pg_temp.unreadable()', 'so are names of namespaces');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'unknown_namespace'), 'x' || repeat('é', 63), 'an incident''s name ends with a character');
SELECT is((SELECT key_hash FROM journey.identity WHERE value = '7'), journey.key_hash('x' || repeat('é', 40), '7'), 'a registered one is known by its whole name');

-- values that are quoted when they cannot be read
CREATE TABLE shop_order (id text PRIMARY KEY, customer text, amount text, at text);
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "amount": "amount", "at": "at"}') \gset
CREATE TABLE shop_customer (id text PRIMARY KEY, accepts text);
SELECT count(*) AS n FROM journey.attach('shop_customer', 'customer', '{"subject": {"customer_id": "id"},
    "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts", "values": {"true": "granted"}}]}') \gset
INSERT INTO shop_order VALUES ('1', 'c', 'x' || repeat('é', 60), NULL), ('2', 'c', '1', 'x' || repeat('é', 60));
INSERT INTO shop_customer VALUES ('c', 'x' || repeat('é', 60));
SELECT journey.run_until_idle();
SELECT is_empty('SELECT pg_temp.unreadable()', 'so are values that are quoted');
SELECT results_eq($$SELECT reason FROM journey.quarantine ORDER BY 1$$,
                  $$VALUES ('"x' || repeat('é', 49) || '" is not a number'), ('"x' || repeat('é', 49) || '" is not a time')$$, 'up to a character');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
