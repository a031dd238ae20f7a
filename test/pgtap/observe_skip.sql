-- An event that no lap can take is set aside; whom its fence stopped stays stopped.
\ir ../fixtures/orchestrate.sql
SELECT plan(32);
SELECT pg_temp.move('2026-03-02 10:00+00');

-- stands for whatever may raise while an order is applied
ALTER TABLE journey.orders ADD CONSTRAINT poison CHECK (amount IS DISTINCT FROM 66.66);

\ir ../lib/answer.sql
CREATE FUNCTION pg_temp.poison(c text, order_id text, more jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'order_placed', pg_temp.who(c), jsonb_build_object('order_id', order_id, 'amount', 66.66, 'currency', 'EUR') || more);
END $$;

CREATE TABLE shop_order (id text PRIMARY KEY, who text, status text, total numeric, mail text);
SELECT journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "who", "email": "mail"}, "status": "status", "amount": "total"}');
SELECT journey.apply(pg_temp.cart_doc());
SELECT pg_temp.person(c) FROM unnest(ARRAY['tracked', 'captured', 'named', 'quiet', 'other']) c;
SELECT pg_temp.cart(c, 'K-' || c) FROM unnest(ARRAY['tracked', 'captured', 'named', 'quiet', 'other']) c;
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT results_eq($$SELECT pg_temp.outbox(c) FROM unnest(ARRAY['tracked', 'captured', 'named', 'quiet', 'other']) c$$,
    $$SELECT 'cart remind email' FROM generate_series(1, 5)$$, 'five reminders are due');

SELECT pg_temp.poison('tracked', 'O1');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.quarantine), 1::bigint, 'a tracked order is set aside');
SELECT results_eq($$SELECT type, ref, scope, reason, cardinality(matched) FROM journey.suppression WHERE profile_id = pg_temp.pid('tracked')$$,
    $$VALUES ('order_placed', 'order:O1', 'default', 'ordered', 1)$$, 'its fence has become a suppression');
SELECT ok((SELECT s.fence_xact IS NOT NULL AND s.lap <= c.lap AND s.incarnation = c.incarnation FROM journey.suppression s, journey.cursor c
           WHERE s.profile_id = pg_temp.pid('tracked')), 'of the lap that moved the cursor');
SELECT isnt(pg_temp.answer('tracked'), 'granted', 'no permit');

INSERT INTO shop_order VALUES ('O2', 'captured', 'placed', 66.66);
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.quarantine), 2::bigint, 'a captured order is set aside');
SELECT isnt(pg_temp.answer('captured'), 'granted', 'and the permit is refused');

-- somebody else pays for the cart
SELECT pg_temp.poison('payer', 'O3', '{"cart_id": "K-named"}');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.suppression WHERE profile_id = pg_temp.pid('named') AND ref = 'order:O3'), 1::bigint,
    'the order''s cart names the person whose journey began with it');
SELECT isnt(pg_temp.answer('named'), 'granted', 'no permit for them either');

-- a link that is read later: the order came with a key that nobody knew
BEGIN;
SELECT journey.track('shop', 'order_placed', '{"customer_id": "guest"}', '{"order_id": "O4", "amount": 66.66, "currency": "EUR"}');
SELECT journey.track('shop', 'identified', '{"customer_id": "guest", "email": "quiet@example.com"}', '{}');
COMMIT;
SELECT journey.run_until_idle();
SELECT isnt(pg_temp.answer('quiet'), 'granted', 'a link behind the order counts');

SELECT is(pg_temp.answer('other'), 'granted', 'whom no order concerns gets the reminder');

-- with a match nobody can judge it any more: it counts as one, where the type is listed
SELECT journey.retire('journey', 'cart');
SELECT journey.apply(pg_temp.journey_doc('watch', '{"on": "wishlist_added"}',
    '{"idle": {"wait": {"for": "1 hour"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"suppress_on": [{"on": "order_placed", "match": "event.amount = 66.66"}]}'));
SELECT journey.apply(pg_temp.journey_doc('care', '{"on": "wishlist_added"}',
    '{"idle": {"wait": {"for": "1 hour"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"stage": "post_purchase", "suppress_on": ["subscription_renewed"]}'));
SELECT pg_temp.person('fan');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('fan'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT pg_temp.poison('fan', 'O5');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 13:00+00');
SELECT results_eq($$SELECT pg_temp.refusals('fan')$$, $$VALUES ('watch refused ordered')$$, 'what a match cannot judge stops the action');
SELECT results_eq($$SELECT pg_temp.outbox('fan')$$, $$VALUES ('care mail email')$$, 'a journey that lists other types goes on');

-- a release is not kept: what it would have given free stays stopped
INSERT INTO shop_order VALUES ('O6', 'fan', 'placed', 50);
SELECT journey.run_until_idle();
UPDATE shop_order SET status = 'cancelled', total = 66.66 WHERE id = 'O6';
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.quarantine), 6::bigint, 'a cancellation is set aside');
SELECT is((SELECT released_by FROM journey.suppression WHERE ref = 'order:O6'), NULL, 'and releases nothing');

-- a wildcard stays at its attachment
ALTER TABLE shop_order RENAME mail TO e_mail;
INSERT INTO shop_order VALUES ('O7', 'fan', 'placed', 66.66);
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.attachment WHERE broken IS NOT NULL), 1::bigint, 'a mapping that no longer fits stays broken');
SELECT is((SELECT count(*) FROM journey.suppression WHERE profile_id = pg_temp.pid('fan') AND ref = 'order:O7'), 1::bigint, 'and its order''s own fence is kept');

