-- Two people whom an event names together and who stay two are linked for good: whom that
-- concerns, and what the one's orders do to the other.
\ir ../fixtures/orchestrate.sql
\ir ../lib/orphans.sql
SELECT plan(45);
-- as in a shop that merges nobody (worker_merge.sql: one that does)
UPDATE journey.namespace SET merges = false;
SELECT pg_temp.move('2026-03-02 10:00+00');
-- mission: 97, 114

-- Who is linked with a person, by the strength of it.
CREATE FUNCTION pg_temp.of(namespace text, value text) RETURNS uuid LANGUAGE sql AS $$ SELECT journey.profile_id(jsonb_build_object(namespace, value)) $$;
CREATE FUNCTION pg_temp.link(a uuid, b uuid) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(CASE l.strong WHEN true THEN 'strong' ELSE 'weak' END, ' ') FROM journey.profile_link l
    WHERE l.other_bucket = journey.bucket(l.other_id) AND l.bucket = journey.bucket(l.profile_id)
      AND (l.profile_id = a AND l.other_id = b OR l.profile_id = b AND l.other_id = a)
$$;
CREATE FUNCTION pg_temp.see(subject jsonb, source text DEFAULT 'shop', props jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track(source, 'product_viewed', subject, '{"sku": "J1"}' || props);
END $$;
CREATE FUNCTION pg_temp.guest(mail text, order_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'order_placed', jsonb_build_object('email', mail), jsonb_build_object('order_id', order_id, 'amount', 50, 'currency', 'EUR'));
END $$;
-- A person with a reminder that is due, and a guest who is known by an e-mail address.
CREATE FUNCTION pg_temp.two(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.person(c), pg_temp.see(jsonb_build_object('email', c || '@guest.com'));
END $$;
CREATE FUNCTION pg_temp.meet(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.see(jsonb_build_object('customer_id', c, 'email', c || '@guest.com'));
END $$;
CREATE FUNCTION pg_temp.stopped(c text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', s.type, nullif(s.ref, ''), CASE WHEN s.linked THEN 'linked' END, cardinality(s.matched), CASE WHEN s.released_by IS NOT NULL THEN 'released' END)
    FROM journey.suppression s WHERE s.profile_id = pg_temp.pid(c) ORDER BY s.seq, s.type
$$;

-- ---- who is linked -------------------------------------------------------------
SELECT pg_temp.two('link'), pg_temp.two('far'), pg_temp.see('{"anonymous_id": "b1"}'), pg_temp.see('{"anonymous_id": "b2"}');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count(*) FROM journey.profile_link), 0::bigint, 'nobody is linked');
SELECT pg_temp.meet('link'), pg_temp.see('{"customer_id": "link", "anonymous_id": "b1"}');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.link(pg_temp.pid('link'), pg_temp.of('email', 'link@guest.com')), 'strong strong', 'an account and an address of two people: in both directions');
SELECT is(pg_temp.link(pg_temp.pid('link'), pg_temp.of('anonymous_id', 'b1')), 'weak weak', 'an account and a browser: less');
SELECT is(pg_temp.link(pg_temp.of('email', 'link@guest.com'), pg_temp.of('anonymous_id', 'b1')), NULL, 'those whom no event names together are not');
SELECT pg_temp.move('2026-03-02 10:01+00');
SELECT pg_temp.meet('link'), pg_temp.see('{"customer_id": "link", "anonymous_id": "b1"}');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count(*) || ' ' || max(since)::text FROM journey.profile_link), '4 2026-03-02 10:00:00+00', 'once said is enough');
SELECT pg_temp.see('{"customer_id": "far", "email": "far@guest.com", "anonymous_id": "b2"}');
SELECT journey.run_once() \g /dev/null
SELECT results_eq($$SELECT pg_temp.link(a, b) FROM (VALUES (pg_temp.pid('far'), pg_temp.of('email', 'far@guest.com')), (pg_temp.pid('far'), pg_temp.of('anonymous_id', 'b2')),
                          (pg_temp.of('email', 'far@guest.com'), pg_temp.of('anonymous_id', 'b2'))) v (a, b)$$,
    $$VALUES ('strong strong'), ('weak weak'), ('weak weak')$$, 'of three people each with each');
