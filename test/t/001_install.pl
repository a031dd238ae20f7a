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
$node->safe_psql('postgres', 'CREATE EXTENSION journey; SELECT journey.install()');
is($node->safe_psql('postgres', 'SELECT journey.mode()'), 'off', 'off before adopt()');
is($node->safe_psql('postgres', q{SELECT value FROM journey.adopt() WHERE name = 'state'}), 'adopted', 'adopt() adopts');
$node->restart;
is($node->safe_psql('postgres', 'SELECT journey._node_state()'), 'adopted', 'adopted after a restart');
is($node->safe_psql('postgres', 'SELECT * FROM journey.check_invariants()'), '', 'invariants hold');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
isnt($node->safe_psql('copy', 'SELECT journey._node_state()'), 'adopted', 'a copied database is not adopted');

done_testing();
