# A cluster with more databases than the launcher has slots: those that have
# journey get a worker, whoever was there before.
#
# What would break if this failed: sixty databases of other people leave the
# shop without a worker, and nobody says why.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $slots = 64;
my $node = PostgreSQL::Test::Cluster->new('many');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '60s'
max_worker_processes = 80
});
$node->start;

# Shorter than poll_query_until, which counts its tries, not the time.
sub soon
{
	my ($db, $query, $what) = @_;
	my $until = time() + 40;
	my $is = '';
	while ($is ne 't' && time() < $until)
	{
		$is = $node->safe_psql($db, $query);
		select(undef, undef, undef, 0.2);
	}
	is($is, 't', $what);
	return;
}
my $install = 'CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();';
my $healthy = "SELECT status = 'ok' FROM journey.health WHERE topic = 'worker'";

# -- all slots are taken by databases without journey ------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE first');
$node->safe_psql('first', $install);
my @empty = map { "empty$_" } 1 .. $slots - 2;	# and postgres
$node->safe_psql('postgres', join('', map { "CREATE DATABASE $_;\n" } @empty));
$node->reload;
soon('first', "SELECT count(*) = $slots - 1 FROM journey.stat_worker WHERE state = 'absent'", 'the launcher has looked into each');

$node->safe_psql('postgres', 'CREATE DATABASE late');
$node->safe_psql('late', $install);
soon('late', $healthy, 'a database that gets journey then has a worker');
is($node->safe_psql('late', "SELECT count(*) FROM journey.stat_worker"), $slots, 'in the place of one without');
$node->reload;
is($node->safe_psql('late', "SELECT count(*) FROM journey.stat_worker WHERE database IN ('first', 'late') AND pid IS NOT NULL"), '2',
	'and those that have journey keep theirs');

# journey came with the template: nobody told the launcher
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE late');
$node->safe_psql('copy', 'SELECT journey._next_seq()');
soon('copy', "SELECT detail LIKE 'pid %' FROM journey.health WHERE topic = 'worker'", 'so has one in which a row is captured');

# -- all slots are kept ---------------------------------------------------------------
# few processes, so that it stays quiet
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
$node->safe_psql($_, q{CREATE FUNCTION pg_temp.nudge() RETURNS void LANGUAGE c AS 'journey', 'journey_nudge'; SELECT pg_temp.nudge()})
  for 'postgres', 'first', 'copy', @empty[0 .. $slots - 4];
soon('late', q{SELECT status = 'error' AND detail LIKE 'no worker is running: no room: %' AND hint LIKE '%run_once%' FROM journey.health WHERE topic = 'worker'},
	'when all the others have journey, too, health says that there is no room');
is($node->safe_psql('late', "SELECT state FROM journey.stat_worker WHERE database = 'late'"), 'no room', 'and so does stat_worker');
is($node->safe_psql('late', 'SELECT count(*) > 0 FROM journey.run_once()'), 't', 'run_once() works there');
$node->reload for 1 .. 3;
is(() = slurp_file($node->logfile) =~ /journey serves at most $slots databases/g, 1, 'the log says so once');

$node->safe_psql('postgres', 'DROP DATABASE empty1');
$node->reload;
sleep(1);
$node->reload;
soon('late', q{SELECT detail NOT LIKE '%no room%' FROM journey.health WHERE topic = 'worker'}, 'one that goes makes room');

is($node->safe_psql($_, 'SELECT count(*) FROM journey.check_invariants()'), '0', "$_: invariants hold") for 'first', 'late', 'copy';

$node->stop;
done_testing();