SELECT journey.track('shop', 'identified', '{"anonymous_id": "b1", "email": "b1@example.com"}', '{}'), journey.run_once() \g /dev/null
SELECT pg_temp.see('{"customer_id": "link", "email": "b1@example.com"}');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.link(pg_temp.pid('link'), pg_temp.of('anonymous_id', 'b1')), 'strong strong', 'a link becomes stronger');
-- a cart that changes hands
SELECT pg_temp.see('{"anonymous_id": "b3"}', props => '{"cart_id": "HANDED"}');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.see('{"customer_id": "far"}', props => '{"cart_id": "HANDED"}');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.link(pg_temp.pid('far'), pg_temp.of('anonymous_id', 'b3')), 'weak weak', 'a cart of one that another names');
-- what links nobody
SELECT journey.apply('{"kind": "source", "name": "browser", "system": "commerce", "trusted": false}') \g /dev/null
INSERT INTO journey.namespace (namespace, class, rank, confidence, meaning) VALUES ('info_mail', 'shared', 60, 0.5, 'a mailbox of many');
SELECT count(*) AS before FROM journey.profile_link \gset
SELECT pg_temp.see('{"customer_id": "far", "email": "link@guest.com"}', 'browser');
SELECT pg_temp.see(jsonb_build_object('customer_id', c, 'household', 'h1', 'info_mail', 'info@example.com')) FROM unnest(ARRAY['link', 'far']) c;
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count(*) FROM journey.profile_link), :'before'::bigint, 'a source that is not trusted, a household and a shared mailbox link nobody');

-- ---- orders --------------------------------------------------------------------
SELECT journey.apply(pg_temp.cart_doc()) \g /dev/null
SELECT pg_temp.two(c), pg_temp.cart(c, 'K-' || c) FROM unnest(ARRAY['exit', 'both', 'back', 'out', 'off', 'tab1', 'tab2', 'skip']) c \g /dev/null
SELECT pg_temp.two(c) FROM unnest(ARRAY['idle', 'dead']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.meet(c) FROM unnest(ARRAY['exit', 'idle', 'both', 'back', 'out', 'off', 'dead', 'skip']) c;
SELECT pg_temp.see('{"anonymous_id": "tablet"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.see(jsonb_build_object('customer_id', c, 'anonymous_id', 'tablet')) FROM unnest(ARRAY['tab1', 'tab2']) c;
SELECT journey.run_until_idle() \g /dev/null

SELECT pg_temp.guest('exit@guest.com', 'OE'), pg_temp.guest('idle@guest.com', 'OI');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stands('exit')$$, $$VALUES ('cart K-exit exited ordered')$$, 'an order of the one ends the journey of the other');
SELECT results_eq($$SELECT pg_temp.stopped('exit')$$, $$VALUES ('order_placed order:OE linked 1')$$, 'and stands before what it would send');
SELECT is_empty($$SELECT pg_temp.stopped('idle')$$, 'of whoever is on no journey nothing is written');
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT pg_temp.cart(c, 'L-' || c) FROM unnest(ARRAY['exit', 'idle']) c;
SELECT pg_temp.move('2026-03-02 13:00+00');
SELECT ok(pg_temp.send(c), 'the next cart starts clean: ' || c) FROM unnest(ARRAY['exit', 'idle']) c;

-- an order that names both, though they are linked
SELECT journey.track('shop', 'order_placed', '{"customer_id": "both", "email": "both@guest.com"}', '{"order_id": "OB", "amount": 5}');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('both')$$, $$VALUES ('order_placed order:OB 0')$$, 'who is named is stopped as ever');

