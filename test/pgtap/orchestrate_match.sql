-- suppress_on with match, own objects, scopes, and what an order names.
\ir ../fixtures/orchestrate.sql
SELECT plan(32);
SELECT pg_temp.move('2026-03-02 10:00+00');

-- socks do not end the coffee reminder
-- mission: 97
SELECT journey.apply(pg_temp.journey_doc('coffee', '{"on": "order_line_placed", "key": {"product": "event.sku"}, "when": "event.sku = ''COFFEE''"}',
    '{"wait": {"wait": {"for": "20 days"}, "next": "mail"},
      "mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"stage": "post_purchase", "reentry": {"per": "key", "after": "0 days"},
      "exit": [{"on": "order_line_placed", "match": "event.sku = key", "reason": "ordered"}],
      "suppress_on": [{"on": "order_line_placed", "match": "event.sku = key"}]}'));
CREATE FUNCTION pg_temp.line(c text, order_id text, sku text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'order_line_placed', pg_temp.who(c), jsonb_build_object('order_id', order_id, 'sku', sku, 'quantity', 1, 'price', 5));
END $$;
SELECT pg_temp.person(c) FROM unnest(ARRAY['sox', 'cof']) c;
SELECT journey.run_until_idle();
SELECT pg_temp.line(c, 'O-' || c, 'COFFEE') FROM unnest(ARRAY['sox', 'cof']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('sox')$$, $$VALUES ('coffee COFFEE wait active')$$, 'an order line enrolls, and its own event does not end it');
SELECT pg_temp.move('2026-03-22 10:00+00');
SELECT results_eq($$SELECT pg_temp.outbox('sox')$$, $$VALUES ('coffee mail email')$$, 'the reminder is due');
SELECT pg_temp.line('sox', 'O3', 'SOCKS');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('sox')$$, $$VALUES ('coffee mail email')$$, 'socks leave it where it is');
SELECT is((SELECT cardinality(matched) FROM journey.suppression WHERE profile_id = pg_temp.pid('sox') AND ref = 'order:O3'), 0, 'their fence matched nothing');
SELECT ok(pg_temp.send('sox'), 'and the permit is granted');
SELECT journey.run_until_idle();
SELECT pg_temp.line('cof', 'O4', 'COFFEE');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.outbox('cof')$$, 'coffee ends it');
SELECT results_eq($$SELECT pg_temp.stands('cof')$$, $$VALUES ('coffee COFFEE exited ordered'), ('coffee COFFEE wait active')$$, 'and begins the next');
SELECT journey.retire('journey', 'coffee');

-- suppress_on with match and without an exit: the action is refused, the enrollment takes the edge
SELECT journey.apply(pg_temp.journey_doc('watch', '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done", "on_refused": "other"},
      "other": {"exit": "bought"}, "done": {"exit": "finished"}}',
    '{"stage": "consideration", "quiet_hours": {"from": "00:00", "to": "12:00", "zone": "UTC"}, "suppress_on": [{"on": "order_line_placed", "match": "event.sku = key"}]}'));
SELECT pg_temp.person('wat');
SELECT pg_temp.move('2026-04-01 11:00+00');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('wat'), '{"sku": "A"}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('wat'), '{"sku": "B"}');
SELECT journey.run_until_idle();
SELECT pg_temp.line('wat', 'O5', 'A');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-04-01 12:00+00');
SELECT ok(pg_temp.send('wat'), 'the other product''s mail is sent');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('wat')$$, $$VALUES ('watch A finished bought'), ('watch B finished finished')$$,
                  'what matched is refused and takes its edge, what did not is sent');

-- what cannot be judged stops: better one reminder less
SELECT pg_temp.person('unk');
SELECT pg_temp.move('2026-04-02 08:00+00');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('unk'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'order_line_placed', pg_temp.who('unk'), '{"order_id": "O6", "quantity": 1}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-04-02 12:00+00');
SELECT ok(NOT pg_temp.send('unk'), 'a line that does not say its product may be this one');
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'watch');

-- two scopes: an order in one ends nothing of the other
-- mission: 220
SELECT journey.apply('[{"kind": "source", "name": "blue", "system": "commerce", "scope": "blue"}, {"kind": "source", "name": "red", "system": "commerce", "scope": "red"}]'::jsonb);
SELECT journey.apply(pg_temp.cart_doc());
SELECT pg_temp.person('two', true, 'blue');
SELECT pg_temp.person('two', true, 'red');
SELECT pg_temp.move('2026-04-02 10:00+00');
SELECT pg_temp.cart('two', 'CB', 'J1', 'blue');
SELECT pg_temp.cart('two', 'CR', 'J1', 'red');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('two', 'OB', 'blue');
SELECT pg_temp.move('2026-04-02 11:00+00');
SELECT results_eq($$SELECT e.scope || ' ' || coalesce(e.step, e.exit_reason) FROM journey.enrollment e WHERE e.profile_id = pg_temp.pid('two') ORDER BY 1$$,
                  $$VALUES ('blue ordered'), ('red remind')$$, 'an order in one brand leaves the other''s cart alone');
