# The extension does not go with its data, whatever command takes it along.
#
# What would break if this failed: one CASCADE takes all customers' data, and
# the shop's triggers with it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('drop_guard');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '200ms'
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE dba SUPERUSER LOGIN; CREATE ROLE seller; CREATE DATABASE shop');
my $install = 'SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();';
my @dba = (extra_params => [ '-U', 'dba' ]);
$node->safe_psql('shop', 'CREATE EXTENSION journey', @dba);

sub refused
{
	my ($command, $why, $what) = @_;
	my ($ret, $out, $err) = $node->psql('shop', $command);
	like($err, qr/cannot drop extension journey: $why.*uninstall/s, $what);
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_extension WHERE extname IN ('journey', 'plpgsql')"), '2', 'and nothing has gone');
	return;
}
my @takes_along = ('DROP EXTENSION plpgsql CASCADE', 'DROP OWNED BY dba CASCADE', 'DROP EXTENSION IF EXISTS plpgsql, journey CASCADE',
	"DO 'BEGIN EXECUTE ''DROP EXTENSION plpgsql CASCADE''; END'");

# -- what was not there when the transaction began ------------------------------
my $old = $node->background_psql('shop', on_error_stop => 0);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$old->query_safe('SELECT count(*) FROM pg_class');
$node->safe_psql('shop', $install);
for my $command ('DROP EXTENSION journey CASCADE', 'DROP EXTENSION plpgsql CASCADE')
{
	$old->query_safe('SAVEPOINT s');
	$old->query($command);
	like($old->{stderr}, qr/its data tables exist/, "$command does not go by an old snapshot");
	$old->{stderr} = '';
	$old->query('ROLLBACK TO s');
}
$old->query('ROLLBACK');
$old->quit;

# -- whatever takes it along ------------------------------------------------------
refused($_, 'its data tables exist', "$_ is refused while there are data") for @takes_along;
$node->safe_psql('shop', q{
CREATE TABLE orders (id int PRIMARY KEY, email text, status text, total numeric, placed_at timestamptz);
SELECT journey.attach('public.orders', 'order',
 '{"key": "id", "subject": {"email": "email"}, "status": "status", "amount": "total", "currency": {"const": "EUR"}, "at": "placed_at"}')});
refused($_, 'table (public\.)?orders is attached', "$_ is refused while a table is attached") for @takes_along;
is($node->safe_psql('shop', "SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 'orders'::regclass"), 't', 'the trigger of the shop is there');

# -- whoever looks for data runs nothing of others' ----------------------------------
$node->safe_psql('shop', q{
CREATE SCHEMA bait;
CREATE FUNCTION bait.same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''bait taken''; RETURN true; END';
CREATE FUNCTION bait.joined(text, regclass) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''bait taken''; RETURN $1; END';
CREATE OPERATOR bait.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = bait.same);
CREATE OPERATOR bait.|| (LEFTARG = text, RIGHTARG = regclass, FUNCTION = bait.joined)});
my ($ret, $out, $err) = $node->psql('shop', 'SET search_path = bait, pg_catalog; DROP EXTENSION journey');
like($err, qr/cannot drop extension journey/, 'with operators of others in the path the drop is refused as well');
unlike($err, qr/bait taken/, 'and none of them runs');

# -- and what may -------------------------------------------------------------------
$node->safe_psql('shop', 'CREATE TABLE other (a int); CREATE INDEX other_a ON other (a); DROP INDEX CONCURRENTLY other_a; DROP TABLE other; DROP OWNED BY seller');
pass('other commands go on');
$node->safe_psql('shop', 'BEGIN; SET LOCAL journey.allow_drop_data = on; DROP EXTENSION plpgsql CASCADE; ROLLBACK');
pass('who says so may');
my $worker = q{SELECT count(*) = %s FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'shop'};
ok($node->poll_query_until('postgres', sprintf($worker, 1)), 'the worker is there');
is($node->safe_psql('shop', 'SELECT count(*) FROM journey.check_invariants()'), '0', 'invariants hold');
$node->safe_psql('shop', q{BEGIN; SELECT journey.detach('public.orders', 'order'); SELECT journey.uninstall('drop all journey data'); DROP EXTENSION plpgsql CASCADE; COMMIT});
is($node->safe_psql('shop', 'SELECT count(*) FROM pg_extension'), '0', 'after uninstall it goes');
ok($node->poll_query_until('postgres', sprintf($worker, 0)), 'and the worker with it');

$node->stop;
done_testing();
