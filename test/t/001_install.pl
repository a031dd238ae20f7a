# The extension in a server that does not preload it: it installs, its data
# survive a restart, and a copy of the data directory is silent.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', "journey.site = 'shop'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION journey; CREATE PUBLICATION everything FOR ALL TABLES');
my ($ret, $out, $err) = $node->psql('postgres', 'SELECT journey.install()');
is($out, 'installed', 'install() installs');
like($err, qr/WARNING:  publication everything carries every table, the inbox included\nHINT:  Name the tables/,
	'and warns of a publication that carries the inbox');
$node->safe_psql('postgres', 'DROP PUBLICATION everything');
($ret, $out, $err) = $node->psql('postgres', 'SELECT journey.install()');
is($err, '', 'only of such');
is($node->safe_psql('postgres', 'SELECT journey.mode()'), 'off', 'off before adopt()');
is($node->safe_psql('postgres', q{SELECT value FROM journey.adopt() WHERE name = 'state'}), 'adopted', 'adopt() adopts');
is($node->safe_psql('postgres', q{SELECT status, detail, hint FROM journey.health WHERE topic = 'worker'}),
	'warning|no worker: journey is not in shared_preload_libraries|Preload it and restart, or let a scheduler call journey.run_once().',
	'health says that there is no worker, and what to do');
$node->restart;
is($node->safe_psql('postgres', 'SELECT journey._node_state()'), 'adopted', 'adopted after a restart');
is($node->safe_psql('postgres', 'SELECT * FROM journey.check_invariants()'), '', 'invariants hold');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
isnt($node->safe_psql('copy', 'SELECT journey._node_state()'), 'adopted', 'a copied database is not adopted');

done_testing();
