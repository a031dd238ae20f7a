-- What does not go as planned: several devices, a database that is off, a rule that breaks, a document that is replaced.
\ir ../fixtures/orchestrate.sql
\set pw `echo "$PGPASSWORD"`
SELECT plan(24);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(pg_temp.cart_doc());
SELECT journey.run_until_idle();

-- browsing on the phone, returning on the desktop: one customer, one enrollment, whichever way the two became known
-- mission: 14
SELECT journey.apply(pg_temp.journey_doc('browse', '{"on": "product_viewed"}',
    '{"idle": {"wait": {"for": "1 hour"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"identity": {"min_confidence": "medium"}}'));
SELECT journey.run_until_idle();
CREATE FUNCTION pg_temp.views(subject jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('web', 'product_viewed', subject, '{"sku": "J1"}');
END $$;
SELECT pg_temp.person(c) FROM unnest('{later,once,before}'::text[]) c;
SELECT pg_temp.views('{"anonymous_id": "before-phone"}'), pg_temp.views('{"anonymous_id": "before-desktop"}'), pg_temp.views('{"anonymous_id": "nobody-phone"}');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'browse'), 0::bigint, 'browsers of whom nothing more is known enter nothing');
-- one after the other, in laps of their own
SELECT pg_temp.views('{"anonymous_id": "later-phone", "email": "later@example.com"}'), journey.run_until_idle();
SELECT pg_temp.views('{"anonymous_id": "later-desktop", "customer_id": "later"}'), journey.run_until_idle();
SELECT pg_temp.views('{"anonymous_id": "later-desktop"}'), pg_temp.views('{"anonymous_id": "later-phone"}');
-- in one lap, and not yet known when the first pages are viewed
SELECT pg_temp.views('{"anonymous_id": "once-phone", "email": "once@example.com"}'), pg_temp.views('{"anonymous_id": "once-desktop", "customer_id": "once"}');
SELECT pg_temp.views('{"anonymous_id": "before-phone", "email": "before@example.com"}'), pg_temp.views('{"anonymous_id": "before-desktop", "customer_id": "before"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT i.value, count(*) FROM journey.enrollment e JOIN journey.identity i USING (profile_id) WHERE e.journey = 'browse' AND i.namespace = 'customer_id' GROUP BY 1 ORDER BY 1$$,
    $$VALUES ('before', 1::bigint), ('later', 1), ('once', 1)$$, 'two sessions of one customer give exactly one enrollment');
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'browse'), 3::bigint, 'and nobody else has one');
-- a cart that is filled on the phone and looked at on the desktop
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "later-phone"}', '{"sku": "J1", "quantity": 1, "price": 9, "cart_id": "M1"}');
SELECT journey.track('web', 'checkout_step_viewed', '{"anonymous_id": "later-phone"}', '{"step": "shipping", "cart_id": "M1"}');
SELECT journey.run_until_idle();
SELECT journey.track('web', 'checkout_step_viewed', '{"anonymous_id": "later-desktop"}', '{"step": "shipping", "cart_id": "M1"}');
SELECT journey.track('app', 'checkout_step_viewed', pg_temp.who('later'), '{"step": "shipping", "cart_id": "M1"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('later')$$, $$VALUES ('browse idle active'), ('cart M1 idle active')$$, 'a cart on both of them is one enrollment, too');
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT results_eq($$SELECT i.value, o.journey FROM journey.outbox o JOIN journey.identity i USING (profile_id) WHERE i.namespace = 'customer_id' ORDER BY 1, 2$$,
    $$VALUES ('before', 'browse'), ('later', 'browse'), ('later', 'cart'), ('once', 'browse')$$, 'and each gets one message');
SELECT journey.retire('journey', 'browse');

-- off: a purchase counts even while nothing else does
SELECT pg_temp.person('off');
SELECT pg_temp.cart('off', 'F1');
SELECT journey.run_until_idle();
UPDATE journey.node SET mode = 'off';
SELECT pg_temp.buy('off', 'FO');
SELECT journey.run_once();
SELECT is((SELECT count(*) FROM journey.suppression WHERE profile_id = pg_temp.pid('off')), 1::bigint, 'off: the fence becomes a suppression');
SELECT results_eq($$SELECT pg_temp.stands('off')$$, $$VALUES ('cart F1 exited ordered')$$, 'and it ends the journey');
UPDATE journey.node SET mode = 'test';
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT results_eq($$SELECT pg_temp.stands('off')$$, $$VALUES ('cart F1 exited ordered')$$, 'for good');
SELECT is_empty($$SELECT action_id FROM journey.outbox WHERE profile_id = pg_temp.pid('off')
                  UNION ALL SELECT action_id FROM journey.outbox_history WHERE profile_id = pg_temp.pid('off')$$, 'nothing was ever to be sent');

-- running people stay on their version; new ones enter the new one
SELECT pg_temp.person('old');
SELECT pg_temp.person('new');
SELECT pg_temp.cart('old', 'V1');
SELECT journey.run_until_idle();
SELECT journey.apply(pg_temp.cart_doc('{"priority": 99}'));
SELECT journey.run_until_idle();
SELECT pg_temp.cart('new', 'V2');
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT results_eq($$SELECT key, version FROM journey.enrollment WHERE key IN ('V1', 'V2') ORDER BY 1$$, $$VALUES ('V1', 1), ('V2', 2)$$, 'an enrollment is pinned to its version');
SELECT pg_temp.move('2026-03-02 13:00+00');
SELECT results_eq($$SELECT version, priority FROM journey.outbox WHERE journey = 'cart' AND profile_id IN (pg_temp.pid('old'), pg_temp.pid('new')) ORDER BY 1$$,
                  $$VALUES (1, 50), (2, 99)$$, 'to its last step');

-- a rule that breaks afterwards: an incident, the way on, no error
SELECT journey.apply(pg_temp.journey_doc('broken', '{"on": "wishlist_added"}',
    '{"fork": {"branch": [{"when": "profile.tier = ''gold''", "to": "gold"}], "else": "other", "on_unknown": "unknown"},
      "gold": {"exit": "gold"}, "other": {"exit": "other"}, "unknown": {"exit": "unknown"}}', '{"defaults": {"not_after": "1 day"}}'));
UPDATE journey.document SET doc = jsonb_set(doc, '{steps,fork,branch,0,when}', '"no_such_name = 1"') WHERE name = 'broken';
SELECT journey.apply('{"kind": "template", "name": "t_other", "content": {"en": {"body": "any change of a document refreshes them all"}}}'::jsonb);
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('old'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT ok('broken finished unknown' IN (SELECT pg_temp.stands('old')), 'a broken condition is unknown, never false');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'broken_rule'), 'journey/broken step fork', 'and an incident names it');
SELECT journey.retire('journey', 'broken');

-- one that fails on some values: unknown, an incident, and explain_rule tells the same
SELECT journey.apply(pg_temp.journey_doc('failing', '{"on": "wishlist_added"}',
    '{"fork": {"branch": [{"when": "1/0 = 1 and event.type = event.type", "to": "yes"}], "else": "other", "on_unknown": "unknown"},
      "yes": {"exit": "yes"}, "other": {"exit": "other"}, "unknown": {"exit": "unknown"}}', '{"defaults": {"not_after": "1 day"}}'));
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('new'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT ok('failing finished unknown' IN (SELECT pg_temp.stands('new')), 'a condition that fails is unknown');
SELECT results_eq($$SELECT name, message FROM journey.incident WHERE kind = 'rule_error'$$,
                  $$VALUES ('journey/failing step fork', 'division by zero')$$, 'and an incident says why');
SELECT journey.retire('journey', 'failing');

-- who would enter about an object that the event does not name
SELECT pg_temp.person('key');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('key'), '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "K1"}');
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('key'), '{"step": "shipping"}') FROM generate_series(1, 2);
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT verdict, reason, rule, repeats FROM journey.decision WHERE profile_id = pg_temp.pid('key')$$,
                  $$VALUES ('not_enrolled', 'no_key', 'event.cart_id', 2)$$, 'without the key nobody enters: one row, which counts and names it');
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('key'), '{"step": "shipping", "cart_id": "K1"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('key')$$, $$VALUES ('cart K1 idle active')$$, 'with it they do');

