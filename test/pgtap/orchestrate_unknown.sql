-- A send whose outcome nobody knows, on a channel that holds it: the journey
-- goes on by on_unknown, and a person may still have it tried again.
\ir ../fixtures/orchestrate.sql
SELECT plan(15);
SELECT pg_temp.move('2026-03-02 10:00+00');

CREATE FUNCTION pg_temp.wish(c text, sku text DEFAULT 'A') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'wishlist_added', pg_temp.who(c), jsonb_build_object('sku', sku));
END $$;
CREATE FUNCTION pg_temp.line(c text, order_id text, sku text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'order_line_placed', pg_temp.who(c), jsonb_build_object('order_id', order_id, 'sku', sku, 'quantity', 1, 'price', 5));
END $$;
-- Asks for the permit of a person's only action, or says what became of it; what belongs to others is given back.
CREATE FUNCTION pg_temp.permit(c text, OUT action_id uuid, OUT token bigint, OUT answer text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM journey.claim('email', 100) LOOP
        IF r.profile_id = pg_temp.pid(c) THEN
            SELECT r.action_id, r.token, CASE WHEN b.granted THEN 'granted' ELSE b.reason END
            INTO permit.action_id, permit.token, answer FROM journey.begin_send(r.action_id, r.token) b;
        ELSE
            PERFORM journey.release(ARRAY[r.action_id], ARRAY[r.token]);
        END IF;
    END LOOP;
    IF token IS NULL THEN
        answer := (SELECT h.status || ' ' || h.reason FROM journey.outbox_history h WHERE h.profile_id = pg_temp.pid(c));
    END IF;
END $$;
-- Sent, and the provider did not answer.
CREATE FUNCTION pg_temp.lose(c text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    p record;
BEGIN
    SELECT * INTO p FROM pg_temp.permit(c);
    RETURN p.answer = 'granted' AND journey.unknown(p.action_id, p.token, 'time-out');
END $$;
CREATE FUNCTION pg_temp.retry(c text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN journey.resolve((SELECT o.action_id FROM journey.outbox o WHERE o.profile_id = pg_temp.pid(c) AND o.status = 'unknown'), 'retry');
END $$;
SELECT pg_temp.person(c) FROM unnest(ARRAY['fin', 'sox', 'liv', 'cof', 'out', 'old']) c;

-- one that ends by on_unknown, and one that waits on, each with a match
SELECT journey.apply(pg_temp.journey_doc('short', '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"stage": "consideration", "suppress_on": [{"on": "order_line_placed", "match": "event.sku = key"}]}'));
SELECT journey.run_until_idle();
SELECT pg_temp.wish(c) FROM unnest(ARRAY['fin', 'sox']) c;
SELECT journey.run_until_idle();
SELECT pg_temp.lose(c) FROM unnest(ARRAY['fin', 'sox']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('fin')$$, $$VALUES ('short A finished finished')$$, 'the journey does not wait for the outcome');
SELECT pg_temp.retry(c) FROM unnest(ARRAY['fin', 'sox']) c;
SELECT is((SELECT answer FROM pg_temp.permit('fin')), 'granted', 'retried, it is sent though its enrollment has finished');
SELECT pg_temp.line('sox', 'O1', 'SOCKS');
SELECT journey.run_until_idle();
SELECT is((SELECT answer FROM pg_temp.permit('sox')), 'order_line_placed', 'nobody judges a match for an enrollment that is over: any listed event ends it');
SELECT journey.retire('journey', 'short');

SELECT journey.apply(pg_temp.journey_doc('long', '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "later", "on_unknown": "later"},
      "later": {"wait": {"for": "7 days"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"stage": "consideration", "exit": [{"on": "cart_item_added", "reason": "warm"}], "suppress_on": [{"on": "order_line_placed", "match": "event.sku = key"}]}'));
SELECT journey.run_until_idle();
SELECT pg_temp.wish(c) FROM unnest(ARRAY['liv', 'cof', 'out', 'old']) c;
SELECT journey.run_until_idle();
SELECT pg_temp.lose(c) FROM unnest(ARRAY['liv', 'cof', 'out', 'old']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('liv')$$, $$VALUES ('long A later active')$$, 'another journey waits on');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('out'), '{"sku": "A", "quantity": 1, "price": 1, "cart_id": "C"}');
SELECT journey.run_until_idle();
SELECT pg_temp.retry(c) FROM unnest(ARRAY['liv', 'cof', 'out', 'old']) c;
SELECT pg_temp.line('liv', 'O2', 'SOCKS'), pg_temp.line('cof', 'O3', 'A');
SELECT journey.run_until_idle();
SELECT is((SELECT answer FROM pg_temp.permit('liv')), 'granted', 'a live enrollment is judged: what does not match does not end it');
SELECT is((SELECT answer FROM pg_temp.permit('cof')), 'refused order_line_placed', 'what matches does');
SELECT is((SELECT answer FROM pg_temp.permit('out')), 'superseded', 'an enrollment that an exit has ended sends nothing more');
SELECT pg_temp.move('2026-03-05 10:00+00');
SELECT is((SELECT status FROM journey.outbox_history WHERE profile_id = pg_temp.pid('old')), 'expired', 'tried again, it still expires');
SELECT journey.retire('journey', 'long');

-- what is held is live for nobody: its exclusion group is free, until it is to be tried again
SELECT journey.resolve(action_id, 'sent') FROM journey.outbox WHERE status = 'unknown';
SELECT journey.apply(jsonb_build_array(
    pg_temp.journey_doc('one', '{"on": "wishlist_added"}', '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"exclusion_group": "g"}'),
    pg_temp.journey_doc('two', '{"on": "product_viewed"}', '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"exclusion_group": "g"}')));
SELECT pg_temp.person(c) FROM unnest(ARRAY['hol', 'ret']) c;
SELECT pg_temp.wish(c) FROM unnest(ARRAY['hol', 'ret']) c;
SELECT journey.run_until_idle();
SELECT is((SELECT status FROM journey.health WHERE topic = 'unknown outcomes'), 'ok', 'health: nothing is on hold');
SELECT pg_temp.lose(c) FROM unnest(ARRAY['hol', 'ret']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT status, detail FROM journey.health WHERE topic = 'unknown outcomes'$$, $$VALUES ('warning', '2 on hold, the oldest for 00:00:00')$$, 'health counts them');
SELECT matches((SELECT hint FROM journey.health WHERE topic = 'unknown outcomes'), 'journey.resolve', 'and says what to do');
SELECT pg_temp.retry('ret');
SELECT journey.track('shop', 'product_viewed', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['hol', 'ret']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('hol') ORDER BY 1$$, $$VALUES ('one mail email'), ('two mail email')$$, 'while one waits for somebody the next journey of the group goes on');
SELECT results_eq($$SELECT pg_temp.refusals('ret')$$, $$VALUES ('two refused superseded')$$, 'one that is tried again has the group');
SELECT journey.resolve((SELECT action_id FROM journey.outbox WHERE profile_id = pg_temp.pid('hol') AND status = 'unknown'), 'failed');
SELECT is((SELECT status FROM journey.health WHERE topic = 'unknown outcomes'), 'ok', 'resolved, health is well again');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
