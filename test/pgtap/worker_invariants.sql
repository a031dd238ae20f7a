-- check_invariants() after damage: each promise, broken by hand, is named, and
-- nothing is named before. Every test that moves data ends with this function.
\ir ../fixtures/orchestrate.sql
SELECT plan(54);

-- A past with a bit of everything: a reminder that was sent, one that an order stopped,
-- one that waits, one in a sender's hands, a held-out person, an opt-out, a shop's table.
CREATE TABLE public.shop_order (id integer PRIMARY KEY, customer text, status text);
SELECT count(*) FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}');
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(pg_temp.cart_doc('{"control": {"holdout": 0.5}, "caps": [{"scope": "journey", "channel": "email", "max": 1, "per": "1 day", "window": "rolling"}]}'));
SELECT pg_temp.person('p' || n), pg_temp.cart('p' || n, 'cart-' || n) FROM generate_series(1, 20) n \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.move('2026-03-02 11:30+00');
-- by the order of profiles the treated have an action
SELECT profile_id AS sent FROM journey.outbox ORDER BY profile_id LIMIT 1 \gset
SELECT profile_id AS bought FROM journey.outbox ORDER BY profile_id OFFSET 1 LIMIT 1 \gset
SELECT profile_id AS held FROM journey.outbox ORDER BY profile_id OFFSET 2 LIMIT 1 \gset
SELECT profile_id AS left FROM journey.outbox ORDER BY profile_id OFFSET 3 LIMIT 1 \gset
SELECT value AS sent_c FROM journey.identity WHERE profile_id = :'sent' AND namespace = 'customer_id' \gset
SELECT value AS bought_c FROM journey.identity WHERE profile_id = :'bought' AND namespace = 'customer_id' \gset
SELECT value AS held_c FROM journey.identity WHERE profile_id = :'held' AND namespace = 'customer_id' \gset
SELECT value AS left_c FROM journey.identity WHERE profile_id = :'left' AND namespace = 'customer_id' \gset
SELECT pg_temp.send(:'sent_c') \g /dev/null
CREATE TEMP TABLE hand AS SELECT * FROM journey.claim('email', 100);
INSERT INTO public.shop_order VALUES (1, :'bought_c', 'placed');
SELECT journey.track('web', 'unsubscribed', pg_temp.who(:'left_c'), '{"channel": "email"}');
SELECT b.granted FROM hand h, LATERAL journey.begin_send(h.action_id, h.token) b WHERE h.profile_id IN (:'bought', :'held', :'left') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.person('late'), pg_temp.cart('late', 'cart-late') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold before any damage');
SELECT results_eq($$SELECT DISTINCT status FROM journey._actions() ORDER BY 1$$,
    $$VALUES ('claimed'), ('refused'), ('sending'), ('sent')$$, 'and there is something to damage');

-- A row once more, with another value in one column.
CREATE FUNCTION pg_temp.again(r anyelement, col text, value anycompatible) RETURNS anyelement LANGUAGE sql AS $$
    SELECT jsonb_populate_record(r, jsonb_build_object(col, value))
$$;
-- Does it, looks, and takes it back.
CREATE FUNCTION pg_temp.damage(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
    n bigint;
BEGIN
    EXECUTE what;
    GET DIAGNOSTICS n = ROW_COUNT;
    SELECT string_agg(DISTINCT invariant, ' ' ORDER BY invariant) INTO found FROM journey.check_invariants();
    IF n = 0 AND what !~* '^\s*(alter|truncate)' THEN
        found := 'nothing was damaged';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'JT001', MESSAGE = 'looked';
EXCEPTION WHEN SQLSTATE 'JT001' THEN
    RETURN coalesce(found, 'nothing is named');
END $$;

-- I1, I11: what stood before the permit
-- mission: 97
SELECT matches(pg_temp.damage(format($$
    INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, occurred_at, effective_at, fence_xact, incarnation, lap)
    SELECT t.bucket, t.profile_id, 0, 'order_placed', 'order:x', '*', 'ordered', now(), now(), xid8 '3', b.incarnation, 1000000
    FROM journey.attempt_log t JOIN journey.permit_batch b USING (permit_batch) WHERE t.profile_id = %L$$, :'sent')), '\mI1\M', 'I1: a permit after an order that it could see');
SELECT is(pg_temp.damage(format($$
    INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, channel, purpose, occurred_at, effective_at, fence_xact, incarnation, lap)
    SELECT t.bucket, t.profile_id, 0, 'unsubscribed', '', '*', 'opted_out', 'email', '*', now(), now(), xid8 '3', b.incarnation, 1000000
    FROM journey.attempt_log t JOIN journey.permit_batch b USING (permit_batch) WHERE t.profile_id = %L$$, :'sent')), 'I11', 'I11: a permit after an opt-out that it could see');
