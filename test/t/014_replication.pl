# Logical replication, out and in: outbox_event read by wal2json and by pgoutput,
# and a shop whose orders come from elsewhere, by a subscription into an attached table.
#
# What would break if this failed: a warehouse that follows the log misses what
# was sent; a shop that is fed by replication reminds people who have bought.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.worker = off
max_worker_processes = 16
});
$node->start;
sub in_db { my ($db, $sql) = @_; return $node->safe_psql($db, $sql) }
my %at = map { ($_ => q{'} . join(q{ }, "port=" . $node->port, "host=" . $node->host, "dbname=$_") . q{'}) } qw(legacy shop);
sub q1 { return in_db('shop', $_[0]) }

# -- the shop, and what feeds it -------------------------------------------------
my $orders = 'CREATE TABLE orders (id int PRIMARY KEY, customer int, status text, total numeric, placed_at timestamptz)';
in_db('postgres', "CREATE DATABASE $_") for qw(shop legacy warehouse);
in_db('legacy', "$orders; INSERT INTO orders VALUES (1, 7, 'open', 50, now()); CREATE PUBLICATION of_orders FOR TABLE orders;
 SELECT pg_create_logical_replication_slot('of_orders', 'pgoutput')");
q1(qq{
SET client_min_messages = warning;
$orders;
CREATE EXTENSION journey; SELECT journey.install(); SELECT journey.adopt();
SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"},
  "status": {"column": "status", "values": {"paid": "placed", "open": "pending"}}, "amount": "total",
  "currency": {"const": "EUR"}, "at": "placed_at"}');
SELECT journey.apply('[{"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "service", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"},
  "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"], "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]');
SELECT journey.resume();
CREATE SUBSCRIPTION of_orders CONNECTION $at{legacy} PUBLICATION of_orders WITH (create_slot = false, slot_name = 'of_orders');
});
for my $n (7 .. 10)
{
	q1(qq{SELECT journey.track('web', 'identified', '{"customer_id": "$n", "email": "$n\@x.example"}', '{}')});
}
q1('SELECT journey.run_until_idle()');
sub cart { my ($n) = @_; q1(qq{SELECT journey.track('web', 'cart_viewed', '{"customer_id": "$n"}', '{}')}); q1('SELECT journey.run_until_idle()'); return }
$node->poll_query_until('shop', 'SELECT count(*) = 1 FROM orders') or die 'nothing came';
cart(7);
is(q1(q{SELECT status FROM journey.outbox}), 'pending', 'a reminder waits for somebody whose order came by replication, and is open');
is(q1('SELECT count(*) FROM journey.outbox_event'), 0, 'without journey.outbox_events nothing is written for others');

# -- the purchase arrives: refused from the commit of the apply worker on ------------
in_db('legacy', q{UPDATE orders SET status = 'paid'});
$node->poll_query_until('shop', q{SELECT status = 'paid' FROM orders}) or die 'nothing came';
is(q1(q{SELECT count(*) FROM journey.claim('email', 10)}), 0, 'its payment, replicated, ends the reminder before any lap');
q1('SELECT journey.run_until_idle()');
is(q1(q{SELECT status FROM journey.outbox_history}), 'refused', 'and on record');
is(q1(q{SELECT status FROM journey.orders}), 'placed', 'the order is known');

# -- out: wal2json has to be allowed where the setting is -----------------------------
if (q1("SELECT current_setting('output_plugin_libraries', true) IS NOT NULL") eq 't')
{
	my ($ret, $out, $err) = $node->psql('shop', q{SELECT pg_create_logical_replication_slot('json', 'wal2json')});
	isnt($ret, 0, 'wal2json is refused until output_plugin_libraries has it');
	$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pgoutput, test_decoding, wal2json'\n");
}
$node->append_conf('postgresql.conf', "journey.outbox_events = on\n");
$node->restart;
q1(q{SELECT pg_create_logical_replication_slot('json', 'wal2json')});
q1(q{CREATE PUBLICATION events FOR TABLE journey.outbox_event WITH (publish = 'insert')});
q1(q{SELECT pg_create_logical_replication_slot('events', 'pgoutput')});
is(q1(q{SELECT count(*) FROM journey.health WHERE topic = 'publication'}), 0, 'health has nothing against this publication');
in_db('warehouse', qq{CREATE SCHEMA journey;
CREATE TABLE journey.outbox_event (id uuid PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload jsonb, created_at timestamptz);
CREATE SUBSCRIPTION events CONNECTION $at{shop} PUBLICATION events WITH (create_slot = false, slot_name = 'events', copy_data = false)});

