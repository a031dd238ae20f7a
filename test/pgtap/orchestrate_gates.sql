-- The gates of a send, each with a person whom only this gate stops.
\ir ../fixtures/orchestrate.sql
SELECT plan(104);
SELECT pg_temp.move('2026-03-02 10:00+00');

CREATE FUNCTION pg_temp.one_mail(name text, more jsonb DEFAULT '{}', send jsonb DEFAULT '{}', entry jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT pg_temp.journey_doc(name, '{"on": "wishlist_added"}'::jsonb || entry,
        jsonb_build_object('mail', jsonb_build_object('send', '{"channel": "email", "template": "t_plain"}'::jsonb || send, 'next', 'done'),
                           'done', '{"exit": "finished"}'::jsonb), more)
$$;
CREATE FUNCTION pg_temp.wish(c text, sku text DEFAULT 'J1', source text DEFAULT 'shop') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track(source, 'wishlist_added', pg_temp.who(c), jsonb_build_object('sku', sku));
END $$;
CREATE FUNCTION pg_temp.last_decision(c text, j text) RETURNS journey.decision LANGUAGE sql AS $$
    SELECT d FROM journey.decision d WHERE d.profile_id = pg_temp.pid(c) AND d.journey = j AND d.kind = 'step'
    ORDER BY d.decided_at DESC, d.lap DESC LIMIT 1
$$;

-- consent and address
-- mission: 116
SELECT journey.apply(pg_temp.one_mail('plain'));
SELECT pg_temp.person('no', false);
SELECT pg_temp.wish('no');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('no')$$, $$VALUES ('plain refused opted_out')$$, 'without a consent row nobody gets marketing');
SELECT is((pg_temp.last_decision('no', 'plain')).rule, 'consent and address', 'and the decision says which gate it was');
SELECT pg_temp.person('exp', false), pg_temp.person('abr', false);
SELECT journey.track('shop', 'consent_granted', pg_temp.who('exp'), '{"channel": "email", "purpose": "marketing", "expires_at": "2026-03-02T11:00:00Z"}');
SELECT journey.apply('{"kind": "source", "name": "abroad", "system": "commerce", "scope": "abroad"}'::jsonb);
SELECT journey.track('abroad', 'consent_granted', pg_temp.who('abr'), '{"channel": "email", "purpose": "marketing"}');
SELECT pg_temp.wish(c) FROM unnest(ARRAY['exp', 'abr']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('exp')$$, $$VALUES ('plain mail email')$$, 'while a consent lasts it is one');
SELECT results_eq($$SELECT pg_temp.refusals('abr')$$, $$VALUES ('plain refused opted_out')$$, 'what was granted to another brand is none here');
SELECT ok(pg_temp.send('exp'), 'and is sent under it');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT pg_temp.wish('exp');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('exp')$$, $$VALUES ('plain refused opted_out')$$, 'one that has run out is none');
SELECT journey.track('shop', 'consent_granted', '{"customer_id": "paper"}', '{"channel": "email", "purpose": "marketing"}');
SELECT journey.track('shop', 'wishlist_added', '{"customer_id": "paper"}', '{"sku": "J1"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('paper')$$, $$VALUES ('plain refused bad_address')$$, 'without an address nobody can be reached');
SELECT pg_temp.person('man');
SELECT journey.run_until_idle();
SELECT journey.suppress(pg_temp.who('man'), reason => 'asked by phone');
SELECT pg_temp.wish('man');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('man')$$, $$VALUES ('plain refused suppressed')$$, 'who was suppressed by hand is refused as that, not as opted out');
SELECT is((SELECT reason FROM journey.suppression WHERE profile_id = pg_temp.pid('man')), 'suppressed', 'as permits call it');
SELECT journey.retire('journey', 'plain');

-- the ladder of channels
SELECT journey.apply(pg_temp.one_mail('ladder', '{}', '{"channel": ["push", "email"]}'));
SELECT pg_temp.person('lad');
SELECT pg_temp.wish('lad');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('lad')$$, $$VALUES ('ladder mail email')$$, 'the first channel that reaches the person is taken');
SELECT is((pg_temp.last_decision('lad', 'ladder')).candidates -> 0 ->> 'reason', 'opted_out', 'and the decision says why not the one before');
SELECT journey.retire('journey', 'ladder');

-- vetoes of the house explain themselves
-- mission: 4
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC", "vetoes": [{"when": "profile.blocked = ''yes'' and orders.count = 0", "reason": "vetoed"}]}'::jsonb);
SELECT journey.apply(pg_temp.one_mail('vetoed'));
SELECT journey.track('shop', 'identified', pg_temp.who('vet'), '{"traits": {"blocked": "yes"}}');
SELECT pg_temp.person('vet');
SELECT pg_temp.wish('vet');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('vet')$$, $$VALUES ('vetoed refused vetoed')$$, 'a veto of the house refuses');
SELECT is((SELECT array_agg(c ->> 'verdict') FROM jsonb_array_elements((pg_temp.last_decision('vet', 'vetoed')).clauses) c), ARRAY['true', 'true'],
          'the decision has each clause with its verdict');
