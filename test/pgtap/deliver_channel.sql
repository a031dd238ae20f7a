-- What the document of a channel says about its senders: who may claim, and the
-- link of the one-click unsubscribe (RFC 8058), in headers and contact.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(30);
SELECT journey.set_clock('2026-03-04 12:00+00') \gset
\ir ../lib/deliver.sql
SELECT lives_ok($$SELECT journey.apply('[
  {"kind": "channel", "name": "news", "mode": "push", "address": "email", "list_unsubscribe_url": "https://shop.example/bye?t={token}&c=news"},
  {"kind": "channel", "name": "plain", "mode": "push", "address": "email", "list_unsubscribe_url": "https://shop.example/bye"},
  {"kind": "channel", "name": "banner", "mode": "push", "list_unsubscribe_url": "https://shop.example/bye?t={token}"},
  {"kind": "channel", "name": "own", "mode": "push", "senders": ["jny_test_mailer", "jny_test_group"]}]')$$, 'the documents are taken');
SELECT is_empty($$SELECT * FROM journey.lint('{"kind": "channel", "name": "own", "mode": "push", "senders": ["jny_test_mailer"]}') WHERE code <> 'no_agreement' AND severity = 'error'$$, 'lint knows senders');
SELECT isnt_empty($$SELECT * FROM journey.lint('{"kind": "channel", "name": "own", "mode": "push", "senders": []}') WHERE severity = 'error'$$, 'and wants one at least');
SELECT isnt_empty($$SELECT * FROM journey.lint('{"kind": "channel", "name": "own", "mode": "push", "senders": "me"}') WHERE severity = 'error'$$, 'in a list');

-- List-Unsubscribe ------------------------------------------------------------------
CREATE FUNCTION pg_temp.permit(a uuid, OUT headers jsonb, OUT contact jsonb) LANGUAGE sql AS $$
    SELECT b.headers, b.contact FROM journey.outbox o, journey.claim(o.channel) c, journey.begin_send(c.action_id, c.token) b
    WHERE o.action_id = a AND c.action_id = a
$$;
CREATE FUNCTION pg_temp.headers(a uuid) RETURNS jsonb LANGUAGE sql AS $$ SELECT headers FROM pg_temp.permit(a) $$;
SELECT headers, contact FROM pg_temp.permit(pg_temp.action('A', channel => 'news')) \gset
SELECT matches(:'headers'::jsonb ->> 'List-Unsubscribe', '^<https://shop\.example/bye\?t=[A-Za-z0-9_-]{20,}&c=news>$', 'the link, with the token in its place');
SELECT is(:'headers'::jsonb ->> 'List-Unsubscribe-Post', 'List-Unsubscribe=One-Click', 'one click');
SELECT is((SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(:'headers') k), ARRAY['Idempotency-Key', 'List-Unsubscribe', 'List-Unsubscribe-Post', 'Message-ID'], 'and no other header than those of the key');
SELECT is('<' || (:'contact'::jsonb ->> 'unsubscribe_url') || '>', :'headers'::jsonb ->> 'List-Unsubscribe', 'the contact gives the same link for the text');
SELECT is((SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(:'contact') k), ARRAY['address', 'namespace', 'state', 'unsubscribe_url'], 'beside the address');
SELECT ok(NOT (pg_temp.permit(pg_temp.action('A', channel => 'news', purpose => 'transactional'))).contact ? 'unsubscribe_url', 'but not for a confirmation');
INSERT INTO journey.consent (bucket, profile_id, scope, channel, purpose, state, source, at)
    SELECT bucket, profile_id, scope, 'banner', purpose, state, source, at FROM journey.consent WHERE channel = 'email' AND profile_id = journey.profile_id('{"customer_id": "A"}');
SELECT matches((pg_temp.permit(pg_temp.action('A', channel => 'banner'))).contact::text, '^{"unsubscribe_url": "https://shop\.example/bye\?t=[A-Za-z0-9_-]{20,}"}$', 'a channel without addresses has the link alone');
SELECT ok((SELECT headers IS NOT NULL AND contact IS NULL FROM pg_temp.permit(pg_temp.action('A', channel => 'banner', purpose => 'service'))), 'or nothing');
SELECT ok(NOT pg_temp.headers(pg_temp.action('A', channel => 'news', purpose => 'transactional')) ? 'List-Unsubscribe', 'a confirmation carries none');
SELECT ok(NOT pg_temp.headers(pg_temp.action('A', channel => 'news', purpose => 'service', suppress_on => '[]')) ? 'List-Unsubscribe-Post', 'nor does service');
SELECT is(pg_temp.headers(pg_temp.action('A', channel => 'plain')) ->> 'List-Unsubscribe', '<https://shop.example/bye>', 'an address without a token is taken as it is');
SELECT isnt(pg_temp.headers(pg_temp.action('B', channel => 'news')) ->> 'List-Unsubscribe', :'headers'::jsonb ->> 'List-Unsubscribe', 'each person has a token of their own');
SELECT substring(:'headers'::jsonb ->> 'List-Unsubscribe' FROM 't=([^&]+)') AS token \gset
SELECT isnt(journey.preferences(:'token'), NULL, 'the token opens the preferences');
SELECT ok(journey.unsubscribe(:'token'), 'and is an opt-out');
SELECT is(pg_temp.headers(pg_temp.action('A', channel => 'news')), NULL, 'after which there is no permit');
SELECT isnt(pg_temp.headers(pg_temp.action('B', channel => 'news')), NULL, 'for this person');

-- senders ---------------------------------------------------------------------------------
CREATE ROLE jny_test_mailer IN ROLE journey_sender;
CREATE ROLE jny_test_group;
CREATE ROLE jny_test_member IN ROLE journey_sender, jny_test_group;
CREATE ROLE jny_test_other IN ROLE journey_sender;
CREATE ROLE jny_test_admin IN ROLE journey_admin;
SELECT count(pg_temp.action('C' || i, channel => 'own', purpose => 'service')) AS n FROM generate_series(1, 4) i \gset
SET SESSION AUTHORIZATION jny_test_other;
\set ON_ERROR_STOP off
SELECT count(*) AS n FROM journey.claim('own', 1) \gset
\set claim_state :LAST_ERROR_SQLSTATE
SELECT count(*) AS n FROM journey.claim_and_begin('own', 1) \gset
\set fused_state :LAST_ERROR_SQLSTATE
\set ON_ERROR_STOP on
SET SESSION AUTHORIZATION jny_test_mailer;
SELECT count(*) AS listed FROM journey.claim('own', 1) \gset
SET SESSION AUTHORIZATION jny_test_member;
SELECT count(*) AS member FROM journey.claim('own', 1) \gset
RESET SESSION AUTHORIZATION;
-- one whose outcome nobody knows
SELECT action_id AS lost, token AS t FROM journey.claim('own', 1) \gset
SELECT granted FROM journey.begin_send(:'lost'::uuid, :t) \gset
SELECT journey.unknown(:'lost', :t, 'timeout') \gset
SET SESSION AUTHORIZATION jny_test_other;
\set ON_ERROR_STOP off
SELECT journey.resolve(:'lost', 'retry') AS resolved \gset
\set resolve_state :LAST_ERROR_SQLSTATE
\set resolve_error :LAST_ERROR_MESSAGE
\set ON_ERROR_STOP on
RESET SESSION AUTHORIZATION;
SELECT is(:'resolve_state'::text || ' ' || :'resolve_error', '42501 permission denied to resolve an action of channel "own"', 'nor may it resolve what another has lost');
SELECT is((SELECT status FROM journey.outbox WHERE action_id = :'lost'), 'unknown', 'which stays as it was');
SET SESSION AUTHORIZATION jny_test_member;
SELECT journey.resolve(:'lost', 'retry') AS resolved \gset
RESET SESSION AUTHORIZATION;
SELECT ok(:'resolved'::boolean, 'one that is listed may');
SELECT token AS t FROM journey.claim('own', 1) WHERE action_id = :'lost' \gset
SELECT granted FROM journey.begin_send(:'lost'::uuid, :t) \gset
SELECT journey.unknown(:'lost', :t, 'timeout') \gset
SET SESSION AUTHORIZATION jny_test_admin;
SELECT journey.resolve(:'lost', 'failed') AS resolved \gset
RESET SESSION AUTHORIZATION;
SELECT ok(:'resolved'::boolean, 'and so may an administrator');
SELECT is(:'claim_state'::text, '42501', 'a role that is not listed may not claim');
SELECT is(:'fused_state'::text, '42501', 'in neither way');
SELECT is(:'listed'::text, '1', 'one that is listed may');
SELECT is(:'member'::text, '1', 'and so may a member of one');
SELECT is((SELECT count(*) FROM journey.claim('own')), 1::bigint, 'a superuser may always');
DROP ROLE jny_test_mailer, jny_test_member, jny_test_group, jny_test_other, jny_test_admin;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