-- a stop of another scope, or of the namespace of the channel's addresses
CREATE FUNCTION pg_temp.stop(who text, more text DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT format($f$
        INSERT INTO journey.suppression
        SELECT (jsonb_populate_record(NULL::journey.suppression, jsonb_build_object(
            'bucket', t.bucket, 'profile_id', t.profile_id, 'seq', 0, 'type', 'order_placed', 'ref', 'order:x', 'scope', t.scope,
            'channel', '*', 'purpose', '*', 'reason', 'ordered', 'occurred_at', now(), 'effective_at', now(), 'fence_xact', '3',
            'incarnation', b.incarnation, 'lap', 1000000, 'matched', '{}'::text[], 'linked', false, 'unread', false) || %2$L)).*
        FROM journey.attempt_log t JOIN journey.permit_batch b USING (permit_batch) WHERE t.profile_id = %1$L$f$, who, more)
$$;
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"scope": "red"}')), 'nothing is named', 'I1: not after an order of another scope');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"scope": "red"}') || $$;
    UPDATE journey.document SET doc = doc || '{"fences_cross_scopes": true}' WHERE kind = 'policy'$$), 'I1', 'I1: unless the policy of its moment says that scopes do not count');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"type": "unsubscribed", "ref": "", "reason": "opted_out", "channel": "post"}')), 'nothing is named', 'I11: not after an opt-out of another channel');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"type": "unsubscribed", "ref": "", "reason": "opted_out", "channel": "post"}') || $$;
    UPDATE journey.document SET doc = doc || '{"address": "post"}' WHERE kind = 'channel' AND name = 'email'$$), 'I11', 'I11: unless it names the namespace of the channel''s addresses');
-- what ends everything, listed or not
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"type": "erased", "ref": "", "reason": "erased"}')), 'I1', 'I1: a permit for somebody who was erased');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"type": "restricted", "ref": "", "reason": "restricted"}')), 'I1', 'I1: or whose data were to rest');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"type": "erased", "ref": "", "reason": "erased"}') || format($$;
    UPDATE journey.outbox_history SET payload = payload || '{"_remove": true}' WHERE profile_id = %L$$, :'sent')), 'nothing is named', 'I1: but for what takes them out of an audience');
-- an earlier life of the database: its transaction ids say nothing here
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"incarnation": 0, "fence_xact": "4000000000"}')), 'I1', 'I1: a permit after an order of before adopt()');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"incarnation": 0, "fence_xact": "4000000000", "released_by": 1, "released_at": "2100-01-01"}')), 'nothing is named', 'I1: not when that was cancelled');
-- what was taken back, before the permit or after it
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"released_by": 1, "released_at": "2100-01-01", "released_xact": "4"}')), 'nothing is named', 'I1: not when it could see that the order was cancelled, whenever that was consumed');
SELECT is(pg_temp.damage(pg_temp.stop(:'sent', '{"released_by": 1, "released_at": "2000-01-01", "released_xact": "4000000000"}')), 'I1', 'I1: when the order was cancelled afterwards');
-- somebody with whom events have linked the person
CREATE FUNCTION pg_temp.links(who text, VARIADIC more text[]) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.stop(who, format('{"bucket": %s, "profile_id": "%s"}', journey.bucket(md5('last')::uuid), md5('last')::uuid)) || string_agg(format($f$;
        INSERT INTO journey.profile_link (bucket, profile_id, other_bucket, other_id, strong, source, since, link_xact, incarnation)
        SELECT journey.bucket(x), x, journey.bucket(y), y, %s, 'x', now(), xid8 '%s', n.incarnation
        FROM (VALUES (%3$L::uuid, %4$L::uuid), (%4$L, %3$L)) v (x, y), journey.node n$f$,
        m ->> 0, m ->> 1, CASE n WHEN 1 THEN who::uuid ELSE md5('between')::uuid END,
        CASE WHEN n = cardinality(more) THEN md5('last')::uuid ELSE md5('between')::uuid END), '')
    FROM unnest(more::jsonb[]) WITH ORDINALITY u (m, n)