SELECT is((pg_temp.last_decision('vet', 'vetoed')).inputs ->> 'profile.blocked', 'yes', 'and the values it read');
SELECT ok((pg_temp.last_decision('vet', 'vetoed')).versions ? 'journey/vetoed', 'and the versions');
-- one that fails on a value, or no longer compiles, may forbid: better one message less
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC", "vetoes": [{"when": "profile.points::integer / 0 = 1 and profile.blocked = ''yes''", "reason": "vetoed"}]}'::jsonb);
SELECT pg_temp.person('sum'), pg_temp.person('fit');
SELECT journey.track('shop', 'identified', pg_temp.who('sum'), '{"traits": {"blocked": "yes", "points": "1"}}');
SELECT journey.track('shop', 'identified', pg_temp.who('fit'), '{"traits": {"blocked": "no", "points": "1"}}');
SELECT pg_temp.wish(c) FROM unnest(ARRAY['sum', 'fit']) c;
SELECT journey.run_until_idle();
SELECT is((pg_temp.last_decision('sum', 'vetoed')).verdict || ' ' || (pg_temp.last_decision('sum', 'vetoed')).reason, 'held stale_data', 'a veto that fails holds the message');
SELECT is((pg_temp.last_decision('sum', 'vetoed')).rule, 'policy/house v' || (SELECT version FROM journey.document WHERE kind = 'policy' AND state = 'active') || ' #1 cannot be judged', 'and the decision names it');
SELECT is((pg_temp.last_decision('fit', 'vetoed')).verdict, 'enqueue', 'one that is false all the same does not');
UPDATE journey.document SET doc = jsonb_set(doc, '{vetoes,0,when}', '"no_such_name = 1"') WHERE kind = 'policy' AND state = 'active';
SELECT journey._invalidate('journey.document');
SELECT pg_temp.person('gone');
SELECT pg_temp.wish('gone');
SELECT journey.run_until_idle();
SELECT is((pg_temp.last_decision('gone', 'vetoed')).verdict || ' ' || (pg_temp.last_decision('gone', 'vetoed')).reason, 'held stale_data', 'as does one that no longer compiles');
SELECT journey.retire('journey', 'vetoed');
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC"}'::jsonb);

-- rule sets: suppress refuses when true, eligible unless true; unknown is neither, and is not enough
SELECT journey.apply('{"kind": "rule_set", "name": "gate", "rules": [
    {"kind": "suppress", "when": "profile.mood = ''angry''", "reason": "angry"},
    {"kind": "suppress", "when": "profile.mood is null", "reason": "over", "valid_to": "2026-03-02T10:00:00Z"},
    {"kind": "eligible", "when": "profile.tier = ''gold''", "reason": "not_gold"}]}'::jsonb);
SELECT journey.apply(jsonb_build_array(pg_temp.one_mail('ruled'), pg_temp.one_mail('told', '{"purpose": "transactional"}') - 'control'));
SELECT journey.track('shop', 'identified', pg_temp.who(c), jsonb_build_object('traits', traits::jsonb))
FROM (VALUES ('angry', '{"mood": "angry", "tier": "gold"}'), ('calm', '{"mood": "calm", "tier": "gold"}'), ('mute', '{"tier": "gold"}'),
             ('tin', '{"mood": "calm", "tier": "tin"}'), ('none', '{"mood": "calm"}')) t(c, traits);
SELECT pg_temp.person(c), pg_temp.wish(c) FROM unnest(ARRAY['angry', 'calm', 'mute', 'tin', 'none']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT c, d.verdict, d.reason, d.rule FROM unnest(ARRAY['angry', 'calm', 'mute', 'tin', 'none']) WITH ORDINALITY p(c, n), pg_temp.last_decision(c, 'ruled') d ORDER BY n$$,
    $$VALUES ('angry', 'refused', 'angry', 'rule_set/gate v1 #1'), ('calm', 'enqueue', '', NULL), ('mute', 'enqueue', '', NULL),
             ('tin', 'refused', 'not_gold', 'rule_set/gate v1 #3'), ('none', 'refused', 'not_gold', 'rule_set/gate v1 #3')$$,
    'suppress and eligible refuse, by reason and rule');
SELECT is((pg_temp.last_decision('none', 'ruled')).clauses -> -1, '{"clause": "profile.tier = ''gold''", "verdict": null}', 'the decision has the clause that nobody could judge');
SELECT is((SELECT count(*) FROM journey.outbox WHERE journey = 'told'), 5::bigint, 'no rule stands above a transactional message');
SELECT journey.retire('journey', 'ruled'), journey.retire('journey', 'told'), journey.retire('rule_set', 'gate');