SELECT ok(pg_temp.send('two'), 'and its reminder is granted');
SELECT journey.run_until_idle();
-- unless the house says that fences cross scopes
-- mission: 220
SELECT pg_temp.person(c, true, s) FROM unnest(ARRAY['near', 'far', 'early', 'both']) c, unnest(ARRAY['blue', 'red']) s;
SELECT pg_temp.cart('near', 'CN', 'J1', 'red');
SELECT pg_temp.move('2026-04-02 12:00+00');
SELECT pg_temp.buy('near', 'ON', 'blue');
SELECT ok(pg_temp.send('near'), 'an order that nobody has read yet stops no reminder of another brand');
SELECT journey.run_until_idle();
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC", "fences_cross_scopes": true}'::jsonb);
SELECT journey.apply(pg_temp.journey_doc('tip', '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"idle": {"wait": {"for": "1 hour"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"caps": [{"scope": "journey", "channel": "email", "max": 1, "per": "1 day", "window": "rolling"}]}'));
SELECT pg_temp.cart('far', 'CF', 'J1', 'red'), pg_temp.cart('early', 'CE', 'J1', 'red');
SELECT journey.track('red', 'wishlist_added', pg_temp.who('early'), '{"sku": "A"}');
SELECT journey.track('blue', 'wishlist_added', pg_temp.who('both'), '{"sku": "A"}');
SELECT pg_temp.move('2026-04-02 12:30+00');
SELECT pg_temp.buy('early', 'OE', 'blue');
SELECT journey.track('red', 'wishlist_added', pg_temp.who('both'), '{"sku": "B"}');
SELECT pg_temp.move('2026-04-02 13:00+00');
SELECT results_eq($$SELECT pg_temp.stands('early')$$, $$VALUES ('cart CE exited ordered'), ('tip A finished finished')$$, 'with the house''s word it ends the other brand''s cart');
SELECT results_eq($$SELECT pg_temp.refusals('early')$$, $$VALUES ('tip refused ordered')$$, 'and what is decided later');
SELECT pg_temp.buy('far', 'OF', 'blue');
SELECT ok(NOT pg_temp.send('far'), 'before anybody has read it, the permit is refused');
SELECT is((SELECT reason FROM journey.outbox_history WHERE profile_id = pg_temp.pid('far')), 'ordered', 'for that order');
SELECT ok(pg_temp.send('both'), 'somebody else gets a mail of one brand');
SELECT pg_temp.move('2026-04-02 13:30+00');
SELECT ok(pg_temp.send('both'), 'and of the other: caps still count brand by brand');
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'tip');
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC"}'::jsonb);
-- a journey of one scope only
SELECT journey.apply(pg_temp.journey_doc('red_only', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"scope": "red"}'));
SELECT journey.track('blue', 'wishlist_added', pg_temp.who('two'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT 1 FROM journey.enrollment WHERE journey = 'red_only'$$, 'a journey of one scope takes no event of another');
SELECT journey.track('red', 'wishlist_added', pg_temp.who('two'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT isnt_empty($$SELECT 1 FROM journey.enrollment WHERE journey = 'red_only'$$, 'and takes its own');

-- a cancelled order takes its suppression back
SELECT pg_temp.person('rel');
SELECT pg_temp.buy('rel', 'OX');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'order_cancelled', pg_temp.who('rel'), '{"order_id": "OX"}');
SELECT journey.run_until_idle();
SELECT isnt((SELECT released_by FROM journey.suppression WHERE profile_id = pg_temp.pid('rel') AND type = 'order_placed'), NULL, 'a cancelled order releases its fence');

-- an order that names two people ends the reminders of both
SELECT pg_temp.person(c) FROM unnest(ARRAY['him', 'her']) c;
SELECT pg_temp.move('2026-04-02 14:00+00');
SELECT pg_temp.cart('him', 'HC'), pg_temp.cart('her', 'SC');
SELECT pg_temp.move('2026-04-02 15:00+00');
SELECT journey.track('shop', 'order_placed', '{"customer_id": "him", "email": "her@example.com"}', '{"order_id": "OB", "amount": 10}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT s.type FROM journey.suppression s WHERE s.ref = 'order:OB' AND s.profile_id IN (pg_temp.pid('him'), pg_temp.pid('her'))$$,
                  $$VALUES ('order_placed'), ('order_placed')$$, 'an order that names two people stands before the sends of both');

-- an order that names the cart of somebody else
SELECT pg_temp.person('gst');
SELECT pg_temp.move('2026-04-03 10:00+00');
SELECT pg_temp.cart('gst', 'GC');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'order_placed', '{"email": "partner@example.com"}', '{"order_id": "OG", "cart_id": "GC", "amount": 10, "currency": "EUR"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('gst')$$, $$VALUES ('cart GC exited ordered')$$, 'an order ends the cart that it names, whoever placed it');

-- caps, too, count brand by brand until the house says that they cross scopes; then decisions and permits count all
-- mission: 220
CREATE FUNCTION pg_temp.house(more jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.apply('{"kind": "policy", "name": "house", "zone": "UTC"}' || more);
END $$;
CREATE FUNCTION pg_temp.two_brands(c text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(concat_ws(' ', e.scope, e.exit_reason, h.status, nullif(d.reason, '')), ', ' ORDER BY e.scope)
            FROM journey.enrollment e LEFT JOIN journey.outbox_history h USING (bucket, profile_id, enrollment_id)
            LEFT JOIN journey.decision d ON d.enrollment_id = e.enrollment_id AND d.verdict = 'refused' WHERE e.profile_id = pg_temp.pid(c));
END $$;
SELECT journey.retire('journey', name) FROM journey.document WHERE kind = 'journey' AND state = 'active';
SELECT journey.apply(pg_temp.journey_doc(name, '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "sent"}, "sent": {"exit": "sent"}, "done": {"exit": "not"}}',
    jsonb_build_object('scope', name, 'caps', '[]'::jsonb)))
FROM unnest(ARRAY['blue', 'red']) name;
SELECT journey.apply(pg_temp.journey_doc('any', '{"on": "product_viewed", "key": {"product": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "sent"}, "sent": {"exit": "sent"}, "done": {"exit": "not"}}',
    '{"caps": [{"channel": "email", "max": 1, "per": "1 day", "window": "rolling"}]}'));
\set cap '{"caps": [{"channel": "*", "max": 1, "per": "1 day", "window": "rolling"}]}'
-- each in turn: a blue mail sent, then a red one decided
CREATE PROCEDURE pg_temp.in_turn(c text, type text) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 0..1 LOOP
        PERFORM journey.track((ARRAY['blue', 'red'])[n + 1], type, pg_temp.who(c), jsonb_build_object('sku', n));
        COMMIT;
        PERFORM journey.run_until_idle();
        COMMIT;
        PERFORM pg_temp.send(c);
        COMMIT;
        PERFORM journey.run_until_idle();
        COMMIT;
    END LOOP;
END $$;
SELECT pg_temp.move('2026-04-20 10:00+00');
SELECT pg_temp.person(c, true, s) FROM unnest(ARRAY['apart', 'house', 'own', 'beside']) c, unnest(ARRAY['blue', 'red']) s;
SELECT journey.run_until_idle();
SELECT pg_temp.house(:'cap');
CALL pg_temp.in_turn('apart', 'wishlist_added');
SELECT is(pg_temp.two_brands('apart'), 'blue sent sent, red sent sent', 'a mail of one brand does not cap the other''s');
SELECT pg_temp.house('{"caps_cross_scopes": true}'::jsonb || :'cap');
CALL pg_temp.in_turn('house', 'wishlist_added');
SELECT is(pg_temp.two_brands('house'), 'blue sent sent, red not capped', 'it does when the house says so');
SELECT pg_temp.house('{"caps_cross_scopes": true}');
CALL pg_temp.in_turn('own', 'product_viewed');
SELECT is(pg_temp.two_brands('own'), 'blue sent sent, red not capped', 'in a journey of all brands with a cap of its own, too');
SELECT pg_temp.house(:'cap');
SELECT journey.track(s, 'wishlist_added', pg_temp.who('beside'), jsonb_build_object('sku', s)) FROM unnest(ARRAY['blue', 'red']) s;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.outbox WHERE profile_id = pg_temp.pid('beside')), 2::bigint, 'two were decided side by side');
SELECT pg_temp.house('{"caps_cross_scopes": true}'::jsonb || :'cap');
SELECT pg_temp.send('beside');
SELECT journey.run_until_idle();
SELECT matches(pg_temp.two_brands('beside'), '^(blue|red)( not refused capped| sent sent), (blue|red)( not refused capped| sent sent)$', 'permits count the house''s word of the moment');
SELECT is((SELECT count(*) FROM journey.attempt_log WHERE profile_id = pg_temp.pid('beside')), 1::bigint, 'and grant one');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
