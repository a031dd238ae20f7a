# A sender and a shop behind PgBouncer in transaction mode: each of their calls
# may run in another session of the server.
#
# What would break if this failed: something of journey hangs on the session; the
# permit of one sender is refused, or given to another.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pgbouncer = (grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin')[0]
  or plan skip_all => 'pgbouncer is not installed';
my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.worker = off
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE ROLE sender LOGIN; CREATE ROLE app LOGIN;
CREATE EXTENSION journey; SELECT journey.install(); SELECT journey.adopt();
GRANT journey_sender TO sender; GRANT journey_app TO app;
SELECT journey.apply('[{"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "service", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"}, "suppress_on": ["order_placed"],
  "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]');
SELECT journey.resume()});

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my ($host, $db_port) = ($node->host, $node->port);
append_to_file("$dir/users", qq{"sender" ""\n"app" ""\n});
append_to_file("$dir/ini", qq{[databases]
* = host=$host port=$db_port
[pgbouncer]
listen_addr =
unix_socket_dir = $dir
listen_port = $port
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 2
logfile = $dir/log
});
my $bouncer = IPC::Run::start([ $pgbouncer, '-q', "$dir/ini" ], '<', \undef, '>', "$dir/out", '2>', "$dir/out");

sub session
{
	my %s = (in => '', out => '');
	$s{run} = IPC::Run::start([ 'psql', '-XqAt', "host=$dir port=$port dbname=postgres user=$_[0]" ],
		'<', \$s{in}, '>', \$s{out}, '2>&1', IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%s;
}
sub ask
{
	my ($s, $sql) = @_;
	$s->{out} = '';
	$s->{in} .= "$sql;\n\\echo done\n";
	$s->{run}->pump until $s->{out} =~ /^done$/m;
	(my $said = $s->{out}) =~ s/\n?done\n//;
	return $said;
}
for (1 .. 100)
{
	last if -S "$dir/.s.PGSQL.$port";
	select(undef, undef, undef, 0.1);
}

my $app = session('app');
ask($app, qq{SELECT journey.track('web', 'identified', '{"customer_id": "$_", "email": "$_\@x.example"}', '{}')}) for 1 .. 3;
ask($app, qq{SELECT journey.track('web', 'cart_viewed', '{"customer_id": "$_"}', '{}')}) for 1 .. 3;
$node->safe_psql('postgres', 'SELECT journey.run_until_idle()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM journey.outbox'), 3, 'what the shop tells through the pooler is taken in');

# two sessions of the server for three of the sender: whoever is in a transaction keeps one
my ($a, $b, $c) = map { session('sender') } 1 .. 3;
my $first = ask($b, 'BEGIN; SELECT pg_backend_pid()');
my $pid = ask($a, 'SELECT pg_backend_pid()');
my ($id, $token) = split /\|/, ask($a, q{SELECT action_id, token FROM journey.claim('email', 1)});
like($id // '', qr/^[0-9a-f-]{36}$/, 'claim');
ask($c, 'BEGIN; SELECT 1');
ask($b, 'COMMIT');
is(ask($a, 'SELECT pg_backend_pid()'), $first, 'the next call runs in another session of the server');
isnt($pid, $first, 'than the one before');
is(ask($a, qq{SELECT granted FROM journey.begin_send('$id', $token)}), 't', 'begin_send has its permit there');
ask($b, 'SELECT 1');
ask($c, 'COMMIT');
is(ask($c, qq{SELECT journey.ack('$id', $token, 'ref')}), 't', 'ack from yet another client');
is(ask($a, q{SELECT count(*) FROM journey.claim('email', 1, wait => '300 ms')}), 1, 'a claim that would wait');
like(ask($a, qq{BEGIN; SELECT journey.begin_send('$id', $token)}), qr/transaction block/, 'a permit in a transaction is refused as ever');
ask($a, 'ROLLBACK');
my @both = map { ask($_, q{SELECT action_id FROM journey.claim_and_begin('email', 1)}) } $a, $b;
is(scalar(grep { $_ ne '' } @both), 1, 'of two senders one gets the last');
is(ask($app, q{SELECT journey.track('web', 'order_placed', '{"customer_id": "1"}', '{"order_id": "1"}')}), '', 'an order through the pooler');
$node->safe_psql('postgres', 'SELECT journey.run_until_idle()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM journey.outbox_history'), 1, 'one was sent');
is($node->safe_psql('postgres', 'SELECT count(*) FROM journey.check_invariants()'), 0, 'invariants hold');
$_->{run}->finish for $app, $a, $b, $c;
$bouncer->kill_kill;
$node->stop;
done_testing();
