# A psql that may lose its server at any moment.
#
#   my $s = Session->new(dsn => "host=... dbname=...", log => $file);
#   my ($rows, $state) = $s->query('SELECT 1');
#
# $rows is a list of lists of text, $state the SQLSTATE ('' = it succeeded).
# Both are undef when the connection was lost before the answer came: then
# nobody knows whether the statement has committed. The next query connects
# again, for at most 60 seconds. One statement per query.
package Session;
use strict;
use warnings;
use IPC::Open3;
use Time::HiRes qw(sleep);

$SIG{PIPE} = 'IGNORE';

sub new
{
	my ($class, %arg) = @_;
	return bless {%arg}, $class;
}

sub start
{
	my ($self) = @_;
	open(my $err, '>>', $self->{log}) or die "$self->{log}: $!";
	local $ENV{PGOPTIONS} = $self->{options} // '';
	$self->{pid} = open3(my $in, my $out, '>&' . fileno($err), 'psql', '-XAtq', '-F', "\t", $self->{dsn});
	select((select($in), $| = 1)[0]);
	@$self{qw(in out)} = ($in, $out);
}

sub stop
{
	my ($self, $signal) = @_;
	return unless $self->{pid};
	kill $signal, $self->{pid} if $signal;
	close $self->{in};
	close $self->{out};
	waitpid($self->{pid}, 0);
	delete @$self{qw(pid in out)};
}

# Sends without waiting for the answer.
sub post
{
	my ($self, $sql) = @_;
	$self->start unless $self->{pid};
	return print { $self->{in} } "$sql;\n\\echo --end-- :SQLSTATE\n";
}

sub answer
{
	my ($self) = @_;
	my @rows;
	while (defined(my $line = readline($self->{out})))
	{
		chomp $line;
		if ($line =~ /^--end--( \w{5})?/)
		{
			last unless $1;    # psql goes on without a connection
			return (\@rows, $1 eq ' 00000' ? '' : substr($1, 1));
		}
		push @rows, [ split /\t/, $line, -1 ];
	}
	$self->stop;
	return;
}

# A server that is not up yet refuses the connection: psql ends without having sent anything.
sub connect
{
	my ($self) = @_;
	for (1 .. 600)
	{
		return 1 if $self->{pid};
		$self->start;
		my ($rows) = ($self->post('SELECT 1'), $self->answer);
		return 1 if $self->{pid};
		sleep 0.1;
	}
	die "the server did not come back\n";
}

sub query
{
	my ($self, $sql) = @_;
	$self->connect;
	$self->post($sql);
	return $self->answer;
}

# For statements that must succeed.
sub must
{
	my ($self, $sql) = @_;
	my ($rows, $state) = $self->query($sql);
	die "connection lost: $sql\n" unless defined $state;
	die "error $state, see $self->{log}: $sql\n" if $state;
	return @$rows;
}

1;