$$;
SELECT is(pg_temp.damage(pg_temp.links(:'sent', '[false, 3]')), 'I1', 'I1: a permit after the order of somebody linked');
SELECT is(pg_temp.damage(pg_temp.links(:'sent', '[true, 3]', '[true, 3]')), 'I1', 'I1: or of somebody further off');
SELECT is(pg_temp.damage(pg_temp.links(:'sent', '[true, 3]', '[false, 3]')), 'nothing is named', 'I1: but not over a browser that another had');
SELECT is(pg_temp.damage(pg_temp.links(:'sent', '[true, 3]', '[true, 4000000000]')), 'nothing is named', 'I1: nor over a link that it could not see');
-- I2: books of decisions and actions
SELECT matches(pg_temp.damage(format('DELETE FROM journey.outbox_history WHERE profile_id = %L', :'sent')), '\mI2\M', 'I2: an action is gone');
SELECT is(pg_temp.damage(format($$DELETE FROM journey.decision WHERE profile_id = %L AND verdict = 'enqueue'$$, :'held')), 'I2', 'I2: an action that nobody decided');
-- I3: one effect
SELECT matches(pg_temp.damage(format($$INSERT INTO journey.outbox_history SELECT (pg_temp.again(h, 'finished_at', h.finished_at + interval '1 hour')).* FROM journey.outbox_history h WHERE h.profile_id = %L$$, :'sent')), '\mI3\M', 'I3: sent twice');
SELECT matches(pg_temp.damage(format($$INSERT INTO journey.attempt_log SELECT (pg_temp.again(t, 'granted_at', t.granted_at + interval '1 hour')).* FROM journey.attempt_log t WHERE t.profile_id = %L$$, :'sent')), '\mI3\M', 'I3: an attempt number twice');
-- I4: what was stopped says why
SELECT is(pg_temp.damage(format($$
    WITH t AS (UPDATE journey.transition SET edge = 'next' WHERE profile_id = %1$L AND edge IN ('exit', 'refused'))
    DELETE FROM journey.decision WHERE profile_id = %1$L AND kind IN ('claim', 'permit')$$, :'left')), 'I4', 'I4: a refusal without its audit row');
SELECT is(pg_temp.damage(format($$INSERT INTO journey.decision SELECT (pg_temp.again(d, 'decision_id', gen_random_uuid())).* FROM journey.decision d WHERE d.profile_id = %L AND d.kind = 'permit' AND d.verdict = 'refused'$$, :'left')), 'I4', 'I4: refused twice');
-- I5: the control group
-- mission: 169
SELECT matches(pg_temp.damage(format($$UPDATE journey.enrollment SET arm = 'control' WHERE profile_id = %L$$, :'sent')), '\mI5\M', 'I5: a held-out person has an action');
SELECT is(pg_temp.damage($$UPDATE journey.exposure SET place = place / 2$$), 'I5', 'I5: a place that nobody can recompute');
SELECT is(pg_temp.damage($$UPDATE journey.exposure SET arm = 'other'$$), 'I5', 'I5: another arm than the enrollment');
-- I6: a cap
SELECT matches(pg_temp.damage(format($$
    INSERT INTO journey.attempt_log SELECT (pg_temp.again(t, 'action_id', gen_random_uuid())).* FROM journey.attempt_log t WHERE t.profile_id = %L$$, :'sent')), '\mI6\M', 'I6: two permits under a cap of one');
SELECT matches(pg_temp.damage(format($$
    INSERT INTO journey.attempt_log SELECT (pg_temp.again(pg_temp.again(t, 'action_id', gen_random_uuid()), 'purpose', 'service')).* FROM journey.attempt_log t WHERE t.profile_id = %1$L;
    UPDATE journey.attempt_log SET purpose = 'service' WHERE profile_id = %1$L$$, :'sent')), '\mI6\M', 'I6: of a service journey too');
SELECT matches(pg_temp.damage(format($$
    SELECT journey.apply(pg_temp.cart_doc('{"control": {"holdout": 0.5}, "caps": [{"scope": "journey", "channel": "email", "max": 9, "per": "1 day", "window": "rolling"}]}'));
    INSERT INTO journey.attempt_log SELECT (pg_temp.again(t, 'action_id', gen_random_uuid())).* FROM journey.attempt_log t WHERE t.profile_id = %L$$, :'sent')), '\mI6\M', 'I6: by the version that decided it, not by a wider one since');
SELECT doesnt_match(pg_temp.damage(format($$
    SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC", "caps": [{"channel": "*", "max": 1, "per": "1 day", "window": "rolling"}]}');
    INSERT INTO journey.attempt_log SELECT (pg_temp.again(pg_temp.again(t, 'action_id', gen_random_uuid()), 'journey', 'other')).* FROM journey.attempt_log t WHERE t.profile_id = %L$$, :'sent')), '\mI6\M', 'I6: nor by a cap of the house that came later');