-- what is too old to be trusted holds a send until it is fresh, or too late
-- mission: 6, 129
SELECT journey.apply(pg_temp.one_mail('fresh', '{}', '{"require": [{"when": "source.age(''erp'') <= interval ''20 minutes''", "reason": "stale_data"}], "not_after": "30 minutes"}'));
SELECT journey.track('erp', 'price_changed', '{}', '{"sku": "J1", "price": 3}');
SELECT pg_temp.person('sta');
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT pg_temp.wish('sta');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('sta')$$, $$VALUES ('fresh held stale_data')$$, 'a source that was silent for too long holds the send');
SELECT results_eq($$SELECT pg_temp.stands('sta')$$, $$VALUES ('fresh mail active')$$, 'which waits where it is');
SELECT results_eq($$SELECT planned_at, wake_at FROM journey.timer$$, $$VALUES ('2026-03-02 11:30+00'::timestamptz, '2026-03-02 11:35+00'::timestamptz)$$, 'until a new time, and the one it was planned for is kept');
SELECT journey.track('erp', 'price_changed', '{}', '{"sku": "J1", "price": 4}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 11:35+00');
SELECT results_eq($$SELECT pg_temp.outbox('sta')$$, $$VALUES ('fresh mail email')$$, 'a few minutes after the source has spoken it is decided again');
SELECT is((SELECT not_after FROM journey.outbox WHERE profile_id = pg_temp.pid('sta')), '2026-03-02 12:00+00'::timestamptz, 'and may be sent no longer than if it had not been held');
SELECT pg_temp.person('stb');
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT pg_temp.wish('stb');
SELECT pg_temp.move('2026-03-02 12:20+00');
SELECT results_eq($$SELECT DISTINCT pg_temp.refusals('stb')$$, $$VALUES ('fresh held stale_data')$$, 'it is held as long as it may be sent');
SELECT pg_temp.move('2026-03-02 12:25+00'), pg_temp.move('2026-03-02 12:30+00');
SELECT results_eq($$SELECT verdict, reason FROM pg_temp.last_decision('stb', 'fresh')$$, $$VALUES ('refused', 'stale_data')$$, 'and then refused');
SELECT results_eq($$SELECT pg_temp.stands('stb')$$, $$VALUES ('fresh finished finished')$$, 'so that it takes its edge');
SELECT journey.retire('journey', 'fresh');

-- stock
-- mission: 12, 52
SELECT journey.apply(pg_temp.one_mail('stock', '{}', '{"template": "t_sku", "data": {"sku": "entry.sku"}, "require": ["stock:sku"]}', '{"data": {"sku": "event.sku"}}'));
SELECT journey.track('shop', 'stock_changed', '{}', '{"sku": "IN", "available": 3}');
SELECT journey.track('shop', 'stock_changed', '{}', '{"sku": "OUT", "available": 0}');
SELECT pg_temp.person('sto');
SELECT pg_temp.person('stu');
SELECT pg_temp.wish('sto', 'IN');
SELECT journey.run_until_idle();
SELECT pg_temp.wish('stu', 'OUT');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('sto')$$, $$VALUES ('stock mail email')$$, 'what is in stock is sent');
SELECT is((SELECT stock_sku FROM journey.outbox WHERE profile_id = pg_temp.pid('sto')), ARRAY['IN'], 'and is looked at again by the permit');
-- mission: 3
SELECT is((SELECT clauses FROM journey.message WHERE profile_id = pg_temp.pid('sto')), '[{"clause": "IN is in stock", "verdict": true}]', 'the action carries what made it eligible');
SELECT results_eq($$SELECT pg_temp.refusals('stu')$$, $$VALUES ('stock refused out_of_stock')$$, 'what is not is refused');
-- read again by whoever claims, where the shop keeps it: in its stock tables, over all of them, or in its table of products
CREATE FUNCTION pg_temp.claimed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    PERFORM journey.release(ARRAY[c.action_id], ARRAY[c.token]) FROM journey.claim('email', 100) c WHERE c.profile_id = pg_temp.pid('sto');
    SELECT concat_ws(' ', d.kind, d.verdict, d.reason) INTO answer FROM journey.decision d WHERE d.profile_id = pg_temp.pid('sto') AND d.kind = 'claim';
    RETURN coalesce(answer, 'claimed');
END $$;
CREATE TABLE shop_product (id text PRIMARY KEY, pieces int);
INSERT INTO shop_product VALUES ('IN', 0);
SELECT count(*) FROM journey.attach('shop_product', 'product', '{"sku": "id", "available": "pieces"}', backfill => false);
CREATE TABLE store_stock (sku text, on_hand int);
CREATE TABLE web_stock (sku text, on_hand int);
INSERT INTO store_stock VALUES ('IN', 0);
INSERT INTO web_stock VALUES ('IN', 1);
SELECT count(*) FROM unnest('{store_stock,web_stock}'::text[]) t CROSS JOIN LATERAL journey.attach(t::regclass, 'stock', backfill => false);
SELECT is(pg_temp.claimed(), 'claimed', 'sold out in one stock table and not in the other, it goes, whatever the product says');
SELECT count(*) FROM unnest('{store_stock,web_stock}'::text[]) t CROSS JOIN LATERAL journey.detach(t);
SELECT is(pg_temp.claimed(), 'claim refused out_of_stock', 'without them the table of products is asked, and a row refuses');
SELECT is_empty($$SELECT 1 FROM journey.attempt_log WHERE profile_id = pg_temp.pid('sto')$$, 'nothing is sent');
SELECT count(*) FROM journey.detach('shop_product');
-- where the shop's own table is attached it is read at the decision, whatever was observed last; so it is by rules
CREATE TABLE public.shop_stock (sku text PRIMARY KEY, on_hand text);
INSERT INTO public.shop_stock VALUES ('GONE', '3'), ('BACK', '0');
SELECT count(*) FROM journey.attach('shop_stock', 'stock', '{"sku": "sku", "available": "on_hand"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT sku, available FROM journey.product WHERE sku IN ('GONE', 'BACK') ORDER BY 1$$, $$VALUES ('BACK', 0::numeric), ('GONE', 3)$$, 'what was observed');
ALTER TABLE public.shop_stock DISABLE TRIGGER ALL;
UPDATE public.shop_stock SET on_hand = CASE sku WHEN 'GONE' THEN '0' ELSE '5' END;
ALTER TABLE public.shop_stock ENABLE ALWAYS TRIGGER journey_capture_stock;
SELECT pg_temp.person(c) FROM unnest(ARRAY['stv', 'stw', 'stx', 'sty']) c;
SELECT pg_temp.wish('stv', 'GONE'), pg_temp.wish('stw', 'BACK');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT d.verdict, d.reason, d.clauses -> -1 FROM pg_temp.last_decision('stv', 'stock') d$$,
    $$VALUES ('refused', 'out_of_stock', '{"clause": "GONE is in stock", "verdict": false}'::jsonb)$$, 'what has sold out is refused at the decision');
