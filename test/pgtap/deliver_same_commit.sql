-- What stops a reminder in the commit that says it, whichever way in: nothing
-- is consumed between the commit and the sender's call.
-- mission: 1
\ir ../fixtures/orchestrate.sql
SELECT plan(13);
SELECT pg_temp.move('2026-03-02 10:00+00');
\ir ../lib/answer.sql

CREATE TABLE shop_order (id text PRIMARY KEY, who text, status text);
SELECT count(*) FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "who"}, "status": "status"}');
CREATE TABLE mails (id int PRIMARY KEY, what text, action text, ref text);
SELECT count(*) FROM journey.attach('mails', 'message_event', '{"type": {"column": "what", "values": {"spam": "message_complained", "open": "message_opened", "unsub": "unsubscribed"}}, "action_id": "action", "provider_ref": "ref"}');
CREATE TABLE mail_log (id int PRIMARY KEY, who text, what text, ref text);
SELECT count(*) FROM journey.attach('mail_log', 'message_event', '{"subject": {"customer_id": "who"}, "type": {"column": "what", "values": {"unsub": "unsubscribed"}}, "provider_ref": "ref"}');
CREATE TABLE shop_cart (id text PRIMARY KEY, who text, mail text);
SELECT count(*) FROM journey.attach('shop_cart', 'cart', '{"key": "id", "subject": {"customer_id": "who", "email": "mail"}}');
CREATE TABLE guest_order (id text PRIMARY KEY, mail text);
SELECT count(*) FROM journey.attach('guest_order', 'order', '{"key": "id", "subject": {"email": "mail"}}');
SELECT journey.apply(pg_temp.cart_doc());
SELECT journey.apply(pg_temp.journey_doc('news', '{"on": "wishlist_added"}',
    '{"first": {"send": {"channel": "email", "template": "t_plain"}, "next": "idle"}, "idle": {"wait": {"for": "1 hour"}, "next": "second"},
      "second": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
INSERT INTO shop_cart VALUES ('K-guest', 'guest', NULL);
SELECT pg_temp.person(c) FROM unnest(ARRAY['copied', 'pending', 'loaded', 'other', 'guest', 'angry', 'reader', 'leaver', 'walker']) c;
SELECT pg_temp.cart(c, 'K-' || c) FROM unnest(ARRAY['copied', 'pending', 'loaded', 'other', 'guest']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['angry', 'reader', 'leaver', 'walker']) c;
SELECT journey.run_until_idle();
SELECT journey.ack(c.action_id, c.token, 'prov-' || b.granted || '-' || c.action_id)
FROM journey.claim('email', 100) c, LATERAL journey.begin_send(c.action_id, c.token) b;
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT is((SELECT count(*) FROM journey.outbox), 9::bigint, 'five reminders and four second letters are due');

-- orders that a COPY brings into the shop's own table, between others
COPY shop_order (id, who, status) FROM stdin;
1	stranger	placed
2	copied	placed
3	pending	pending
\.
SELECT isnt(pg_temp.answer('copied'), 'granted', 'an order in a COPY into an attached table ends the reminder in its commit');
SELECT is(pg_temp.answer('pending'), 'granted', 'one that is not placed does not');
SELECT is(pg_temp.answer('other'), 'granted', 'nor anybody else''s');

-- COPY into the landing table makes no fence: documented, and so from consumption on
COPY journey.inbox_copy (source, type, subject, props) FROM stdin;
shop	order_placed	{"customer_id": "loaded"}	{"order_id": "L1"}
\.
SELECT is((SELECT count(*) FROM journey._fences() WHERE ref = 'order:L1'), 0::bigint, 'an order in inbox_copy is no fence');
SELECT journey.run_once();
SELECT isnt(pg_temp.answer('loaded'), 'granted', 'it ends the reminder once it has been consumed');

-- a complaint in the shop's own table of message events
INSERT INTO mails SELECT 1, 'spam', h.action_id FROM journey.outbox_history h WHERE h.profile_id = pg_temp.pid('angry') AND h.journey = 'news';
INSERT INTO mails SELECT 2, 'open', NULL, h.provider_ref FROM journey.outbox_history h WHERE h.profile_id = pg_temp.pid('reader') AND h.journey = 'news';
SELECT isnt(pg_temp.answer('angry'), 'granted', 'a complaint that a trigger captures stops the next letter in its commit');
SELECT is(pg_temp.answer('reader'), 'granted', 'an opening does not');

-- an opt-out there, whether the row names the person or only the message
INSERT INTO mails SELECT 3, 'unsub', h.action_id FROM journey.outbox_history h WHERE h.profile_id = pg_temp.pid('leaver') AND h.journey = 'news';
INSERT INTO mail_log SELECT 1, 'walker', 'unsub', h.provider_ref FROM journey.outbox_history h WHERE h.profile_id = pg_temp.pid('walker') AND h.journey = 'news';
SELECT isnt(pg_temp.answer('leaver'), 'granted', 'an opt-out that a trigger captures stops the next letter in its commit');
SELECT isnt(pg_temp.answer('walker'), 'granted', 'also when the row names the person');

-- an order under an address that a cart got while its trigger was off
ALTER TABLE shop_cart DISABLE TRIGGER journey_capture_cart;
UPDATE shop_cart SET mail = 'guest@home.example';
ALTER TABLE shop_cart ENABLE ALWAYS TRIGGER journey_capture_cart;
SELECT count(*) FROM journey.reconcile('shop_cart');
SELECT journey.run_until_idle();
INSERT INTO guest_order VALUES ('G1', 'guest@home.example');
SELECT isnt(pg_temp.answer('guest'), 'granted', 'an order under what reconcile found in the cart ends its reminder');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.consent WHERE state = 'revoked' AND channel = 'email' AND profile_id IN (pg_temp.pid('leaver'), pg_temp.pid('walker'))), 2::bigint,
    'and takes the consent of its channel back');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