cart(8);
q1(q{SELECT count(*) FROM journey.claim_and_begin('email', 10)});
q1(q{SELECT journey.ack(action_id, token, 'ref-8') FROM journey.outbox});
cart(9);
q1(q{SELECT journey.track('web', 'order_placed', '{"customer_id": "9"}', '{"order_id": "x9"}')});
q1('SELECT journey.run_until_idle()');
cart(10);
q1(q{SELECT journey.track('web', 'order_placed', '{"customer_id": "10"}', '{"order_id": "x10"}')});
q1(q{SELECT count(*) FROM journey.claim('email', 10)});
my $told = 'action_enqueued,action_sent,action_enqueued,action_cancelled,action_enqueued,action_refused';
my $rows = q{SELECT string_agg((SELECT c ->> 'value' FROM jsonb_array_elements(data::jsonb -> 'columns') c WHERE c ->> 'name' = 'type'), ',' ORDER BY n),
 bool_and((SELECT string_agg(c ->> 'name', ',') FROM jsonb_array_elements(data::jsonb -> 'columns') c) = 'id,aggregatetype,aggregateid,type,payload,created_at')
 FROM pg_logical_slot_peek_changes('json', NULL, NULL, 'format-version', '2', 'actions', 'insert', 'add-tables', 'journey.outbox_event', 'include-transaction', 'false')
  WITH ORDINALITY AS x(lsn, xid, data, n)};
is(q1($rows), "$told|t", 'wal2json tells what became of each action, in order, in the columns of Debezium');
ok($node->poll_query_until('warehouse', 'SELECT count(*) = 6 FROM journey.outbox_event'), 'pgoutput brings the same');
is(in_db('warehouse', q{SELECT aggregatetype, payload ->> 'journey', payload ->> 'provider_ref', payload ->> 'reason' FROM journey.outbox_event WHERE type = 'action_sent'}),
	'action|cart|ref-8|', 'with what one wants to know');
is(in_db('warehouse', q{SELECT payload ->> 'reason' FROM journey.outbox_event WHERE type = 'action_refused'}), 'ordered', 'and why');
is(in_db('warehouse', q{SELECT count(*) FROM journey.outbox_event WHERE payload::text ~ '@'}), 0, 'no address is in it');
is(in_db('warehouse', q{SELECT count(DISTINCT aggregateid) FROM journey.outbox_event}), 3, 'by the action');

# -- nothing of a test ------------------------------------------
q1(q{UPDATE journey.node SET mode = 'off'});
q1(q{SELECT journey.set_clock(clock_timestamp() + interval '3 days')});
cart(8);
is(q1(q{SELECT count(*) FROM journey.outbox WHERE test}), 1, 'under the test clock there is an action');
is(q1('SELECT count(*) FROM journey.outbox_event'), 6, 'of which nobody is told');
q1(q{SELECT journey.set_clock(NULL)});

# -- retention, which the readers do not see ---------------------------------------------------
q1(q{UPDATE journey.outbox_event SET created_at = created_at - interval '8 days' WHERE type = 'action_enqueued'});
q1('SELECT journey.maintain()');
is(q1('SELECT count(*) FROM journey.outbox_event'), 3, 'rows go after journey.outbox_event_retention');
$node->wait_for_catchup('events');
is(in_db('warehouse', 'SELECT count(*) FROM journey.outbox_event'), 6, 'in the warehouse they stay');

# -- a person who is erased ------------------------------------------------------------------------
my $who = q1(q{SELECT journey.profile_id('{"customer_id": "8"}')});
isnt(q1("SELECT count(*) FROM journey.outbox_event WHERE payload::text ~ '$who'"), 0, 'rows name a person by the id that is made of their key');
q1(q{SELECT journey.erase('{"customer_id": "8"}')});
q1('SELECT journey.run_until_idle()') for 1 .. 3;
is(q1("SELECT count(*) FROM journey.outbox_event WHERE payload::text ~ '$who'"), 0, 'and go when that person is erased');
isnt(q1('SELECT count(*) FROM journey.outbox_event'), 0, 'those of others stay');
is(q1('SELECT count(*) FROM journey.check_invariants()'), 0, 'invariants hold');
in_db('warehouse', 'ALTER SUBSCRIPTION events DISABLE');
q1('ALTER SUBSCRIPTION of_orders DISABLE');
$node->stop;
done_testing();