SELECT results_eq($$SELECT pg_temp.outbox('stw')$$, $$VALUES ('stock mail email')$$, 'what has come in is not');
SELECT ok(pg_temp.send('stw'), 'the permit agrees');
SELECT results_eq($$SELECT verdict, "values" -> 'product.available' FROM unnest(ARRAY['GONE', 'BACK']) sku, journey.explain_rule('product.available > 0', pg_temp.who('stw'), jsonb_build_object('sku', sku))$$,
    $$VALUES ('false', '0'::jsonb), ('true', '5')$$, 'rules read the same');
-- a table that cannot be read now leaves what was observed, and no lap waits for it
CREATE EXTENSION IF NOT EXISTS dblink;
\set pw `echo "$PGPASSWORD"`
SELECT dblink_connect('other', format('dbname=%s host=%s port=%s user=%s password=%s', current_database(), :'HOST', :'PORT', :'USER', COALESCE(NULLIF(:'pw', ''), 'x'))) \g /dev/null
SELECT dblink_exec('other', 'BEGIN; LOCK TABLE public.shop_stock IN ACCESS EXCLUSIVE MODE') \g /dev/null
SELECT pg_temp.wish('stx', 'GONE');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('stx')$$, $$VALUES ('stock mail email')$$, 'while the shop changes its table, what was observed counts');
SELECT dblink_exec('other', 'ROLLBACK'), dblink_disconnect('other') \g /dev/null
SELECT ok(NOT pg_temp.send('stx'), 'and the permit looks again');
SELECT journey.run_until_idle();
ALTER TABLE public.shop_stock DISABLE TRIGGER ALL;
UPDATE public.shop_stock SET on_hand = 'many' WHERE sku = 'BACK';
ALTER TABLE public.shop_stock ENABLE ALWAYS TRIGGER journey_capture_stock;
BEGIN;
SELECT pg_temp.wish('sty', 'GONE');
COMMIT;
BEGIN;
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT mode FROM pg_locks WHERE relation = 'public.shop_stock'::regclass$$, 'a lap holds no lock on the shop''s table to its end');
COMMIT;
SELECT results_eq($$SELECT pg_temp.refusals('sty')$$, $$VALUES ('stock refused out_of_stock')$$, 'one odd value is of its own product');
SELECT pg_temp.wish('sty', 'BACK');
SELECT journey.run_until_idle();
SELECT is((pg_temp.last_decision('sty', 'stock')).reason, 'out_of_stock', 'which is what was observed');
SELECT is_empty('SELECT * FROM journey.quarantine', 'and no event is to blame');
SELECT journey.detach('public.shop_stock');
SELECT journey.retire('journey', 'stock');

-- holdout: nobody of the control group is ever enqueued, and arms do not move
-- mission: 169, 171
SELECT journey.apply(pg_temp.one_mail('held', '{"control": {"holdout": 0.5}}'));
SELECT pg_temp.person('h' || n) FROM generate_series(1, 40) n;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('h' || n), '{"sku": "J1"}') FROM generate_series(1, 40) n;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.exposure WHERE journey = 'held'), 40::bigint, 'everybody who would be contacted is exposed');
SELECT is_empty($$SELECT 1 FROM journey.exposure x JOIN journey.outbox o USING (profile_id) WHERE x.journey = 'held' AND o.journey = 'held' AND x.arm = 'control'$$,
                'nobody of the control group is enqueued');
SELECT is((SELECT count(*) FROM journey.exposure x JOIN journey.outbox o USING (profile_id) WHERE x.journey = 'held' AND o.journey = 'held'),
          (SELECT count(*) FROM journey.exposure WHERE journey = 'held' AND arm = 'treatment'), 'everybody else is');
SELECT is_empty($$SELECT 1 FROM journey.exposure WHERE journey = 'held' AND (arm = 'control') <> (journey.assign('journey/held', profile_id) < 0.5)$$,
                'the arm is recomputed in SQL from salt and profile');
SELECT ok((SELECT count(*) FROM journey.exposure WHERE journey = 'held' AND arm = 'control') BETWEEN 10 AND 30, 'about half are held out');
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'held' AND status = 'held_out'),
          (SELECT count(*) FROM journey.exposure WHERE journey = 'held' AND arm = 'control'), 'they have walked to their first send');
SELECT journey.retire('journey', 'held');

