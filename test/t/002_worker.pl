# The background worker's life: it comes where the extension is, leaves when
# told, survives being killed, and stands in nobody's way.
#
# What would break if this failed: a shop whose worker is gone sends nothing
# and nobody knows; a worker that stays blocks DROP DATABASE.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
restart_after_crash = on
journey.site = 'shop'
journey.naptime = '200ms'
});
$node->start;

my $worker_of = sub {
	my ($db) = @_;
	return "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = '$db'";
};
my $no_worker_of = sub {
	my ($db) = @_;
	return "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = '$db'";
};
my $install = 'CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();';

ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'journey launcher'"),
	'the launcher runs');

# -- it comes and works ---------------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', $install);
ok($node->poll_query_until('postgres', $worker_of->('shop')), 'a worker comes where the extension is');
my $lap = "SELECT lap > 0 FROM journey.cursor";
ok($node->poll_query_until("shop", $lap), "and runs laps");
like($node->safe_psql('shop', "SELECT status, detail FROM journey.health WHERE topic = 'worker'"), qr/^ok\|pid \d+, \d+ laps, last /, 'health says so');

# -- what is not adopted is not woken by every commit of its shop ------------
$node->safe_psql('postgres', 'CREATE DATABASE waiting');
(my $unadopted = $install) =~ s/SELECT journey.adopt\(\);//;
$node->safe_psql('waiting', $unadopted);
my $laps = "SELECT laps FROM journey.stat_worker WHERE database = 'waiting'";
$node->poll_query_until('waiting', "SELECT coalesce(($laps), 0) > 1") or die "no worker";
my $before = $node->safe_psql('waiting', $laps);
my $began = time();
$node->safe_psql('waiting', join('', map { "SELECT journey.track('s', 'x', '{\"email\": \"a\@x.example\"}', '{}', NULL, 'w$_');\n" } 1 .. 500));
cmp_ok($node->safe_psql('waiting', $laps) - $before, '<', 20 + 10 * (time() - $began), 'commits in a database that is not adopted wake nobody');
$node->safe_psql('waiting', 'SELECT journey.adopt()');
ok($node->poll_query_until('waiting', "SELECT count(*) = 500 FROM journey.event WHERE message_id LIKE 'w%'"), 'once adopted, it catches up');

# -- a rolled-back CREATE EXTENSION leaves no worker -----------------------
$node->safe_psql('postgres', 'CREATE DATABASE never');
$node->safe_psql('never', 'BEGIN; CREATE EXTENSION journey; ROLLBACK;');
ok($node->poll_query_until('postgres', $no_worker_of->('never')), 'a rolled-back CREATE EXTENSION leaves no worker');
my ($ret, $out, $err) = $node->psql('never', 'DROP SCHEMA IF EXISTS journey');
is($ret, 0, 'and no schema');

# -- it survives being told to go, and being killed -------------------------
for my $n (1 .. 5)
{
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'shop'");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'shop' AND pid <> $pid")
	  or die "worker did not come back";
}
pass('it came back five times after SIGTERM');

my $pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'shop'");
kill 'KILL', $pid;
ok($node->poll_query_until('postgres', $worker_of->('shop')), 'it came back after SIGKILL and crash recovery');

# -- settings are re-read ---------------------------------------------------
$node->append_conf('postgresql.conf', 'journey.worker = off');
$node->reload;
ok($node->poll_query_until('postgres', $no_worker_of->('shop')), 'SIGHUP with journey.worker = off: it leaves');
$node->append_conf('postgresql.conf', 'journey.worker = on');
$node->reload;
ok($node->poll_query_until('postgres', $worker_of->('shop')), 'and with on: it comes back');

# -- commands on databases --------------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
is($node->safe_psql('copy', 'SELECT journey.mode(), journey._node_state()'),
	'off|this is another database than the one adopted', 'a template copy is silent');
my $before = $node->safe_psql('copy', 'SELECT lap FROM journey.cursor');
ok($node->poll_query_until('postgres', $worker_of->('copy')), 'a worker looks after the copy');
$node->safe_psql('copy', 'SELECT pg_sleep(1)');
is($node->safe_psql('copy', 'SELECT lap FROM journey.cursor'), $before, 'and is inert there');

$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO clone');
pass('RENAME is not blocked by the worker');
$node->safe_psql('postgres', 'DROP DATABASE clone');
pass('DROP DATABASE is not blocked by the worker');

# -- DROP EXTENSION ----------------------------------------------------------
($ret, $out, $err) = $node->psql('shop', 'DROP EXTENSION journey CASCADE');
isnt($ret, 0, 'DROP EXTENSION CASCADE is refused while data exists');
like($err, qr/its data tables exist.*uninstall/s, 'with the way out');
$node->safe_psql('shop', "SELECT journey.uninstall('drop all journey data'); DROP EXTENSION journey;");
ok($node->poll_query_until('postgres', $no_worker_of->('shop')), 'after uninstall it goes, and the worker with it');
$node->safe_psql('shop', $install);
ok($node->poll_query_until('postgres', $worker_of->('shop')), 'a new CREATE EXTENSION brings it back');

# -- a worker with a long backlog does not outlive its postmaster -------------
$node->append_conf('postgresql.conf', "journey.batch_events = 5\njourney.worker = off");
$node->reload;
$node->poll_query_until('shop', $no_worker_of->('shop'));
$node->safe_psql('shop', q{INSERT INTO journey.event_key VALUES (0, gen_random_uuid(), now() - interval '1 year', false);
DELETE FROM journey.retention; -- or maintenance looks for such rows once an hour
INSERT INTO journey.inbox_copy (source, type, message_id, subject, props)
 SELECT 'bulk', 'product_viewed', 'b' || n, '{"anonymous_id": "a"}', '{}' FROM generate_series(1, 100000) n});
$node->append_conf('postgresql.conf', 'journey.worker = on');
$node->reload;
ok($node->poll_query_until('shop', "SELECT count(*) > 100 FROM journey.event WHERE source = 'bulk'"), 'a long window is being walked');
ok($node->poll_query_until('shop', q{SELECT NOT EXISTS (SELECT FROM journey.event_key WHERE received_at < now() - interval '6 months')}),
	'it is maintained meanwhile');
is($node->safe_psql('shop', "SELECT count(*) < 100000 FROM journey.event WHERE source = 'bulk'"), 't', 'not after it');
$pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'shop'");
$node->kill9;
my $alive = 1;
for (1 .. 100)
{
	$alive = kill 0, $pid or last;
	select(undef, undef, undef, 0.1);
}
ok(!$alive, 'the postmaster is killed: the worker goes before the backlog is done');
kill 'KILL', $pid if $alive;
unlink $node->data_dir . '/postmaster.pid';
for (1 .. 20)
{
	last if $node->start(fail_ok => 1);
	select(undef, undef, undef, 0.5);
}
is($node->safe_psql('shop', 'SELECT count(*) < 100000 FROM journey.event WHERE source = \'bulk\''), 't', 'and the server starts again with the rest to do');

is($node->safe_psql('shop', 'SELECT * FROM journey.check_invariants()'), '', 'the invariants hold in the middle of it');

# -- nothing was logged as an error by the workers that were not killed -----
$node->safe_psql('postgres', 'DROP DATABASE shop');
$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|segfault/, 'no crash in the log');
done_testing();
