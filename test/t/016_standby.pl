# A standby, with the configuration of its primary: nothing runs there, whatever
# would write says where to go, reports are read; promoted, it goes on without
# adopt(), beside what was under way.
#
# What would break if this failed: after a failover nobody is contacted until
# somebody notices; or a message that the old primary had sent is sent again.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '300ms'
synchronous_commit = on
});
$primary->start;
$primary->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE TABLE orders (id int PRIMARY KEY, customer int, status text, total numeric, placed_at timestamptz);
CREATE EXTENSION journey; SELECT journey.install(); SELECT journey.adopt();
SELECT journey.attach('orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"},
  "status": {"column": "status", "values": {"paid": "placed"}}, "amount": "total", "currency": {"const": "EUR"}, "at": "placed_at"}');
SELECT journey.apply('[{"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "service", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"},
  "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"], "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]');
SELECT journey.resume()});
$primary->safe_psql('postgres', join '', map {
	qq{SELECT journey.track('web', 'identified', '{"customer_id": "$_", "email": "$_\@x.example"}', '{}');
	SELECT journey.track('web', 'cart_viewed', '{"customer_id": "$_"}', '{}');} } 1 .. 4);
$primary->poll_query_until('postgres', q{SELECT count(*) = 4 FROM journey.outbox}) or die 'no actions';
# one was sent, one is on its way with its permit, of one somebody has only the lease
my ($sent) = split /\|/, $primary->safe_psql('postgres', q{SELECT action_id FROM journey.claim_and_begin('email', 1)});
$primary->safe_psql('postgres', qq{SELECT journey.ack('$sent', (SELECT token FROM journey.outbox WHERE action_id = '$sent'), 'ref')});
my ($going, $token) = split /\|/, $primary->safe_psql('postgres', q{SELECT action_id, token FROM journey.claim_and_begin('email', 1)});
$primary->safe_psql('postgres', q{SELECT count(*) FROM journey.claim('email', 1)});

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
sub there { return $standby->safe_psql('postgres', $_[0]) }

# -- on the standby ----------------------------------------------------------------
is(there(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'journey%'}), 0, 'neither launcher nor worker runs on a standby');
is(there(q{SELECT status, detail, hint FROM journey.health WHERE topic = 'worker'}),
	'ok|this is a standby: laps run on the primary|After a promotion the worker comes by itself.', 'which health takes for what it is');
for my $call (
	q{track('web', 'x', '{"customer_id": "1"}', '{}')}, q{ingest('[{"source": "web", "type": "searched", "subject": {"customer_id": "1"}}]')},
	q{claim('email', 1)}, q{claim('email', 1, wait => '50 ms')}, q{claim_and_begin('email', 1)}, qq{begin_send('$going', $token)}, qq{ack('$going', $token)},
	qq{fail('$going', $token, 'x')}, qq{unknown('$going', $token, 'x')}, q{run_once()}, q{run_until_idle()}, q{maintain()})
{
	my ($ret, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM journey.$call");
	like($err, qr/25006: [\w ]+ runs on the primary only.*Connect to the primary/s, "on the standby: $call");
}
for my $call (q{pause()}, q{resume()}, q{adopt()}, q{reconcile('orders')}, q{set_clock(now())}, q{attach('orders', 'order')})
{
	my ($ret, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM journey.$call");
	like($err, qr/25006: /, "on the standby: $call");
}
is(there('SELECT journey.mode()'), 'live', 'the mode is read');
is(there('SELECT entered FROM journey.stat_journey'), 4, 'so are reports');
is(there(q{SELECT value FROM journey.metrics WHERE name = 'journey_worker_running'}), 0, 'and metrics');
is(there(qq{SELECT count(*) > 2 FROM journey.why('$sent'::uuid)}), 't', 'why a message was sent');
is(there('SELECT count(*) FROM journey.check_invariants()'), 0, 'the invariants can be asked there, where it costs the primary nothing');
is(there(q{SELECT count(*) FROM journey.preview('cart', '{"customer_id": "1"}', now())}) > 0, 1, 'even a preview');

# -- an order commits, the primary dies, the standby is promoted ------------------------
$primary->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 1, 'paid', 9, now()), (2, 2, 'paid', 9, now()), (3, 3, 'paid', 9, now()), (4, 4, 'paid', 9, now())});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$standby->promote;
is(there(q{SELECT count(*) FROM journey.claim('email', 10)}), 0, 'promoted: whoever had bought gets no reminder');
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM journey.stat_worker WHERE state = 'running' AND laps > 0}), 'the worker comes by itself, without adopt()');
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 4 FROM journey.enrollment WHERE exited_at IS NOT NULL}), 'and ends the journeys of those who have bought');
is(there(qq{SELECT journey.ack('$going', $token, 'ref-2')}), 't', 'the sender of what was on its way says so to the new primary');
there(q{SELECT journey.track('web', 'identified', '{"customer_id": "9", "email": "9@x.example"}', '{}'); SELECT journey.track('web', 'cart_viewed', '{"customer_id": "9"}', '{}')});
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM journey.outbox WHERE status = 'pending'}), 'new events are taken in');
is(there(q{SELECT count(*) FROM journey.claim_and_begin('email', 10)}), 1, 'and lead to permits');
is(there(q{SELECT incarnation FROM journey.node}), 1, 'it is the same life of the database');
is(there('SELECT count(*) FROM journey.check_invariants()'), 0, 'invariants hold');
$standby->stop;
done_testing();