-- the house holds people out of every marketing journey, whatever the journey's own control
-- mission: 169
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC", "holdout": 0.5}'::jsonb);
SELECT journey.apply(jsonb_build_array(pg_temp.one_mail('all'), pg_temp.one_mail('both', '{"control": {"holdout": 0.5}}')));
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('h' || n), '{"sku": "J1"}') FROM generate_series(1, 40) n;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT journey, held_by, salt, count(*) > 3 FROM journey.exposure WHERE journey IN ('all', 'both') GROUP BY 1, 2, 3 ORDER BY 1, 2$$,
    $$VALUES ('all', '', '', true), ('all', 'global', 'policy/house', true),
             ('both', '', 'journey/both', true), ('both', 'global', 'policy/house', true), ('both', 'journey', 'journey/both', true)$$,
    'the exposure says who holds a person out, and by which salt');
SELECT is_empty($$SELECT 1 FROM journey.exposure WHERE journey IN ('all', 'both') AND held_by IS DISTINCT FROM
    CASE WHEN journey.assign('policy/house', profile_id) < 0.5 THEN 'global' WHEN journey = 'both' AND journey.assign('journey/both', profile_id) < 0.5 THEN 'journey' ELSE '' END$$,
    'to be recomputed in SQL');
SELECT is_empty($$SELECT profile_id FROM journey.outbox WHERE journey IN ('all', 'both') AND journey.assign('policy/house', profile_id) < 0.5$$,
    'whom the house holds out gets nothing from either');
SELECT journey.retire('journey', 'all'), journey.retire('journey', 'both');
-- arms do not move with the policy, nor does who holds out
SELECT journey.apply(pg_temp.journey_doc('slow', '{"on": "wishlist_added"}',
    '{"idle": {"wait": {"for": "1 minute"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('h' || n), '{"sku": "J1"}') FROM generate_series(1, 40) n;
SELECT journey.run_until_idle();
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC"}'::jsonb);
SELECT pg_temp.move('2026-03-02 12:31+00');
SELECT results_eq($$SELECT held_by, salt, count(*) > 3 FROM journey.exposure WHERE journey = 'slow' AND arm = 'control' GROUP BY 1, 2$$,
    $$VALUES ('global', 'policy/house', true)$$, 'whom the house held out when they entered stays held out by the house');
SELECT journey.retire('journey', 'slow');

-- exclusion: one live action per person and group
SELECT journey.apply(jsonb_build_array(pg_temp.one_mail('low', '{"exclusion_group": "g", "priority": 10}'), pg_temp.one_mail('top', '{"exclusion_group": "g", "priority": 90}')));
SELECT pg_temp.person('exc');
SELECT pg_temp.wish('exc');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('exc')$$, $$VALUES ('top mail email')$$, 'the greater priority has the group');
SELECT results_eq($$SELECT pg_temp.refusals('exc')$$, $$VALUES ('low refused superseded')$$, 'the other is refused');
SELECT is((pg_temp.last_decision('exc', 'low')).candidates -> 0 ->> 'winner', 'top/mail', 'with the name of the winner');
SELECT journey.retire('journey', 'low');
SELECT journey.retire('journey', 'top');

-- what the same event ends stands in nobody's way
SELECT journey.apply(jsonb_build_array(
    pg_temp.one_mail('before', '{"exclusion_group": "g", "exit": [{"on": "order_placed", "reason": "ordered"}]}'),
    pg_temp.journey_doc('after', '{"on": "order_placed"}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
        '{"exclusion_group": "g", "stage": "post_purchase", "suppress_on": ["ticket_opened"]}')));
SELECT pg_temp.person(c), pg_temp.wish(c) FROM unnest(ARRAY['tha', 'thb']) c;
SELECT journey.run_until_idle();
SELECT action_id AS a, token AS t FROM journey.claim('email') WHERE profile_id = pg_temp.pid('thb') \gset
SELECT granted FROM journey.begin_send(:'a'::uuid, :t) \gset
SELECT journey.release(ARRAY[action_id], ARRAY[token]) FROM journey.outbox WHERE profile_id = pg_temp.pid('tha');
SELECT pg_temp.buy('tha', 'TH1'), pg_temp.buy('thb', 'TH2');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT journey || ' ' || status || ' ' || reason FROM journey.outbox_history WHERE profile_id = pg_temp.pid('tha')$$, $$VALUES ('before cancelled ordered')$$, 'a purchase cancels the reminder');
SELECT results_eq($$SELECT pg_temp.outbox('tha')$$, $$VALUES ('after mail email')$$, 'and thanks in its place');
SELECT results_eq($$SELECT pg_temp.outbox('thb')$$, $$VALUES ('before mail email')$$, 'what is being sent cannot be cancelled');
SELECT results_eq($$SELECT pg_temp.refusals('thb')$$, $$VALUES ('after refused superseded')$$, 'and keeps the group');
SELECT journey.ack(:'a', :t);
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'before'), journey.retire('journey', 'after');

