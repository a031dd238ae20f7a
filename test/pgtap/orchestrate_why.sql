-- preview, why, why_not, contacts: in words, from the rows.
\ir ../fixtures/orchestrate.sql
SELECT plan(24);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(pg_temp.cart_doc());
SELECT pg_temp.person('ann');
SELECT pg_temp.person('shy', false);
SELECT pg_temp.cart('ann', 'C1');
SELECT pg_temp.cart('shy', 'C2');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT pg_temp.send('ann');
SELECT journey.run_until_idle();

SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why(pg_temp.who('ann'), 'cart')),
               'entered cart.*started at idle.*idle to remind.*remind: decided to send.*permit 1 for email.*remind: sent.*remind to done.*ended at done', 'the whole way, in order');
SELECT matches((SELECT because FROM journey.why(pg_temp.who('ann'), 'cart') WHERE what LIKE 'entered%'),
               'event.step = ''shipping'' is true; cart.items > 0 is true', 'with the clauses of the entry');
SELECT isnt_empty($$SELECT * FROM journey.why((SELECT action_id FROM journey.outbox_history WHERE status = 'sent'))$$, 'by action');
SELECT isnt_empty($$SELECT * FROM journey.why((SELECT provider_ref FROM journey.outbox_history WHERE status = 'sent'))$$, 'by the provider''s reference');
SELECT is_empty($$SELECT * FROM journey.why(gen_random_uuid())$$, 'nothing for an unknown action');
SELECT is_empty($$SELECT * FROM journey.why('{"email": "nobody@example.com"}', 'cart')$$, 'nothing for an unknown person');

SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why_not(pg_temp.who('shy'), 'cart')), 'remind: refused \(opted_out', 'a refusal with its reason');
SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why_not(pg_temp.who('shy'), 'cart')), 'now: there is no consent to marketing', 'and what stands in the way now');
SELECT is((SELECT what FROM journey.why_not('{"email": "nobody@example.com"}', 'cart')), 'nobody is known by this subject', 'an unknown subject is told so');
SELECT is((SELECT what FROM journey.why_not(pg_temp.who('shy'), 'nope')), 'now: the journey is not live', 'and an unknown journey');
SELECT pg_temp.person('idle');
SELECT journey.run_until_idle();
SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why_not(pg_temp.who('idle'), 'cart')), 'no event that enters', 'somebody who has done nothing');

SELECT results_eq($$SELECT channel, journey, step, status FROM journey.contacts(pg_temp.who('ann'))$$, $$VALUES ('email', 'cart', 'remind', 'sent')$$, 'contacts lists what was sent');
SELECT is_empty($$SELECT * FROM journey.contacts(pg_temp.who('ann'), '2027-01-01')$$, 'within the time asked for');

-- what was given up and brought back tells the same story
SELECT pg_temp.person('eve');
SELECT pg_temp.cart('eve', 'C3');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT action_id AS a, token AS t FROM journey.claim('email') WHERE profile_id = pg_temp.pid('eve') \gset
SELECT granted FROM journey.begin_send(:'a'::uuid, :t) \gset
SELECT journey.fail(:'a'::uuid, :t, 'spam', code => 'content_rejected');
SELECT journey.run_until_idle();
SELECT journey.requeue(ARRAY[:'a']::uuid[]);
SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why(:'a'::uuid)),
               'entered cart.*remind: decided to send.*permit 1 for email.*failed.*ended at done', 'why(action) knows an action that was brought back');
SELECT ok(pg_temp.send('eve'), 'it is sent');
SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why('ref-' || :'a')),
               'entered cart.*permit 1 for email.*failed.*permit 2 for email.*remind: sent', 'and by the provider''s reference');
SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why(pg_temp.who('eve'), 'cart')),
               'entered cart.*permit 1 for email.*permit 2 for email.*remind: sent', 'and so does why(subject, journey)');

-- nor does history lose the permit of what is cancelled after it
SELECT pg_temp.person('flo');
SELECT pg_temp.cart('flo', 'C4');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 13:00+00');
SELECT action_id AS a, token AS t FROM journey.claim('email') WHERE profile_id = pg_temp.pid('flo') \gset
SELECT granted FROM journey.begin_send(:'a'::uuid, :t) \gset
SELECT journey.fail(:'a'::uuid, :t, 'down', code => 'provider_down');
SELECT pg_temp.buy('flo', 'O4');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT h.status, h.granted_at, h.permit_batch FROM journey.outbox_history h WHERE profile_id = pg_temp.pid('flo')$$,
                  $$SELECT 'cancelled', a.granted_at, a.permit_batch FROM journey.attempt_log a WHERE profile_id = pg_temp.pid('flo')$$, 'a cancelled action keeps its last permit');

-- preview
SELECT pg_temp.person('pre');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('pre'), '{"sku": "J9", "quantity": 1, "price": 10, "cart_id": "C9"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT step, verdict FROM journey.preview('cart', pg_temp.who('pre'))$$, $$VALUES ('(entry)', 'not_enrolled')$$, 'a preview says when nobody would enter');
SELECT pg_temp.move('2026-03-12 11:00+00');
SELECT results_eq($$SELECT step, what, verdict FROM journey.preview('cart', pg_temp.who('ann'), '2026-03-12 12:00+00')$$,
    $$VALUES ('(entry)', 'entry', 'enrolled'), ('idle', 'entry', NULL), ('remind', 'next', NULL), ('remind', 'send by email', 'enqueue'),
             ('done', 'next', NULL), ('(end)', 'exit', NULL)$$, 'the way with its verdicts');
SELECT is((SELECT at_time FROM journey.preview('cart', pg_temp.who('ann'), '2026-03-12 12:00+00') WHERE step = 'remind' AND what = 'next'),
          '2026-03-12 13:00+00'::timestamptz, 'and its times');
SELECT is((SELECT count(*) FROM journey.enrollment WHERE profile_id = pg_temp.pid('ann')), 1::bigint, 'nothing is written');
SELECT throws_ok($$SELECT * FROM journey.preview('nope', pg_temp.who('ann'))$$, '42704', NULL, 'an unknown journey is an error');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