-- I7: one state
SELECT matches(pg_temp.damage(format($$DELETE FROM journey.transition WHERE profile_id = %L AND n = 2$$, :'sent')), '\mI7\M', 'I7: a broken chain');
SELECT is(pg_temp.damage(format($$
    INSERT INTO journey.transition SELECT (pg_temp.again(pg_temp.again(t, 'n', t.n + 1), 'from_step', NULL::text)).* FROM journey.transition t WHERE t.profile_id = %L AND t.to_step IS NULL$$, :'sent')), 'I7', 'I7: a move after the end');
SELECT matches(pg_temp.damage(format($$UPDATE journey.enrollment SET step = 'idle' WHERE profile_id = %L$$, :'sent')), '\mI7\M', 'I7: stands where no step led');
SELECT matches(pg_temp.damage(format($$
    INSERT INTO journey.enrollment SELECT (pg_temp.again(pg_temp.again(e, 'enrollment_id', gen_random_uuid()), 'occurrence', 9)).* FROM journey.enrollment e WHERE e.profile_id = %L AND e.exited_at IS NULL$$, :'held')), '\mI7\M', 'I7: twice in one journey');
-- I9, I10: leases and times
SELECT is(pg_temp.damage(format($$UPDATE journey.outbox SET sender = NULL WHERE profile_id = %L$$, :'held')), 'I9', 'I9: in nobody''s hands');
SELECT is(pg_temp.damage(format($$INSERT INTO journey.attempt_log SELECT (pg_temp.again(t, 'attempt', t.attempt + 1)).* FROM journey.attempt_log t WHERE t.profile_id = %L$$, :'sent')), 'I9', 'I9: a token that served twice');
SELECT is(pg_temp.damage(format($$UPDATE journey.outbox SET due_at = due_at + interval '1 day' WHERE profile_id = %L$$, :'held')), 'I10', 'I10: a permit before its time');
SELECT is(pg_temp.damage(format($$UPDATE journey.outbox SET not_after = due_at - interval '1 day', due_at = due_at - interval '2 days' WHERE profile_id = %L$$, :'held')), 'I10', 'I10: a permit after its time');
-- the permits were at half past eleven in UTC, half past six in New York
CREATE FUNCTION pg_temp.quiet(what text, hours text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.damage(format('UPDATE journey.document SET doc = doc || %L WHERE kind = %L', '{"quiet_hours": ' || hours || '}', what) || more)
$$;
SELECT is(pg_temp.quiet('journey', '{"from": "11:00", "to": "12:00"}'), 'I10', 'I10: a permit in the journey''s quiet hours');
SELECT is(pg_temp.quiet('policy', '{"from": "21:00", "to": "11:31"}'), 'I10', 'I10: or in the house''s, over midnight');
SELECT is(pg_temp.quiet('journey', '{"from": "11:31", "to": "11:30"}'), 'nothing is named', 'I10: not at the minute when they end');
SELECT is(pg_temp.quiet('journey', '{"from": "06:00", "to": "07:00", "zone": "profile"}', $$; UPDATE journey.profile SET zone = 'America/New_York'$$), 'I10', 'I10: by the clock of the person');
SELECT is(pg_temp.quiet('journey', '{"from": "11:00", "to": "12:00"}', $$; UPDATE journey.profile SET zone = 'America/New_York', changed_at = '2026-03-02 11:31+00'$$), 'nothing is named', 'I10: who has moved since had another');
-- I12: the shop's tables
SELECT is(pg_temp.damage('ALTER TABLE public.shop_order DISABLE TRIGGER USER'), 'I12', 'I12: nobody watches the orders');
-- I13: nothing is forgotten
SELECT is(pg_temp.damage('DELETE FROM journey.timer'), 'I13', 'I13: waits for nothing');
SELECT is(pg_temp.damage($$
    UPDATE journey.lease SET until = until - interval '1 hour';
    UPDATE journey.outbox SET lease_until = lease_until - interval '1 hour' WHERE status = 'claimed'$$), 'I13', 'I13: a lease that ended long ago');
SELECT is(pg_temp.damage($$UPDATE journey.cart SET items = items + 1$$), 'I13', 'I13: a cart that does not add up');

-- what a lap has yet to tell or to end breaks nothing
SELECT journey.set_clock('2026-03-02 11:31+00');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'a clock that was moved is no lap');
SELECT journey.set_clock('2026-03-09 12:00+00');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'wherever it was moved');
SELECT journey.run_until_idle() \g /dev/null
SELECT ok(EXISTS (SELECT FROM journey.outbox_history h JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id) WHERE h.status = 'expired' AND e.exited_at IS NULL), 'an action has expired, which its enrollment has not been told');
SELECT is(pg_temp.damage('TRUNCATE journey.inbox_0, journey.inbox_1, journey.inbox_2'), 'I13', 'I13: and would never be told');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