-- one live action per order: of several journeys about one order one acts, and about another order the other may
SELECT journey.apply(jsonb_build_array(
    pg_temp.journey_doc('paid', '{"on": "order_paid", "key": "order"}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
        '{"purpose": "service", "priority": 10, "exclusion_group": {"per": "order", "name": "updates"}}') - 'control',
    pg_temp.journey_doc('parcel', '{"on": "delivery_delayed", "key": {"shipment": "event.shipment_id"}, "data": {"order_id": "event.order_id"}}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
        '{"purpose": "service", "priority": 90, "exclusion_group": {"per": "order", "name": "updates"}}') - 'control'));
SELECT pg_temp.person('ord');
SELECT journey.track('shop', 'delivery_delayed', pg_temp.who('ord'), '{"order_id": "X1", "shipment_id": "S1"}');
SELECT journey.track('shop', 'order_paid', pg_temp.who('ord'), jsonb_build_object('order_id', o)) FROM unnest(ARRAY['X1', 'X2']) o;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('ord')$$, $$VALUES ('paid mail email'), ('parcel mail email')$$, 'one action about each order');
SELECT results_eq($$SELECT e.key, e.status, o.exclusion FROM journey.enrollment e LEFT JOIN journey.outbox o USING (enrollment_id) WHERE e.profile_id = pg_temp.pid('ord') ORDER BY e.key$$,
    $$VALUES ('S1', 'active', 'updates/X1'), ('X1', 'finished', NULL), ('X2', 'active', 'updates/X2')$$, 'a parcel belongs to its order''s group');
SELECT results_eq($$SELECT pg_temp.refusals('ord')$$, $$VALUES ('paid refused superseded')$$, 'the other journey of that order is refused');
SELECT journey.retire('journey', 'paid'), journey.retire('journey', 'parcel');

-- caps
SELECT journey.apply(pg_temp.one_mail('capped', '{"caps": [{"scope": "journey", "channel": "email", "max": 1, "per": "1 day", "window": "rolling", "otherwise": "drop"}]}'));
SELECT pg_temp.person('cap');
SELECT pg_temp.wish('cap');
SELECT journey.run_until_idle();
SELECT ok(pg_temp.send('cap'), 'the first is sent');
SELECT journey.run_until_idle();
SELECT pg_temp.wish('cap');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('cap')$$, $$VALUES ('capped refused capped')$$, 'a second on the same day is refused at the decision');
SELECT pg_temp.move('2026-03-03 13:00+00');
SELECT pg_temp.wish('cap');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('cap')$$, $$VALUES ('capped mail email')$$, 'a day later it is not');
SELECT journey.retire('journey', 'capped');
SELECT journey.apply(jsonb_build_array(pg_temp.one_mail('other'), pg_temp.one_mail('own_cap', '{"caps": [{"max": 1, "per": "1 day"}]}', entry => '{"on": "product_viewed"}')));
SELECT pg_temp.person('own');
SELECT pg_temp.wish('own');
SELECT journey.run_until_idle();
SELECT pg_temp.send('own');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'product_viewed', pg_temp.who('own'), '{"sku": "J1"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('own')$$, $$VALUES ('own_cap mail email')$$, 'a journey''s cap that names no scope counts that journey');
SELECT ok(pg_temp.send('own'), 'at the permit as well');
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'other');
SELECT journey.retire('journey', 'own_cap');

-- a cap that says hold: the send waits until the cap opens, if it may still be sent then
SELECT journey.apply(pg_temp.one_mail('patient', '{"caps": [{"scope": "journey", "channel": "email", "max": 1, "per": "2 hours", "window": "rolling", "otherwise": "hold"}]}', '{"not_after": "90 minutes"}'));
SELECT pg_temp.person('hol');
SELECT pg_temp.wish('hol');
SELECT journey.run_until_idle();
SELECT ok(pg_temp.send('hol'), 'one is sent');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-03 13:20+00');
SELECT pg_temp.wish('hol');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT verdict, reason, rule, inputs ->> 'held_until' FROM pg_temp.last_decision('hol', 'patient')$$,
    $$VALUES ('refused', 'capped', 'cap: 1 per 02:00:00, journey', NULL)$$, 'a cap that opens too late refuses');
SELECT pg_temp.move('2026-03-03 14:00+00');
SELECT pg_temp.wish('hol');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT verdict, reason, (inputs ->> 'held_until')::timestamptz FROM pg_temp.last_decision('hol', 'patient')$$,
    $$VALUES ('held', 'capped', '2026-03-03 15:00+00'::timestamptz)$$, 'one that opens in time holds, until then');
SELECT journey.apply(pg_temp.one_mail('rungs', '{"caps": [{"channel": "email", "max": 1, "per": "2 hours", "window": "rolling", "otherwise": "hold"},
    {"channel": "sms", "max": 1, "per": "2 hours", "window": "rolling", "otherwise": "drop"}]}', '{"channel": ["email", "sms"]}', '{"on": "product_viewed"}'));