-- cancelled
SELECT journey.retire('journey', 'cart') \g /dev/null
SELECT journey.apply(pg_temp.cart_doc('{"name": "bare", "exit": []}')) \g /dev/null
SELECT pg_temp.cart(c, 'M-' || c) FROM unnest(ARRAY['back', 'out', 'off', 'tab1', 'tab2', 'dead', 'skip']) c;
SELECT pg_temp.move('2026-03-02 14:30+00');
SELECT pg_temp.guest('back@guest.com', 'OK');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('back')$$, $$VALUES ('order_placed order:OK linked 2')$$, 'both reminders that are out are stopped');
SELECT journey.track('shop', 'order_cancelled', '{"email": "back@guest.com"}', '{"order_id": "OK"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('back')$$, $$VALUES ('order_placed order:OK linked 2 released')$$, 'until the order is cancelled');
SELECT ok(pg_temp.send('back'), 'then they go');

-- a cart and the other's order, seen by one lap
SELECT pg_temp.two(c) FROM unnest(ARRAY['before', 'after']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.meet(c) FROM unnest(ARRAY['before', 'after']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.cart('before', 'KB'), pg_temp.guest('before@guest.com', 'O1'), pg_temp.guest('after@guest.com', 'O2'), pg_temp.cart('after', 'KA');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('before')$$, $$VALUES ('order_placed order:O1 linked 1')$$, 'a cart that was filled before the order is stopped');
SELECT is_empty($$SELECT pg_temp.stopped('after')$$, 'one that was filled after it is not');

-- an opt-out
SELECT journey.track('shop', 'unsubscribed', '{"email": "out@guest.com"}', '{"channel": "email"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('out')$$, $$VALUES ('unsubscribed linked 2')$$, 'an opt-out of the one stops what the other is about to get');
SELECT ok(NOT pg_temp.send('out'), 'by the permit, too');

-- a tablet: two accounts in one browser
SELECT results_eq($$SELECT pg_temp.link(pg_temp.pid(c), pg_temp.of('anonymous_id', 'tablet')) FROM unnest(ARRAY['tab1', 'tab2']) c$$,
    $$VALUES ('weak weak'), ('weak weak')$$, 'each is linked with the browser');
SELECT pg_temp.buy('tab1', 'OT');
SELECT ok(pg_temp.send('tab2'), 'what the one orders leaves the other alone while it is unread');
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT pg_temp.stopped('tab2')$$, 'and once it is consumed');

-- a dead letter that somebody brings back: its enrollment is over
SELECT action_id AS dead, token AS dead_token FROM journey.claim('email', 100) WHERE profile_id = pg_temp.pid('dead') LIMIT 1 \gset
SELECT granted FROM journey.begin_send(:'dead', :dead_token) \g /dev/null
SELECT journey.fail(:'dead', :dead_token, 'no', false, 'content_rejected') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.guest('dead@guest.com', 'OD');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.requeue(ARRAY[:'dead'::uuid]) \g /dev/null
SELECT pg_temp.send('dead') \g /dev/null
SELECT is((SELECT reason FROM journey.outbox_history WHERE action_id = :'dead' ORDER BY finished_at DESC, status = 'refused' DESC LIMIT 1), 'ordered', 'the permit looks at those who are linked');

-- an event that was set aside
ALTER TABLE journey.orders ADD CONSTRAINT poison CHECK (order_id <> 'OS') NOT VALID;
SELECT pg_temp.guest('skip@guest.com', 'OS');
SELECT journey.run_until_idle() \g /dev/null
ALTER TABLE journey.orders DROP CONSTRAINT poison;
SELECT is((SELECT count(*) FROM journey.quarantine), 1::bigint, 'an order is set aside');
SELECT results_eq($$SELECT pg_temp.stopped('skip')$$, $$VALUES ('order_placed order:OS linked 2')$$, 'and stops those who are linked all the same');

-- in mode off
SELECT journey.set_clock(NULL) \g /dev/null
SELECT pg_temp.guest('off@guest.com', 'OO');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.set_clock('2026-03-02 14:31+00') \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('off')$$, $$VALUES ('order_placed order:OO linked 2')$$, 'a purchase counts while nothing else does');
SELECT journey.retire('journey', 'bare') \g /dev/null

-- ---- orders before the link -------------------------------------------------------
SELECT journey.apply(pg_temp.journey_doc('coffee', '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"stage": "consideration", "quiet_hours": {"from": "00:00", "to": "12:00", "zone": "UTC"}, "reentry": {"per": "key", "after": "0 days"},
      "suppress_on": [{"on": "order_line_placed", "match": "event.sku = key"}]}')) \g /dev/null
CREATE FUNCTION pg_temp.wish(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "COFFEE"}');
END $$;
CREATE FUNCTION pg_temp.line(mail text, order_id text, sku text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'order_line_placed', jsonb_build_object('email', mail), jsonb_build_object('order_id', order_id, 'sku', sku, 'quantity', 1, 'price', 5));
END $$;
SELECT pg_temp.move('2026-03-03 08:00+00');
SELECT pg_temp.two(c) FROM unnest(ARRAY['sox', 'cof', 'pre', 'old', 'gone']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.meet(c) FROM unnest(ARRAY['sox', 'cof']) c;
SELECT pg_temp.line('old@guest.com', 'LO', 'COFFEE');
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.wish(c) FROM unnest(ARRAY['sox', 'cof', 'pre', 'old', 'gone']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.line('sox@guest.com', 'LS', 'SOCKS'), pg_temp.line('cof@guest.com', 'LC', 'COFFEE'), pg_temp.line('pre@guest.com', 'LP', 'COFFEE');
SELECT journey.track('shop', 'order_placed', '{"email": "gone@guest.com"}', '{"order_id": "LG", "amount": 5}');
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT pg_temp.stopped('sox')$$, 'socks match nothing of the other');
SELECT results_eq($$SELECT pg_temp.stopped('cof')$$, $$VALUES ('order_line_placed order:LC linked 1')$$, 'coffee does');
SELECT is_empty($$SELECT pg_temp.stopped('pre')$$, 'of those who are not linked yet nothing is known');
SELECT pg_temp.meet(c) FROM unnest(ARRAY['pre', 'old', 'gone']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stopped('pre')$$, $$VALUES ('order_line_placed order:LP linked 1')$$, 'once they are linked, what was ordered since the entry catches up, matching or not');
SELECT is_empty($$SELECT pg_temp.stopped('old')$$, 'what was ordered before the entry does not');
SELECT is_empty($$SELECT pg_temp.stopped('gone')$$, 'nor what the journey does not list');
SELECT pg_temp.move('2026-03-03 12:00+00');
SELECT results_eq($$SELECT pg_temp.send(c) FROM unnest(ARRAY['sox', 'cof', 'pre', 'old', 'gone']) c$$,
    $$VALUES (true), (false), (false), (true), (true)$$, 'and so say the permits');
SELECT journey.run_until_idle() \g /dev/null

-- two carts, of which the order came between: it ends the first, whether it was decided before the link or after
SELECT journey.apply(pg_temp.cart_doc('{"name": "bare", "exit": []}')) \g /dev/null
CREATE FUNCTION pg_temp.sent(c text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', e.key, h.status, nullif(h.reason, '')) FROM journey.outbox_history h JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)
    WHERE h.profile_id = pg_temp.pid(c) ORDER BY 1
$$;
SELECT pg_temp.move('2026-03-04 10:00+00');
SELECT pg_temp.two(c), pg_temp.cart(c, 'A-' || c) FROM unnest(ARRAY['soon', 'late']) c \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.guest(c || '@guest.com', 'OM-' || c) FROM unnest(ARRAY['soon', 'late']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.cart(c, 'B-' || c) FROM unnest(ARRAY['soon', 'late']) c;
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.meet('soon');
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.move('2026-03-04 11:30+00');
SELECT pg_temp.meet('late');
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.send(c) FROM unnest(ARRAY['soon', 'late']) c \g /dev/null
SELECT results_eq($$SELECT pg_temp.sent('soon')$$, $$VALUES ('B-soon sent')$$, 'by the decision');
SELECT results_eq($$SELECT pg_temp.sent('late')$$, $$VALUES ('A-late refused ordered'), ('B-late sent')$$, 'by the claim');
SELECT journey.run_until_idle() \g /dev/null

-- an opt-out of the one ends what the other's enrollment sends, in the outbox or decided later
CREATE FUNCTION pg_temp.says(c text, type text, props jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', type, jsonb_build_object('email', c || '@guest.com'), props);
END $$;
SELECT pg_temp.move('2026-03-05 10:00+00');
SELECT pg_temp.two(c) FROM unnest(ARRAY['due', 'waits', 'sms', 'forgets']) c \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.meet(c) FROM unnest(ARRAY['due', 'waits', 'sms', 'forgets']) c \g /dev/null
SELECT pg_temp.cart('due', 'C-due') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.move('2026-03-05 10:30+00');
SELECT pg_temp.cart(c, 'C-' || c) FROM unnest(ARRAY['waits', 'sms', 'forgets']) c \g /dev/null
SELECT pg_temp.move('2026-03-05 11:00+00');
SELECT pg_temp.says('due', 'unsubscribed', '{"channel": "email"}'), pg_temp.says('waits', 'unsubscribed', '{"channel": "email"}'),
       pg_temp.says('sms', 'unsubscribed', '{"channel": "sms"}'), pg_temp.says('forgets', 'erased', '{}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT ok(NOT pg_temp.send('due'), 'what lay in the outbox is refused');
SELECT pg_temp.move('2026-03-05 11:31+00');
SELECT results_eq($$SELECT DISTINCT pg_temp.refusals('waits')$$, $$VALUES ('bare refused opted_out')$$, 'what is decided later is refused alike');
SELECT results_eq($$SELECT pg_temp.stands('forgets')$$, $$VALUES ('bare C-forgets exited erased')$$, 'an erasure ends the whole enrollment');
SELECT ok(pg_temp.send('sms'), 'an opt-out from another channel does not');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT pg_temp.orphans()', 'no row of any table is left behind');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
