-- A key of a namespace that does not cross scopes names another person in each
-- scope, in fences as in identity: an order of one stops nobody in the other.
\ir ../fixtures/orchestrate.sql
SELECT plan(8);
SELECT pg_temp.move('2026-03-02 10:00+00');
INSERT INTO journey.namespace (namespace, class, rank, crosses_scopes, confidence, meaning) VALUES ('till_no', 'person', 60, false, 0.9, 'number of a customer at one brand''s tills');
SELECT journey._invalidate('journey.namespace');
SELECT journey.apply('[{"kind": "source", "name": "shop_a", "system": "commerce", "scope": "a"}, {"kind": "source", "name": "shop_b", "system": "commerce", "scope": "b"}, {"kind": "source", "name": "till_a", "system": "pos", "scope": "a"}]'::jsonb);
SELECT journey.apply(pg_temp.journey_doc('nudge', '{"on": "wishlist_added"}',
    '{"say": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
CREATE TABLE till_order (id text PRIMARY KEY, who text, status text);
SELECT count(*) FROM journey.attach('till_order', 'order', '{"source": "till_a", "key": "id", "subject": {"till_no": "who"}, "status": {"column": "status", "values": {"paid": "placed"}}}');
CREATE FUNCTION pg_temp.of(scope text, n text) RETURNS uuid LANGUAGE sql AS $$SELECT journey.profile_id(jsonb_build_object('till_no', scope || ':' || n))$$;
CREATE FUNCTION pg_temp.answer(scope text, n text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    b record;
BEGIN
    SELECT * INTO b FROM pg_temp.leased l WHERE l.profile_id = pg_temp.of(scope, n);
    RETURN (SELECT CASE WHEN g.granted THEN 'granted' ELSE g.reason END FROM journey.begin_send(b.action_id, b.token) g);
END $$;
SELECT journey.track('shop_' || s, x.type, jsonb_build_object('till_no', n, 'email', s || n || '@example.com'), x.props)
FROM unnest(ARRAY['a', 'b']) s, unnest(ARRAY['1', '2', '3']) n,
    (VALUES (1, 'identified', '{}'::jsonb), (2, 'consent_granted', '{"channel": "email", "purpose": "marketing"}'), (3, 'wishlist_added', '{"sku": "A"}')) x(i, type, props)
ORDER BY i;
SELECT journey.run_until_idle();
SELECT isnt(pg_temp.of('a', '1'), pg_temp.of('b', '1'), 'one number, two people');
CREATE TEMP TABLE leased AS SELECT c.action_id, c.token, c.profile_id FROM journey.claim('email', 100) c;
SELECT is((SELECT count(*) FROM leased), 6::bigint, 'each has a letter in a sender''s hands');

SELECT journey.track('shop_a', 'order_placed', '{"till_no": "1"}', '{"order_id": "o1", "amount": 1}');
INSERT INTO till_order VALUES ('o2', '2', 'paid');
SELECT is(pg_temp.answer('a', '1'), 'ordered', 'an order of scope a that nobody has read stops the letter there');
SELECT is(pg_temp.answer('b', '1'), 'granted', 'and not that of the same number elsewhere');
SELECT is(pg_temp.answer('a', '2'), 'ordered', 'nor is it otherwise with a row of a table');
SELECT is(pg_temp.answer('b', '2'), 'granted', 'which stops nobody elsewhere either');
SELECT journey.run_until_idle();
SELECT is((SELECT appended FROM journey.reconcile('till_order')), 0::bigint, 'the order is known by its keys');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