-- a complaint names its message only
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (type <> 'message_complained') NOT VALID;
SELECT journey.track('mailer', 'message_complained', '{}', jsonb_build_object('action_id', action_id)) FROM journey.outbox WHERE journey = 'care';
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT reason, channel FROM journey.suppression WHERE type = 'message_complained'$$, $$VALUES ('opted_out', '*')$$,
    'a complaint that is set aside still speaks for whom got the message');
SELECT isnt(pg_temp.answer('fan'), 'granted', 'and ends what is under way');
ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT results_eq($$SELECT channel, purpose, state FROM journey.consent WHERE profile_id = pg_temp.pid('fan')$$,
    $$VALUES ('email', 'marketing', 'complained')$$, 'and what may be decided later: the consent of its channel is gone');

-- an opt-out that is set aside counts for later decisions, too
CREATE FUNCTION pg_temp.consents(c text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(channel || ' ' || purpose || ' ' || state, ', ' ORDER BY channel) FROM journey.consent WHERE profile_id = pg_temp.pid(c)$$;
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source <> 'sick') NOT VALID;
CREATE TABLE opt (who text, what text, mail text);
SELECT journey.attach('opt', 'consent', '{"subject": {"customer_id": "who"}, "state": {"column": "what", "values": {"yes": "granted", "no": "revoked"}}, "channel": "mail", "purpose": {"const": "marketing"}}');
SELECT pg_temp.person(c) FROM unnest(ARRAY['one', 'all', 'row', 'back', 'late']) c;
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('one'), 'email marketing granted', 'everybody has agreed');
SELECT journey.track('sick', 'unsubscribed', pg_temp.who('one'), '{"channel": "email"}');
SELECT journey.track('sick', 'consent_revoked', pg_temp.who('all'), '{}');
SELECT journey.track('sick', 'unsubscribed', pg_temp.who('late'), '{"channel": "email"}', '2026-03-01 10:00+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('one'), 'email marketing revoked', 'an opt-out that is set aside takes the consent away');
SELECT is(pg_temp.consents('all'), 'email marketing revoked, onsite marketing revoked, push marketing revoked, retargeting marketing revoked, sms marketing revoked', 'one that names no channel, every consent');
SELECT is(pg_temp.consents('late'), 'email marketing granted', 'but not one that was given after it was written');
SELECT is((SELECT count(*) FROM journey.consent_history h WHERE h.profile_id = pg_temp.pid('one') AND h.state = 'revoked' AND h.proof @> '{"set_aside": true}'),
    1::bigint, 'which the history tells');
ALTER TABLE journey.event DROP CONSTRAINT poison;
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (NOT (source = 'commerce' AND type = 'unsubscribed')) NOT VALID;
INSERT INTO opt VALUES ('row', 'no', 'email');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('row'), 'email marketing revoked', 'a captured one does the same');
ALTER TABLE journey.event DROP CONSTRAINT poison;

-- several boxes of one customer, cleared at once
CREATE TABLE client (id text PRIMARY KEY, by_mail text, by_sms text, by_push text);
SELECT journey.attach('client', 'customer', jsonb_build_object('source', 'sick', 'subject', '{"customer_id": "id"}'::jsonb, 'consents',
    (SELECT jsonb_agg(jsonb_build_object('channel', c, 'purpose', 'marketing', 'column', b, 'values', '{"yes": "granted", "no": "revoked"}'::jsonb))
     FROM (VALUES ('email', 'by_mail'), ('sms', 'by_sms'), ('push', 'by_push')) v(c, b))));
INSERT INTO client VALUES ('boxes', 'yes', 'yes', 'yes'), ('beside', 'yes', 'yes', 'yes');
SELECT journey.run_until_idle();
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source <> 'sick') NOT VALID;
BEGIN;
UPDATE client SET by_mail = 'no', by_sms = 'no', by_push = 'no' WHERE id = 'boxes';
SELECT journey.track('shop', 'identified', pg_temp.who('behind'), '{}');
COMMIT;
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('boxes'), 'email marketing revoked, push marketing revoked, sms marketing revoked', 'each box that one row cleared takes its consent away');
SELECT isnt(pg_temp.pid('behind'), NULL, 'and what stood behind it is read');
ALTER TABLE journey.event DROP CONSTRAINT poison;

SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['one', 'all', 'row', 'back']) c;
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 15:00+00');
SELECT results_eq($$SELECT c, d.verdict, d.reason FROM unnest(ARRAY['one', 'all', 'row', 'back']) c
                    JOIN journey.decision d ON d.profile_id = pg_temp.pid(c) AND d.journey = 'care' AND d.verdict IN ('refused', 'enqueue') ORDER BY c$$,
    $$VALUES ('all', 'refused', 'opted_out'), ('back', 'enqueue', ''), ('one', 'refused', 'opted_out'), ('row', 'refused', 'opted_out')$$,
    'what is decided later mails none of them');
-- and one that names its message only
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (type <> 'unsubscribed') NOT VALID;
CREATE TABLE mails (what text, action uuid);
SELECT journey.attach('mails', 'message_event', '{"type": "what", "action_id": "action"}');
INSERT INTO mails SELECT 'unsubscribed', action_id FROM journey.outbox WHERE profile_id = pg_temp.pid('back');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('back'), 'email marketing revoked', 'an opt-out that names its message only speaks for whom got it');
ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT journey.track('shop', 'consent_granted', pg_temp.who('one'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('one'), 'email marketing granted', 'who agrees anew has agreed');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
