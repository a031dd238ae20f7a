# What the backends of a database share stays theirs, whatever is done to the
# database beside them.
#
# What would break if this failed: two databases count their captured rows
# together, or the backends of one apart; a row then stands before another that
# was written earlier, and a state from before an order comes after it.
#
# no invariants: nothing is captured or consumed, only counted.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('slots');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.worker = off
});
$node->start;

sub session
{
	my ($db) = @_;
	my %s = (in => '', out => '');
	$s{run} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr($db) ],
		'<', \$s{in}, '>', \$s{out}, '2>&1', IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%s;
}

# the number of the row that is captured next
sub captures
{
	my ($s) = @_;
	$s->{out} = '';
	$s->{in} .= "SELECT journey._next_seq();\n";
	$s->{run}->pump until $s->{out} =~ /^(\d+)\n/;
	return $1;
}

# The launcher looks at the list of databases when an extension comes or goes.
sub nudge
{
	$node->safe_psql('postgres', 'CREATE EXTENSION journey; DROP EXTENSION journey') for 1 .. 2;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'journey launcher'");
	$node->safe_psql('postgres', 'SELECT pg_sleep(0.5)');
	return;
}

my $install = 'CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install();';

for my $closing ([ 'IS_TEMPLATE true', 'IS_TEMPLATE false' ], [ 'ALLOW_CONNECTIONS false', 'ALLOW_CONNECTIONS true' ])
{
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->safe_psql('shop', $install);
	my $before = session('shop');
	my $n = captures($before);

	# another database comes while this one is out of the launcher's sight
	$node->safe_psql('postgres', "ALTER DATABASE shop $closing->[0]");
	nudge();
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', $install);
	my $other = session('other');
	captures($other);
	$node->safe_psql('postgres', "ALTER DATABASE shop $closing->[1]");
	nudge();

	my $after = session('shop');
	my $order = 'rising';
	for (1 .. 3)
	{
		for my $s ($before, $after)
		{
			my $next = captures($s);
			$order = "$next after $n" if $next <= $n;
			$n = $next;
		}
	}
	is($order, 'rising', "$closing->[0]: old and new backends still capture in one order");

	$_->{run}->finish for $before, $after, $other;
	$node->safe_psql('postgres', "DROP DATABASE $_") for 'shop', 'other';
}

$node->stop;
done_testing();
