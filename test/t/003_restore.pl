# A copy of the data is silent until somebody says that it is the real one,
# and an order whose event stood in the inbox that no dump carries still ends
# its reminder.
#
# What would break if this failed: a staging copy mails real customers; a
# restored backup mails people who have bought.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.worker = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');

# -- a shop with one open cart and its reminder in the outbox ---------------
$node->safe_psql('shop', q{
SET client_min_messages = warning;
CREATE TABLE orders (id int PRIMARY KEY, customer int, status text, total numeric, placed_at timestamptz);
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"},
  "status": {"column": "status", "values": {"paid": "placed"}}, "amount": "total",
  "currency": {"const": "EUR"}, "at": "placed_at"}');
SELECT journey.apply('[{"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "marketing", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"},
  "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"], "control": {"none": true, "reason": "test"},
  "caps": [{"scope": "journey", "channel": "*", "max": 5, "per": "1 day", "window": "rolling", "otherwise": "drop"}],
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]');
SELECT journey.resume();
});
$node->safe_psql('shop', q{SELECT journey.track('web', 'identified', '{"customer_id": "7", "email": "a@example.com"}',
  '{"traits": {}}');
SELECT journey.track('web', 'consent_granted', '{"customer_id": "7"}', '{"channel": "email", "purpose": "marketing"}')});
$node->safe_psql('shop', 'SELECT journey.run_until_idle()');
$node->safe_psql('shop', q{SELECT journey.track('web', 'cart_viewed', '{"customer_id": "7"}', '{}')});
$node->safe_psql('shop', 'SELECT journey.run_until_idle()');
is($node->safe_psql('shop', q{SELECT status FROM journey.outbox}), 'pending', 'a reminder waits');

# -- the order commits, nobody consumes it, the dump is taken ----------------
$node->safe_psql('shop', q{INSERT INTO orders VALUES (1, 7, 'paid', 50, now())});
my $dump = $node->basedir . '/shop.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('shop') ], 'pg_dump');
is($node->safe_psql('shop', q{SELECT count(*) FROM journey.claim('email', 10)}), '0', 'the original gives no reminder');

# -- restored elsewhere: other cluster, lower transaction ids ------------------
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init;
$copy->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.worker = off
});
$copy->start;
$copy->safe_psql('postgres', 'CREATE DATABASE shop; CREATE ROLE journey_owner; CREATE ROLE journey_app; CREATE ROLE journey_sender;
 CREATE ROLE journey_analyst; CREATE ROLE journey_author; CREATE ROLE journey_approver; CREATE ROLE journey_admin; CREATE ROLE journey_monitor;');
$copy->command_ok([ 'pg_restore', '-d', $copy->connstr('shop'), $dump ], 'pg_restore, without an error');
is($copy->safe_psql('shop', q{SELECT journey.mode(), journey._node_state()}), 'off|not adopted', 'the restored copy is off');
is($copy->safe_psql('shop', q{SELECT status FROM journey.outbox}), 'pending', 'though it holds the reminder');
is($copy->safe_psql('shop', q{SELECT count(*) FROM journey.claim('email', 10)}), '0', 'nothing is claimable in it');
my ($ret, $out, $err) = $copy->psql('shop', 'SELECT journey.resume()');
like($err, qr/not adopted.*journey\.adopt/s, 'resume() says what to do first');
is($copy->safe_psql('shop', q{SELECT sum(value) FROM journey.run_once()}), '0', 'run_once() does nothing there');

# -- adopted: the order is read again, the reminder is impossible ---------------
$copy->safe_psql('shop', 'SELECT journey.adopt()');
is($copy->safe_psql('shop', q{SELECT journey.mode()}), 'off', 'adopt() alone does not go live');
$copy->safe_psql('shop', q{SELECT journey.resume('as-is')});
is($copy->safe_psql('shop', q{SELECT count(*) FROM journey.claim('email', 10)}), '0',
	'live, before any lap: the order that stood in no dump stops the reminder');
$copy->safe_psql('shop', 'SELECT journey.run_until_idle()');
is($copy->safe_psql("shop", q{SELECT status, reason FROM journey.outbox_history}), "cancelled|ordered", "and then it is gone") or diag $copy->safe_psql("shop", q{SELECT to_jsonb(h) FROM journey.outbox_history h; SELECT to_jsonb(e) FROM journey.enrollment e; SELECT to_jsonb(o) FROM journey.outbox o; select to_jsonb(s) from journey.suppression s; select to_jsonb(s) from journey.event s; select to_jsonb(s) from journey.decision s; select to_jsonb(s) from journey.incident s;select to_jsonb(s) from journey.cursor s});
is($copy->safe_psql('shop', q{SELECT count(*) FROM journey.check_invariants()}), '0', 'the invariants hold in the copy');

# -- new events are consumed though transaction ids started lower ---------------
$copy->safe_psql('shop', q{SELECT journey.track('web', 'product_viewed', '{"customer_id": "8"}', '{"sku": "X"}')});
$copy->safe_psql('shop', 'SELECT journey.run_until_idle()');
is($copy->safe_psql('shop', q{SELECT count(*) FROM journey.event WHERE type = 'product_viewed'}), '1', 'a new event is not lost');
$copy->stop;

# -- failover keeps both keys; a base backup without the configuration has one ---
$node->backup('base');
my ($rc, $out, $err) = $node->psql('shop', "ALTER SYSTEM SET journey.site = 'op'");
like($err, qr/parameter "journey.site" cannot be changed/, 'the second key does not get into the data directory');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('shop', 'SELECT journey.mode()'), 'live', 'a standby reads what holds');
$node->stop;
$standby->promote;
is($standby->safe_psql('shop', 'SELECT journey.mode()'), 'live', 'failover stays live');
$standby->append_conf('postgresql.conf', "journey.site = 'staging'");
$standby->reload;
$standby->poll_query_until('shop', "SELECT current_setting('journey.site') = 'staging'");
is($standby->safe_psql('shop', 'SELECT journey.mode(), journey._node_state()'), 'off|journey.site is not the adopted site',
	'the same data under another configuration is silent');
$standby->stop;
done_testing();