-- a type that has only just become a fence: some transaction may still write it without
CREATE EXTENSION dblink;
SELECT dblink_connect('other', format('dbname=%s host=%s port=%s user=%s password=%s', current_database(),
    :'HOST', :'PORT', :'USER', COALESCE(NULLIF(:'pw', ''), 'x'))) \g /dev/null
SELECT dblink_exec('other', 'BEGIN; CREATE TEMP TABLE earlier ()') \g /dev/null
SELECT journey.apply(pg_temp.journey_doc('eager', '{"on": "wishlist_added"}', '{"idle": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"suppress_on": ["order_placed", "ticket_opened"]}'));
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('key'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT verdict, reason FROM journey.decision WHERE journey = 'eager'$$, $$VALUES ('not_enrolled', 'not_effective')$$, 'while one is open nobody enters');
SELECT dblink_exec('other', 'COMMIT') \g /dev/null
SELECT dblink_disconnect('other') \g /dev/null
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('key'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT ok('eager idle active' IN (SELECT pg_temp.stands('key')), 'once it has been consumed they may');
SELECT journey.retire('journey', 'eager');

-- what one person does with another's cart ends the other's journey about it, whichever way the event came
SELECT journey.apply(pg_temp.journey_doc('shared', '{"on": "checkout_started", "key": "cart"}', '{"idle": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"exit": [{"on": "cart_viewed", "match": "event.cart_id = key", "reason": "seen"}]}'));
SELECT pg_temp.person(p) FROM unnest('{o1,o2,t1,t2}'::text[]) p;
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'checkout_started', pg_temp.who(p), jsonb_build_object('cart_id', 'C' || p)) FROM unnest('{o1,o2}'::text[]) p;
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'cart_viewed', '{"customer_id": "t1"}', '{"cart_id": "Co1"}');
INSERT INTO journey.inbox_copy (source, type, subject, props) VALUES ('shop', 'cart_viewed', '{"customer_id": "t2"}', '{"cart_id": "Co2"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands(p) FROM unnest('{o1,o2}'::text[]) p$$, $$VALUES ('shared Co1 exited seen'), ('shared Co2 exited seen')$$,
    'a copied event reaches whose cart it names as a tracked one does');
SELECT journey.retire('journey', 'shared');

-- erased and restricted people leave
SELECT pg_temp.person('gone');
SELECT pg_temp.cart('gone', 'G1');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'restricted', pg_temp.who('gone'), '{}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('gone')$$, $$VALUES ('cart G1 exited restricted')$$, 'a restricted person leaves every journey');

-- a retired journey takes nobody in, and lets those on it go on
SELECT journey.retire('journey', 'cart');
SELECT pg_temp.cart('new', 'R1');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT 1 FROM journey.enrollment WHERE key = 'R1'$$, 'a retired journey takes nobody in');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
