-- Every system right and the journey wrong: what does not go together in one person's outbox is listed,
-- of messages that the engine itself has let out because no document forbade them.
-- mission: 181
-- What would break if this failed: nobody but the customer notices that two journeys disagree.
\ir ../fixtures/orchestrate.sql
SELECT plan(19);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE FUNCTION pg_temp.mail(name text, entry jsonb, more jsonb DEFAULT '{}', send jsonb DEFAULT '{}', wait text DEFAULT '1 hour') RETURNS jsonb LANGUAGE sql AS $$
    SELECT pg_temp.journey_doc(name, entry, jsonb_build_object('idle', jsonb_build_object('wait', jsonb_build_object('for', wait), 'next', 'mail'),
        'mail', jsonb_build_object('send', '{"channel": "email", "template": "t_plain"}'::jsonb || send, 'next', 'done'), 'done', '{"exit": "finished"}'::jsonb),
        '{"stage": "consideration", "suppress_on": ["subscription_paused"]}'::jsonb || more) $$;
CREATE FUNCTION pg_temp.found(c text, since timestamptz DEFAULT NULL, within interval DEFAULT '1 day') RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', to_char(at, 'DD HH24:MI'), kind, journey, status, against, to_char(against_at, 'DD HH24:MI'), because) FROM journey.contradictions(pg_temp.who(c), since, NULL, within) $$;
CREATE FUNCTION pg_temp.send_all() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(journey.ack(c.action_id, c.token, 'r-' || c.action_id)) FROM unnest('{email,sms}'::text[]) ch, journey.claim(ch, 100) c, journey.begin_send(c.action_id, c.token) b WHERE b.granted $$;
-- an hour passes, and what is due is sent
CREATE PROCEDURE pg_temp.until(moment timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.move(moment);
    COMMIT;
    PERFORM pg_temp.send_all();
    COMMIT;
    PERFORM journey.run_until_idle();
END $$;

-- journeys that no rule ties together
SELECT count(*) FROM journey.apply(jsonb_build_array(
    pg_temp.mail('basket', '{"on": "cart_item_added", "key": "cart"}'),
    pg_temp.mail('back', '{"on": "subscription_cancelled"}', '{"stage": "win_back"}'),
    pg_temp.mail('news', '{"on": "list_viewed"}'),
    pg_temp.mail('texts', '{"on": "searched"}', '{}', '{"channel": "sms"}'),
    pg_temp.mail('again', '{"on": "product_viewed", "data": {"sku": "event.sku"}}', '{}', '{"template": "t_sku", "data": {"sku": "entry.sku"}}'),
    pg_temp.mail('friday', '{"on": "order_placed", "key": "order", "data": {"order_id": "event.order_id"}}', '{"purpose": "service", "exclusion_group": {"per": "order", "name": "promise"}}'),
    pg_temp.mail('monday', '{"on": "order_paid", "key": "order", "data": {"order_id": "event.order_id"}}', '{"purpose": "service", "exclusion_group": {"per": "order", "name": "promise"}}', '{}', '3 hours')));
SELECT pg_temp.person(c), journey.track('shop', 'identified', pg_temp.who(c) || jsonb_build_object('phone', '+49301000' || n), '{}'),
       journey.track('shop', 'consent_granted', pg_temp.who(c), '{"channel": "sms", "purpose": "marketing"}')
FROM unnest('{cart,cart2,cart3,ret,ret2,tick,tick2,comp,comp2,prod,prod2,prom,prom2,prom3}'::text[]) WITH ORDINALITY AS x (c, n);
SELECT journey.run_until_idle();

-- each with its near miss: what came before, was settled, or is about something else
SELECT journey.track('shop', 'cart_item_added', pg_temp.who(c), jsonb_build_object('sku', 'J1', 'quantity', 1, 'price', 10, 'cart_id', 'C-' || c)) FROM unnest('{cart,cart2,cart3}'::text[]) c;
SELECT journey.track('shop', 'return_requested', pg_temp.who(c), jsonb_build_object('return_id', 'R-' || c, 'order_id', 'O-' || c, 'reason', 'too small')) FROM unnest('{ret,ret2}'::text[]) c;
SELECT journey.track('desk', 'ticket_opened', pg_temp.who(c), jsonb_build_object('ticket_id', 'T-' || c)) FROM unnest('{tick,tick2}'::text[]) c;
SELECT journey.track('shop', 'order_placed', pg_temp.who(c), jsonb_build_object('order_id', 'O-' || c, 'amount', 5, 'currency', 'EUR', 'lines', '[{"sku": "J1", "quantity": 1, "price": 5}, {"sku": "J2", "quantity": 1, "price": 5}]'::jsonb))
FROM unnest('{prod,prod2,prom,prom2,prom3}'::text[]) c;
SELECT journey.track('shop', 'list_viewed', pg_temp.who(c), '{"category": "shoes"}') FROM unnest('{tick,comp,comp2}'::text[]) c;
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 10:30+00');
SELECT journey.track('shop', 'order_placed', pg_temp.who('cart'), '{"order_id": "O-cart", "amount": 10, "currency": "EUR", "cart_id": "C-cart"}');
SELECT journey.track('shop', 'order_placed', pg_temp.who('cart3'), '{"order_id": "O-cart3", "amount": 10, "currency": "EUR", "cart_id": "another"}');
SELECT journey.track('shop', 'subscription_cancelled', pg_temp.who(c), '{"sku": "J1"}') FROM unnest('{ret,ret2}'::text[]) c;
SELECT journey.track('shop', 'return_received', pg_temp.who('ret2'), '{"return_id": "R-ret2", "order_id": "O-ret2"}');
SELECT journey.track('desk', 'ticket_closed', pg_temp.who('tick2'), '{"ticket_id": "T-tick2"}');
SELECT journey.track('shop', 'list_viewed', pg_temp.who('tick2'), '{"category": "shoes"}');
SELECT journey.track('shop', 'order_line_returned', pg_temp.who(c), jsonb_build_object('order_id', 'O-' || c, 'sku', 'J1', 'quantity', 1)) FROM unnest('{prod,prod2}'::text[]) c;
SELECT journey.track('shop', 'product_viewed', pg_temp.who('prod'), '{"sku": "J1"}'), journey.track('shop', 'product_viewed', pg_temp.who('prod2'), '{"sku": "J2"}');
SELECT journey.track('shop', 'order_paid', pg_temp.who(c), jsonb_build_object('order_id', 'O-' || o)) FROM (VALUES ('prom', 'prom'), ('prom2', 'other')) AS x (c, o);
CALL pg_temp.until('2026-03-02 11:00+00');
CALL pg_temp.until('2026-03-02 11:30+00');
SELECT journey.track('mailer', 'message_complained', pg_temp.who('comp'), jsonb_build_object('action_id', h.action_id)) FROM journey.outbox_history h WHERE h.profile_id = pg_temp.pid('comp');
SELECT journey.track('shop', 'searched', pg_temp.who(c), '{"query": "tent"}') FROM unnest('{comp,comp2}'::text[]) c;
SELECT journey.track('shop', 'order_placed', pg_temp.who('cart2'), '{"order_id": "O-cart2", "amount": 10, "currency": "EUR", "cart_id": "C-cart2"}');
CALL pg_temp.until('2026-03-02 13:30+00');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.outbox), 0::bigint, 'all has been sent');
SELECT results_eq($$SELECT h.status, count(*) FROM journey.outbox_history h GROUP BY 1$$, $$VALUES ('sent', 23::bigint)$$, 'and nothing refused');

