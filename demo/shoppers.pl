#!/usr/bin/env perl
# Plays shoppers against the demo shop: they browse, fill carts, reach the
# shipping page, and then order, hesitate or leave. Everything they do is a
# transaction on the shop's own tables; the pages they look at are reported
# with journey.track(), as a web application would.
#
#   demo/shoppers.pl --shoppers 3000 --seconds 60 --seed 42 --sessions 4
#
# The same seed gives the same shoppers. One psql per session; each shopper is
# a list of (time, statement), and the lists are played in order of time.
use strict;
use warnings;
use Getopt::Long;
use IPC::Open2;
use Time::HiRes qw(time sleep);

my ($shoppers, $seconds, $seed, $sessions, $customers, $idle) = (3000, 60, 42, 4, 2000, 8);
GetOptions('shoppers=i' => \$shoppers, 'seconds=f' => \$seconds, 'seed=i' => \$seed,
	'sessions=i' => \$sessions, 'customers=i' => \$customers, 'idle=f' => \$idle) or die "bad options\n";
srand($seed);

sub sku { return sprintf('P%04d', 1 + int(rand(200))); }

# What one shopper does, as [seconds from the start, SQL]; :cart is the cart's id.
sub shopper
{
	my ($n) = @_;
	my @acts;
	my $t = rand($seconds);
	my $guest = rand() < 0.15;
	my $id = 1 + int(rand($customers));
	my $email = $guest ? "guest$n\@example.com" : "shopper$id\@example.com";
	my $who = $guest ? "NULL, '$email'" : "$id, '$email'";
	my $subject = $guest ? qq({"email":"$email"}) : qq({"customer_id":"$id","email":"$email"});
	my $first = sku();

	push @acts, [$t, qq(SELECT journey.track('web', 'product_viewed', '$subject', '{"sku":"$first"}');)];
	return @acts if rand() < 0.25;    # only looked
	$t += 0.2 + rand(1);
	my @lines = ($first, map { sku() } 1 .. int(rand(3)));
	my $lines = join(', ', map { sprintf("('%s', %d)", $_, 1 + int(rand(2))) } @lines);
	push @acts, [$t, qq(WITH c AS (INSERT INTO shop.carts (customer_id, email) VALUES ($who) RETURNING id),
 l AS (INSERT INTO shop.cart_lines (cart_id, sku, quantity, unit_price)
       SELECT c.id, v.sku, v.q, p.price FROM c, (VALUES $lines) v(sku, q) JOIN shop.products p USING (sku))
 SELECT id AS cart$n FROM c \\gset)];
	return @acts if rand() < 0.2;     # left before checkout
	$t += 0.2 + rand(1);
	push @acts, [$t, qq(SELECT journey.track('web', 'checkout_step_viewed', '$subject',
  jsonb_build_object('step', 'shipping', 'cart_id', :'cart$n'));)];

	my $fate = rand();
	my $order = qq(WITH o AS (INSERT INTO shop.orders (customer_id, email, cart_id, status, total)
  SELECT $who, :cart$n, 'paid', sum(quantity * unit_price) FROM shop.cart_lines WHERE cart_id = :cart$n RETURNING id)
 INSERT INTO shop.order_lines (order_id, sku, quantity, unit_price)
  SELECT o.id, l.sku, l.quantity, l.unit_price FROM o, shop.cart_lines l WHERE l.cart_id = :cart$n;);
	if ($fate < 0.30)    # orders while the reminder still waits
	{
		push @acts, [$t + rand($idle * 0.9), $order];
	}
	elsif ($fate < 0.50)    # orders about when the reminder leaves: the race
	{
		push @acts, [$t + $idle + rand(1.2), $order];
	}
	elsif ($fate < 0.60)    # orders after the reminder
	{
		push @acts, [$t + $idle + 3 + rand(4), $order];
	}
	elsif ($fate < 0.65)    # empties the cart
	{
		push @acts, [$t + rand($idle * 0.8), "DELETE FROM shop.cart_lines WHERE cart_id = :cart$n;"];
	}
	return @acts;           # the others leave for good
}

# Each shopper stays with one session, since its cart lives in a psql variable.
my (@out, @in, @acts_of);
for my $s (0 .. $sessions - 1)
{
	open2($out[$s], $in[$s], 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1') or die "psql: $!";
	$in[$s]->autoflush(1);
	print { $in[$s] } "\\o /dev/null\n";
}
push @{ $acts_of[$_ % $sessions] }, shopper($_) for 1 .. $shoppers;
my $start = time();
my @children;
for my $s (0 .. $sessions - 1)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		for my $act (sort { $a->[0] <=> $b->[0] } @{ $acts_of[$s] })
		{
			my $wait = $start + $act->[0] - time();
			sleep($wait) if $wait > 0;
			print { $in[$s] } $act->[1], "\n" or die "session $s: $!";
		}
		print { $in[$s] } "\\o\n\\echo played\n";
		my $line = readline($out[$s]) // '';
		exit($line =~ /played/ ? 0 : 1);
	}
	push @children, $pid;
}
my $failed = 0;
for my $pid (@children) { waitpid($pid, 0); $failed ||= $? }
die "a session of shoppers failed\n" if $failed;
printf "%d shoppers played in %.0f s\n", $shoppers, time() - $start;
