# What else happens to a database in its life: no slot for its worker, commands
# that are rolled back, a move to another tablespace, DROP DATABASE by force, a
# launcher that is killed.
#
# What would break if this failed: a worker that is missing and nobody knows, one
# that stays where nothing is left, or one that commits wake no more.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('life');
$node->init;
# a slot for the launcher, one for that of logical replication, and one for a worker
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '60s'
max_worker_processes = 3
allow_in_place_tablespaces = on
});
$node->start;
my $install = 'CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();';
sub q1 { return $node->safe_psql($_[0], $_[1]) }
sub soon { my ($db, $sql, $what) = @_; return ok($node->poll_query_until($db, $sql), $what) }
sub running { return "SELECT count(*) = 1 FROM journey.stat_worker WHERE database = '$_[0]' AND state = 'running' AND laps > 0" }
sub pid_of { return q1('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'journey $_[0]'" . ($_[1] ? " AND datname = '$_[1]'" : '')) }
# a commit wakes the worker: the nap is a minute
sub wakes
{
	my ($db, $what) = @_;
	my $n = q1($db, 'SELECT count(*) FROM journey.event');
	my $began = time;
	q1($db, q{SELECT journey.track('web', 'product_viewed', '{"customer_id": "1"}', '{"sku": "X"}')});
	$node->poll_query_until($db, "SELECT count(*) = $n + 1 FROM journey.event");
	cmp_ok(time - $began, '<', 30, $what);
	return;
}

# -- no slot -------------------------------------------------------------------
q1('postgres', 'CREATE DATABASE first');
q1('postgres', 'CREATE DATABASE shop');
q1('first', $install);
soon('first', running('first'), 'the first database has its worker');
q1('shop', $install);
soon('shop', q{SELECT count(*) = 1 FROM journey.stat_worker WHERE database = 'shop' AND state = 'no slot'}, 'for the second there is no slot');
is(q1('shop', q{SELECT status, detail, hint FROM journey.health WHERE topic = 'worker'}),
	'error|no worker is running: no slot|Raise max_worker_processes.', 'health says so, and what to do');
q1('shop', q{SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{}')});
q1('shop', 'SELECT journey.run_until_idle()');
is(q1('shop', 'SELECT count(*) FROM journey.profile'), 1, 'run_until_idle() does what there is to do meanwhile');

# -- DROP DATABASE by force gives its slot to the other --------------------------
q1('postgres', 'DROP DATABASE first WITH (FORCE)');
pass('DROP DATABASE ... WITH (FORCE) beside a worker');
soon('shop', running('shop'), 'the slot that it leaves is taken, without a restart');
my @said = slurp_file($node->logfile) =~ /max_worker_processes/g;
cmp_ok(scalar @said, '<', 6, 'the log has said what was missing, and not each second');
wakes('shop', 'a commit wakes it');

# -- rolled back -------------------------------------------------------------------
q1('shop', q{BEGIN; SELECT journey.uninstall('drop all journey data'); DROP EXTENSION journey; ROLLBACK;});
soon('shop', running('shop'), 'DROP EXTENSION that is rolled back: the worker is there');
wakes('shop', 'and works');
q1('shop', q{BEGIN; SAVEPOINT s; SELECT journey.pause(); ROLLBACK TO s; COMMIT});
is(q1('shop', 'SELECT count(*) FROM journey.pause'), 0, 'so with a pause');

# -- moved ---------------------------------------------------------------------------
q1('postgres', q{CREATE TABLESPACE elsewhere LOCATION ''});
q1('postgres', 'ALTER DATABASE shop SET TABLESPACE elsewhere');
soon('shop', running('shop'), 'ALTER DATABASE ... SET TABLESPACE is not kept waiting, and the worker comes back');
is(q1('shop', 'SELECT journey._node_state()'), 'adopted', 'adopted as before');
wakes('shop', 'and a commit wakes it');
q1('postgres', 'ALTER DATABASE shop RENAME TO store');
soon('store', running('store'), 'under a new name it is the same database');
is(q1('store', 'SELECT journey._node_state()'), 'adopted', 'adopted still');

# -- the launcher is told to go, and killed -----------------------------------------------
my $launcher = pid_of('launcher');
kill 'TERM', $launcher;
soon('store', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'journey launcher' AND pid <> $launcher", 'the launcher comes back after SIGTERM');
soon('store', running('store'), 'and a worker with it');
wakes('store', 'which a commit wakes');
for (1 .. 5)
{
	my $pid = pid_of('worker', 'store');
	kill 'TERM', $pid;
	$node->poll_query_until('store', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'store' AND pid <> $pid")
	  or die 'no worker came back';
}
wakes('store', 'so after five workers that were told to go');
is(q1('store', 'SELECT count(*) FROM journey.check_invariants()'), 0, 'invariants hold');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
done_testing();
