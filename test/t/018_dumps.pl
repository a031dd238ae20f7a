# Dumps in each format, whole and in two halves, and a template copy: each is
# silent, and adopted gives no reminder to whoever had bought.
#
# What would break if this failed: a way to restore that nobody has thought of
# mails customers, or people who have bought. Another cluster: 003_restore.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.worker = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
sub q1 { return $node->safe_psql($_[0], $_[1]) }
q1('shop', q{
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
SELECT journey.resume();
SELECT journey.track('web', 'identified', '{"customer_id": "7", "email": "7@x.example"}', '{}');
SELECT journey.track('web', 'identified', '{"customer_id": "8", "email": "8@x.example"}', '{}')});
q1('shop', 'SELECT journey.run_until_idle()');
q1('shop', q{SELECT journey.track('web', 'cart_viewed', '{"customer_id": "7"}', '{}'), journey.track('web', 'cart_viewed', '{"customer_id": "8"}', '{}')});
q1('shop', 'SELECT journey.run_until_idle()');
is(q1('shop', 'SELECT count(*) FROM journey.outbox'), 2, 'two reminders wait');
# the order is in the dump, its event in none
q1('shop', q{INSERT INTO orders VALUES (1, 7, 'paid', 50, now())});

my $dir = $node->basedir;
my $from = $node->connstr('shop');
sub run_ok { my ($what, @command) = @_; return $node->command_ok(\@command, $what) }
run_ok('pg_dump, plain', 'pg_dump', '-Fp', '-f', "$dir/plain.sql", '-d', $from);
run_ok('directory', 'pg_dump', '-Fd', '-f', "$dir/folder", '-d', $from);
run_ok('custom', 'pg_dump', '-Fc', '-f', "$dir/custom", '-d', $from);
run_ok('schema only', 'pg_dump', '-Fc', '-s', '-f', "$dir/schema", '-d', $from);
run_ok('data only', 'pg_dump', '-Fc', '-a', '-f', "$dir/data", '-d', $from);

sub fresh { q1('postgres', "CREATE DATABASE $_[0]"); return $node->connstr($_[0]) }
sub restore { my ($db, @args) = @_; return run_ok("$db: pg_restore", 'pg_restore', '--exit-on-error', '-d', $node->connstr($db), @args) }
fresh($_) for qw(plain folder custom halves unfired empty);
run_ok('plain: psql', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dir/plain.sql");
restore('folder', '-j', '2', "$dir/folder");
restore('custom', "$dir/custom");
restore('empty', "$dir/schema");
restore('halves', "$dir/schema");
restore('halves', "$dir/data");
restore('unfired', "$dir/schema");
restore('unfired', '--disable-triggers', "$dir/data");
q1('postgres', 'CREATE DATABASE template_copy TEMPLATE shop');

for my $db (qw(plain folder custom halves unfired template_copy))
{
	is(q1($db, q{SELECT journey.mode(), journey._node_state() <> 'adopted', (SELECT count(*) FROM journey.outbox), (SELECT count(*) FROM journey.claim('email', 10))}),
		'off|t|2|0', "$db has the reminders, and is silent");
	is(q1($db, 'SELECT COALESCE(sum(value), 0) FROM journey.run_once()'), 0, "$db: and inert");
	q1($db, 'SELECT journey.adopt()');
	q1($db, q{SELECT journey.resume('as-is')});
	my $before = q1($db, q{SELECT string_agg(i.value, ',') FROM journey.claim('email', 10) c JOIN journey.identity i ON i.profile_id = c.profile_id AND i.namespace = 'customer_id'});
	is($before =~ /7/ ? 'a reminder' : 'none', 'none', "$db, adopted and live, before any lap: none for who has bought");
	q1($db, 'SELECT journey.run_until_idle()');
	is(q1($db, q{SELECT string_agg(DISTINCT h.reason, ',') FROM journey.outbox_history h JOIN journey.identity i ON i.profile_id = h.profile_id WHERE i.value = '7'}),
		'ordered', "$db: it is gone for that reason") unless $db eq 'unfired';
	is(q1($db, 'SELECT count(*) FROM journey.check_invariants() WHERE invariant <> ' . ($db eq 'unfired' ? q{'I12'} : q{''})), 0, "$db: invariants hold");
}
is(q1('unfired', q{SELECT count(*) > 0 FROM journey.health WHERE topic IN ('attachment', 'incident') AND status = 'error'}), 't',
	'--disable-triggers leaves the trigger other than it was, which health says');
is(q1('empty', q{SELECT (SELECT count(*) FROM journey.profile), (SELECT count(*) FROM journey.outbox), journey.mode()}), '0|0|off', 'of the schema alone nobody is known');
q1('shop', 'SELECT journey.run_until_idle()');
is(q1('shop', q{SELECT count(*) FROM journey.claim('email', 10)}), 1, 'the original has gone on: one reminder, for who has not bought');
$node->stop;
done_testing();