SELECT pg_temp.person('run');
SELECT journey.track('shop', 'identified', pg_temp.who('run') || '{"phone": "+4915112345678"}', '{}');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('run'), '{"channel": "sms", "purpose": "marketing"}');
SELECT journey.track('shop', 'product_viewed', pg_temp.who('run'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT pg_temp.send('run');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'product_viewed', pg_temp.who('run'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT pg_temp.send('run', 'sms');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'product_viewed', pg_temp.who('run'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT verdict, reason, (inputs ->> 'held_until')::timestamptz, (SELECT array_agg(c ->> 'channel' || ' ' || (c ->> 'reason')) FROM jsonb_array_elements(candidates) c WHERE c ? 'reason')
                    FROM pg_temp.last_decision('run', 'rungs')$$,
    $$VALUES ('held', 'capped', '2026-03-03 16:00+00'::timestamptz, ARRAY['email capped', 'sms capped'])$$, 'of two channels that are capped the one is waited for that opens');
SELECT journey.retire('journey', 'rungs');
SELECT results_eq($$SELECT planned_at, wake_at FROM journey.timer WHERE profile_id = pg_temp.pid('hol')$$,
    $$VALUES ('2026-03-03 14:00+00'::timestamptz, '2026-03-03 15:00+00'::timestamptz)$$, 'beside the time that it was planned for');
SELECT pg_temp.move('2026-03-03 14:59+00');
SELECT is_empty($$SELECT pg_temp.outbox('hol')$$, 'nothing is in the outbox before');
SELECT pg_temp.move('2026-03-03 15:00+00');
SELECT results_eq($$SELECT pg_temp.outbox('hol')$$, $$VALUES ('patient mail email')$$, 'then it is');
SELECT ok(pg_temp.send('hol'), 'and the permit agrees');
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'patient');

-- quiet hours: the person's zone; the original time is kept
-- mission: 129
SELECT journey.apply(pg_temp.one_mail('quiet', '{"quiet_hours": {"from": "21:00", "to": "08:00", "zone": "profile", "otherwise": "hold"}}'));
SELECT journey.track('shop', 'identified', pg_temp.who('ber'), '{"traits": {"zone": "Europe/Berlin"}}');
SELECT journey.track('shop', 'identified', pg_temp.who('nyc'), '{"traits": {"zone": "America/New_York"}}');
SELECT pg_temp.person(c) FROM unnest(ARRAY['ber', 'nyc']) c;
SELECT pg_temp.move('2026-03-28 22:30+00');
SELECT pg_temp.wish(c) FROM unnest(ARRAY['ber', 'nyc']) c;
SELECT journey.run_until_idle();
SELECT is((SELECT due_at FROM journey.outbox WHERE profile_id = pg_temp.pid('ber')), '2026-03-29 06:00+00'::timestamptz,
          'held to 08:00 in Berlin, in the night when the clocks go forward');
SELECT is((pg_temp.last_decision('ber', 'quiet')).inputs ->> 'due_at', '2026-03-28 22:30:00+00', 'the decision keeps the original time');
SELECT is((SELECT due_at FROM journey.outbox WHERE profile_id = pg_temp.pid('nyc')), '2026-03-28 22:30+00'::timestamptz, 'it is half past six in New York: sent now');
SELECT journey.retire('journey', 'quiet');

-- a journey's quiet hours are frozen with the decision; the house's are those of the moment
CREATE FUNCTION pg_temp.house(quiet jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.apply(jsonb_strip_nulls(jsonb_build_object('kind', 'policy', 'name', 'house', 'zone', 'UTC', 'quiet_hours', quiet)));
END $$;
SELECT journey.apply(jsonb_build_array(pg_temp.one_mail('loud'),
    pg_temp.one_mail('early', '{"quiet_hours": {"from": "03:00", "to": "04:00", "zone": "UTC"}}', entry => '{"on": "product_viewed"}')));
SELECT pg_temp.person(c) FROM unnest(ARRAY['lou', 'lat', 'ear']) c;
SELECT pg_temp.wish('lou'), journey.track('shop', 'product_viewed', pg_temp.who('ear'), '{"sku": "J1"}');
SELECT journey.run_until_idle();
SELECT pg_temp.house('{"from": "22:00", "to": "06:00", "zone": "UTC"}');
SELECT ok(NOT pg_temp.send('lou'), 'quiet hours of the house that begin after the decision hold at the permit');
SELECT results_eq($$SELECT reason, claim_at, due_at FROM journey.outbox WHERE profile_id = pg_temp.pid('lou')$$,
                  $$VALUES ('quiet_hours', '2026-03-29 06:00+00'::timestamptz, '2026-03-28 22:30+00'::timestamptz)$$, 'it waits for their end, and was due before');
SELECT ok(pg_temp.send('ear'), 'a journey with hours of its own goes by them');
SELECT journey.run_until_idle();
SELECT pg_temp.wish('lat');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT due_at, quiet FROM journey.outbox WHERE profile_id = pg_temp.pid('lat')$$, $$VALUES ('2026-03-29 06:00+00'::timestamptz, NULL::jsonb)$$,
                  'a decision goes by the house''s too, and does not freeze them');
SELECT pg_temp.house('{"from": "22:00", "to": "07:00", "zone": "profile"}');
SELECT pg_temp.move('2026-03-29 06:00+00');
SELECT ok(NOT pg_temp.send('lat'), 'when they grow longer it waits longer');
SELECT is((SELECT claim_at FROM journey.outbox WHERE profile_id = pg_temp.pid('lat')), '2026-03-29 07:00+00'::timestamptz, 'to their new end');
SELECT pg_temp.house(NULL);
SELECT pg_temp.move('2026-03-29 07:00+00');
SELECT ok(pg_temp.send('lat'), 'when there are none any more it is sent');
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'loud');
SELECT journey.retire('journey', 'early');

-- purposes: an order confirmation at 03:00 to a held-out, capped, unsubscribed buyer; a marketing mail in the same state
-- mission: 213
-- of the people who are there, the house holds out half: two of them, and three whom it does not
SELECT pg_temp.person('b' || n) FROM generate_series(1, 20) n;
SELECT journey.run_until_idle();
CREATE TEMP TABLE half AS
    SELECT c, held, row_number() OVER (PARTITION BY held ORDER BY n) AS nth
    FROM (SELECT n, 'b' || n AS c, journey.assign('policy/house', pg_temp.pid('b' || n)) < 0.5 AS held FROM generate_series(1, 20) n) x;
SELECT (SELECT c FROM half WHERE held AND nth = 1) AS buyer, (SELECT c FROM half WHERE held AND nth = 2) AS held,
       (SELECT c FROM half WHERE NOT held AND nth = 1) AS capped, (SELECT c FROM half WHERE NOT held AND nth = 2) AS gone,
       (SELECT c FROM half WHERE NOT held AND nth = 3) AS night \gset
-- two have had their mail of the month, two want no more
SELECT journey.apply(pg_temp.one_mail('before'));
SELECT pg_temp.wish(c) FROM unnest(ARRAY[:'buyer', :'capped']) c;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM unnest(ARRAY[:'buyer', :'capped']) c WHERE pg_temp.send(c)), 2::bigint, 'two have had a mail');
SELECT journey.run_until_idle();
SELECT journey.retire('journey', 'before');
SELECT journey.track('shop', 'unsubscribed', pg_temp.who(c), '{}') FROM unnest(ARRAY[:'buyer', :'gone']) c;
SELECT journey.run_until_idle();
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC", "holdout": 0.5, "caps": [{"channel": "*", "max": 1, "per": "30 days", "window": "rolling"}], "quiet_hours": {"from": "21:00", "to": "08:00"}}'::jsonb);
SELECT journey.apply(jsonb_build_array(
    pg_temp.journey_doc('confirmation', '{"on": "order_placed", "key": "order", "data": {"order_id": "event.order_id", "amount": "event.amount"}}',
        '{"mail": {"send": {"channel": "email", "template": "t_order", "data": {"order_id": "entry.order_id", "amount": "entry.amount"}}, "next": "done"}, "done": {"exit": "finished"}}',
        '{"purpose": "transactional", "suppress_on": ["order_placed"]}') - 'control',
    pg_temp.journey_doc('thanks', '{"on": "order_placed", "key": "order"}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}')));
