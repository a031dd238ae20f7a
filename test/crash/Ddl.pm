# DDL under load, for the crash harness (K8): what a DBA does to the shop's
# tables and to ours while both are in use. Each may wait a second for its
# lock and then gives up; what journey refuses must be refused.
package Ddl;
use strict;
use warnings;

my $n = 0;

# Statements that are run one by one, in a transaction if the first is BEGIN.
sub run
{
	my ($quiet, @sql) = @_;
	for my $sql (@sql)
	{
		my (undef, $state) = $quiet->query($sql);
		next if defined $state && !$state;
		$quiet->query('ROLLBACK') if $sql ne $sql[0] && $sql[0] eq 'BEGIN';
		return 0;
	}
	return 1;
}

sub refused
{
	my ($quiet, $sql, $wanted) = @_;
	my (undef, $state) = $quiet->query($sql);
	die "\"$sql\" was not refused with $wanted but answered $state\n" if defined $state && $state ne $wanted && $state !~ /^(57P|55P03)/;
	return defined $state;
}

# A table of our own that is attached, used and dropped, as somebody does who has never heard of detach().
sub drop_attached
{
	my ($quiet) = @_;
	my $t = 'shop.gone_' . ++$n . "_$$";
	my $done = run($quiet, "CREATE TABLE $t (sku text, on_hand integer)", "INSERT INTO $t SELECT 'G' || n, 5 FROM generate_series(1, 20) n",
		qq{SELECT journey.attach('$t', 'stock', '{"sku": "sku", "available": "on_hand"}')}, "UPDATE $t SET on_hand = 4", "DROP TABLE $t");
	# until somebody says that it is meant, permits stop
	$quiet->query("SELECT journey.detach('$t')") for 1 .. 2;
	return $done;
}

# With a worker in it.
sub drop_database
{
	my ($quiet) = @_;
	my $db = 'other_' . ++$n;
	my $dsn = $quiet->{dsn} =~ s/dbname=\S+/dbname=$db/r;
	return 0 unless run($quiet, "CREATE DATABASE $db");
	my $made = system('psql', '-Xqo', '/dev/null', '-d', $dsn, '-c', 'CREATE EXTENSION journey', '-c', 'SELECT journey.install()', '-c', 'SELECT journey.adopt()') == 0;
	return run($quiet, "DROP DATABASE $db") && $made;
}

my %changes = (
	'add column' => sub { run($_[0], 'ALTER TABLE shop.orders ADD COLUMN note_' . ++$n . ' text') },
	'add column, rewriting' => sub { run($_[0], 'ALTER TABLE shop.cart_lines ADD COLUMN dice_' . ++$n . ' float8 DEFAULT random()') },
	'drop column' => sub { run($_[0], 'ALTER TABLE shop.carts ADD COLUMN gone_' . ++$n . ' text', "ALTER TABLE shop.carts DROP COLUMN gone_$n") },
	'rename column and back' => sub {
		run($_[0], 'BEGIN', 'ALTER TABLE shop.carts RENAME COLUMN email TO mail', 'ALTER TABLE shop.carts RENAME COLUMN mail TO email', 'COMMIT') },
	'rename table and back' => sub {
		run($_[0], 'BEGIN', 'ALTER TABLE shop.orders RENAME TO sold', 'ALTER TABLE shop.sold RENAME TO orders', 'COMMIT') },
	'drop attached table' => \&drop_attached,
	'vacuum full of the outbox' => sub { run($_[0], 'VACUUM FULL journey.outbox') },
	'vacuum full of enrollments' => sub { run($_[0], 'VACUUM FULL journey.enrollment') },
	'vacuum full of the inbox' => sub { run($_[0], 'VACUUM FULL journey.inbox_' . int(rand(3))) },
	'vacuum full of the shop' => sub { run($_[0], 'VACUUM FULL shop.orders') },
	'reindex of the outbox' => sub { run($_[0], 'REINDEX TABLE CONCURRENTLY journey.outbox') },
	'reindex of people' => sub { run($_[0], 'REINDEX TABLE CONCURRENTLY journey.identity') },
	'drop extension' => sub { refused($_[0], 'DROP EXTENSION journey', '2BP01') },
	'drop extension cascade' => sub { refused($_[0], 'DROP EXTENSION journey CASCADE', '2BP01') },
	'create extension' => sub { refused($_[0], 'CREATE EXTENSION journey', '42710') },
	'alter extension update' => sub { run($_[0], 'ALTER EXTENSION journey UPDATE') },
	'drop database' => \&drop_database,
);

# One of them, by chance: its name, and whether it went through.
sub any
{
	my ($quiet, $prepared) = @_;
	my @names = sort keys %changes;
	# a concurrent build waits for every transaction, and one stands prepared for cycles
	@names = grep { !/^reindex/ } @names if $prepared;
	my $name = $names[ int(rand(@names)) ];
	$quiet->query("SET lock_timeout = '1s'");
	return ($name, $changes{$name}->($quiet));
}

1;
