# Commands on a database stop its worker and let it in again, however they end;
# and only those stop it who may run them.
#
# What would break if this failed: any login role, or a command that somebody
# has cancelled, keeps the worker out until the server is restarted, and the
# log says nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('stopped');
$node->init;
# the worker is idle when a test looks
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '60s'
});
$node->start;
$node->safe_psql('postgres', q{
CREATE ROLE nobody_special LOGIN;
CREATE ROLE maker LOGIN CREATEDB;
CREATE ROLE owner LOGIN;
CREATE DATABASE shop OWNER owner});
$node->safe_psql('shop', 'CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();');

my $running = "SELECT count(*) = 1 FROM journey.stat_worker WHERE database = 'shop' AND state = 'running' AND laps > 0";
sub worker
{
	$node->poll_query_until('shop', $running) or die 'no worker';
	return $node->safe_psql('shop', "SELECT pid FROM journey.stat_worker WHERE database = 'shop'");
}

# -- who may not ---------------------------------------------------------------
my $pid = worker();
for my $try (
	[ 'nobody_special', 'CREATE DATABASE copy TEMPLATE shop', qr/permission denied to create database/ ],
	[ 'maker', 'CREATE DATABASE copy TEMPLATE shop', qr/permission denied to copy database/ ],
	[ 'owner', 'CREATE DATABASE copy TEMPLATE shop', qr/permission denied to create database/ ],
	[ 'owner', 'ALTER DATABASE shop RENAME TO store', qr/permission denied to rename database/ ],
	[ 'maker', 'ALTER DATABASE shop CONNECTION LIMIT 50', qr/must be owner/ ],
	[ 'maker', 'DROP DATABASE shop', qr/must be owner/ ])
{
	my ($role, $command, $refusal) = @$try;
	my ($ret, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-U', $role ]);
	like($err, $refusal, "$role: $command is refused");
	is(worker(), $pid, 'and the worker is not stopped');
}
$node->safe_psql('postgres', 'ALTER ROLE owner CREATEDB');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop', extra_params => [ '-U', 'owner' ]);
isnt(worker(), $pid, 'it is for who may');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# -- a command that is cancelled while it waits for the worker -------------------
$pid = worker();
kill 'STOP', $pid;
my ($ret, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '200ms'; ALTER DATABASE shop CONNECTION LIMIT 50});
kill 'CONT', $pid;
like($err, qr/statement timeout/, 'a command is cancelled while it waits for the worker to leave');
ok($node->poll_query_until('shop', $running), 'the worker runs on');

# -- a session that ends within the command ---------------------------------------
my $guest = $node->background_psql('shop');
my $copies = $node->background_psql('postgres', on_error_stop => 0);
my $copier = $copies->query_safe('SELECT pg_backend_pid()');
$pid = worker();
$copies->query_until(qr/copying/, "\\echo copying\nCREATE DATABASE copy TEMPLATE shop;\n");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'the worker leaves before a copy');
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($copier, 5000)"), 't', 'whose session is ended');
eval { $copies->quit };
ok($node->poll_query_until('shop', $running), 'the worker comes back');
$guest->quit;

# -- and the command that succeeds ------------------------------------------------
$node->safe_psql('postgres', 'ALTER DATABASE shop CONNECTION LIMIT 50');
ok($node->poll_query_until('shop', $running), 'and after a command that succeeds');
is($node->safe_psql('shop', 'SELECT count(*) FROM journey.check_invariants()'), '0', 'invariants hold');

$node->stop;
done_testing();