SELECT pg_temp.move('2026-04-02 03:00+00');
SELECT pg_temp.buy(c, 'O-' || c) FROM unnest(ARRAY[:'buyer', :'held', :'capped', :'gone', :'night']) c;
SELECT journey.run_until_idle();
SELECT results_eq(format('SELECT pg_temp.outbox(%L)', :'buyer'), $$VALUES ('confirmation mail email')$$, 'the confirmation is enqueued, the marketing mail is not');
SELECT is((SELECT payload FROM journey.outbox WHERE journey = 'confirmation' AND profile_id = pg_temp.pid(:'buyer')),
          jsonb_build_object('order_id', 'O-' || :'buyer', 'amount', 50), 'with order and amount');
SELECT is((SELECT due_at FROM journey.outbox WHERE journey = 'confirmation' AND profile_id = pg_temp.pid(:'buyer')), '2026-04-02 03:00+00'::timestamptz, 'at once, although it is night');
SELECT is((SELECT own_ref FROM journey.outbox WHERE journey = 'confirmation' AND profile_id = pg_temp.pid(:'buyer')), 'order:O-' || :'buyer', 'its own order does not stop it');
SELECT ok(('thanks refused opted_out' IN (SELECT pg_temp.refusals(:'buyer'))), 'the marketing mail is refused');
-- each of the four reasons alone keeps a marketing mail back, and none a confirmation
SELECT results_eq(format($$SELECT verdict, reason, inputs ->> 'due_at' IS NULL FROM unnest(ARRAY[%L, %L, %L]) WITH ORDINALITY p(c, n), pg_temp.last_decision(c, 'thanks') ORDER BY n$$, :'held', :'capped', :'gone'),
    $$VALUES ('refused', 'holdout', true), ('refused', 'capped', true), ('refused', 'opted_out', true)$$, 'held out, capped, unsubscribed: a marketing mail to each is refused for that');
SELECT is((SELECT due_at FROM journey.outbox WHERE journey = 'thanks'), '2026-04-02 08:00+00'::timestamptz, 'to somebody who is none of these it waits for the morning');
SELECT is((SELECT array_agg(c) FROM unnest(ARRAY[:'buyer', :'held', :'capped', :'gone', :'night']) c WHERE NOT pg_temp.send(c)), NULL, 'all of them get the permit for the confirmation');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT journey, granted_at, count(*) FROM journey.attempt_log WHERE granted_at >= '2026-04-02 03:00+00' GROUP BY 1, 2$$,
    $$VALUES ('confirmation', '2026-04-02 03:00+00'::timestamptz, 5::bigint)$$, 'and nobody at that hour one for anything else');
SELECT is((SELECT DISTINCT arm FROM journey.enrollment WHERE journey = 'confirmation'), 'treatment', 'nobody is held out from what they have to know');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
