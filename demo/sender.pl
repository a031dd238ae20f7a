#!/usr/bin/env perl
# A sample sender: claims, asks for the permit, sends, acknowledges. What a
# real one does is the same with an e-mail provider where this one writes a
# line to a file.
#
#   demo/sender.pl --channel email --log FILE --think 0.4 --until-file STOP
#
# --think is the time between claim and permit, where a real sender renders
# its templates: orders that commit in it are the ones the permit must stop.
use strict;
use warnings;
use Getopt::Long;
use IPC::Open2;
use IO::Handle;
use Time::HiRes qw(time sleep);

my ($channel, $log, $think, $stop, $n) = ('email', '/dev/stdout', 0.4, '', 50);
GetOptions('channel=s' => \$channel, 'log=s' => \$log, 'think=f' => \$think,
	'until-file=s' => \$stop, 'batch=i' => \$n) or die "bad options\n";

open2(my $out, my $in, 'psql', '-XAtq', '-F', "\t") or die "psql: $!";
$in->autoflush(1);
open(my $provider, '>>', $log) or die "$log: $!";
$provider->autoflush(1);

# Runs one statement in a transaction of its own; its rows, split at tabs.
sub run
{
	my ($sql) = @_;
	my @rows;
	print $in "$sql;\n\\echo --end--\n";
	while (defined(my $line = <$out>))
	{
		chomp $line;
		return @rows if $line eq '--end--';
		push @rows, [ split /\t/, $line, -1 ];
	}
	die "psql has gone\n";
}
sub uuids { return "'{" . join(',', @_) . "}'" }

my ($sent, $refused) = (0, 0);
while (!-e $stop)
{
	my @claimed = run("SELECT action_id, token, idempotency_key, template, payload
  FROM journey.claim('$channel', $n, interval '30 seconds', 'demo', interval '500 ms')");
	next unless @claimed;
	sleep($think);
	my %by_id = map { $_->[0] => $_ } @claimed;
	my @permits = run(sprintf "SELECT action_id, granted, reason, contact->>'address' FROM journey.begin_send(%s::uuid[], %s::bigint[])",
		uuids(map { $_->[0] } @claimed), uuids(map { $_->[1] } @claimed));
	my @granted = grep { $_->[1] eq 't' } @permits;
	$refused += @permits - @granted;
	next unless @granted;
	for my $p (@granted)
	{
		my $action = $by_id{ $p->[0] };
		printf $provider "%.3f\t%s\t%s\t%s\t%s\n", time(), $action->[2], $p->[3], $action->[3], $action->[4];
	}
	run(sprintf "SELECT journey.ack(%s::uuid[], %s::bigint[])",
		uuids(map { $_->[0] } @granted), uuids(map { $by_id{ $_->[0] }[1] } @granted));
	$sent += @granted;
}
print "sender: $sent sent, $refused refused at the permit\n";