SELECT results_eq($$SELECT pg_temp.found('cart')$$, $$VALUES ('02 11:00 | ordered_cart | basket | sent | order O-cart | 02 10:30 | it reminds of cart C-cart, which was ordered')$$, 'a reminder of what was ordered');
SELECT is_empty($$SELECT pg_temp.found('cart2')$$, 'not one that came before the order');
SELECT is_empty($$SELECT pg_temp.found('cart3')$$, 'nor of another cart');
SELECT results_eq($$SELECT pg_temp.found('ret')$$, $$VALUES ('02 11:30 | open_return | back | sent | return R-ret | 02 10:00 | it wins back somebody whose return is open')$$, 'a win-back beside an open return');
SELECT is_empty($$SELECT pg_temp.found('ret2')$$, 'not beside one that has arrived');
SELECT results_eq($$SELECT pg_temp.found('tick')$$, $$VALUES ('02 11:00 | open_ticket | news | sent | ticket T-tick | 02 10:00 | it advertises to somebody whose complaint is not settled')$$, 'advertising beside an open case');
SELECT is_empty($$SELECT pg_temp.found('tick2')$$, 'not after it was closed');
SELECT results_eq($$SELECT pg_temp.found('comp')$$, $$VALUES ('02 13:30 | complained | texts | sent | news/mail | 02 11:30 | it advertises to somebody who has reported a message as unwanted')$$, 'on another channel than the one complained about');
SELECT is_empty($$SELECT pg_temp.found('comp2')$$, 'not to who has not complained');
SELECT results_eq($$SELECT pg_temp.found('prod')$$, $$VALUES ('02 11:30 | returned_product | again | sent | order O-prod | 02 10:30 | it speaks of J1, which came back')$$, 'what came back');
SELECT is_empty($$SELECT pg_temp.found('prod2')$$, 'not what was kept');
SELECT results_eq($$SELECT pg_temp.found('prom')$$, $$VALUES ('02 13:30 | exclusion_group | monday | sent | friday/mail | 02 11:00 | both are of the group promise/O-prom, of which one speaks at a time')$$, 'two promises about one order');
SELECT is_empty($$SELECT pg_temp.found('prom2')$$, 'not about two');
SELECT is_empty($$SELECT pg_temp.found('prom', NULL, '2 hours')$$, 'nor at a distance');
SELECT is_empty($$SELECT pg_temp.found('prom', '2026-03-02 14:00+00')$$, 'within the time asked for');

-- also of what is about to go out
SELECT journey.track('shop', 'list_viewed', pg_temp.who('tick'), '{"category": "hats"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 15:00+00');
SELECT results_eq($$SELECT pg_temp.found('tick', '2026-03-02 14:00+00')$$, $$VALUES ('02 15:00 | open_ticket | news | pending | ticket T-tick | 02 10:00 | it advertises to somebody whose complaint is not settled')$$, 'also of what waits');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
