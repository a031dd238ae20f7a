/*
 * p2.c
 *		P2: what capture and fence cost the shop, in CPU of its backends.
 *
 *	p2 CONNINFO TABLE_PLAIN TABLE_ATTACHED CLIENTS BLOCKS
 *
 * One process, CLIENTS connections for each of the two tables. They take
 * turns in blocks of ten INSERTs per connection, each its own transaction,
 * so that whatever else the machine does falls on both alike; the CPU of a
 * backend is the first figure of its schedstat. Prints the median CPU time
 * per transaction of both, in microseconds, and the median of the ratios of
 * neighbouring blocks.
 *
 * Runs on the server's machine.
 */
#include <libpq-fe.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 10

typedef struct Side
{
	PGconn	  **conn;
	const char *table;
	int			next_id;
} Side;

static void
die(PGconn *conn, const char *what)
{
	fprintf(stderr, "p2: %s: %s", what, conn ? PQerrorMessage(conn) : "\n");
	exit(1);
}

static void
connect_side(Side *side, const char *conninfo, const char *table, int clients)
{
	side->table = table;
	side->conn = calloc(clients, sizeof(PGconn *));
	for (int i = 0; i < clients; i++)
	{
		char		sql[512];
		PGresult   *res;

		side->conn[i] = PQconnectdb(conninfo);
		if (PQstatus(side->conn[i]) != CONNECTION_OK)
			die(side->conn[i], "cannot connect");
		snprintf(sql, sizeof(sql),
				 "INSERT INTO %s (id, customer, email, status, total, placed_at)"
				 " VALUES ($1, $2, 'shopper' || $2::integer || '@shop.example', 'paid', 49.90, now())", table);
		res = PQprepare(side->conn[i], "ins", sql, 0, NULL);
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			die(side->conn[i], "cannot prepare");
		PQclear(res);
	}
}

/* Nanoseconds on a CPU of one backend since it started. */
static double
cpu_of(PGconn *conn)
{
	char		path[64];
	double		ns = 0;
	FILE	   *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(conn));
	f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%lf", &ns) != 1)
	{
		fprintf(stderr, "p2: cannot read %s\n", path);
		exit(1);
	}
	fclose(f);
	return ns;
}

static void
send_insert(Side *side, PGconn *conn)
{
	char		id[16];
	char		customer[16];
	const char *values[2] = {id, customer};

	snprintf(id, sizeof(id), "%d", ++side->next_id);
	snprintf(customer, sizeof(customer), "%d", side->next_id % 100000);
	if (!PQsendQueryPrepared(conn, "ins", 2, values, NULL, NULL, 0))
		die(conn, "cannot send");
}

/* True when the connection's statement is over. */
static int
finished(PGconn *conn)
{
	PGresult   *res;

	if (!PQconsumeInput(conn))
		die(conn, "lost");
	if (PQisBusy(conn))
		return 0;
	while ((res = PQgetResult(conn)) != NULL)
	{
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			die(conn, "insert");
		PQclear(res);
	}
	return 1;
}

/* Ten statements on every connection of one side, all at once. */
static void
run_block(Side *side, int clients)
{
	int			left[64];
	struct pollfd fds[64];
	int			open = clients;

	for (int i = 0; i < clients; i++)
	{
		left[i] = BLOCK;
		fds[i].fd = PQsocket(side->conn[i]);
		fds[i].events = POLLIN;
		send_insert(side, side->conn[i]);
	}
	while (open > 0)
	{
		poll(fds, clients, -1);
		for (int i = 0; i < clients; i++)
		{
			if (left[i] == 0 || !(fds[i].revents & (POLLIN | POLLERR | POLLHUP)))
				continue;
			if (!finished(side->conn[i]))
				continue;
			if (--left[i] > 0)
				send_insert(side, side->conn[i]);
			else
			{
				fds[i].fd = -1;
				open--;
			}
		}
	}
}

static double
cpu_of_side(const Side *side, int clients)
{
	double		ns = 0;

	for (int i = 0; i < clients; i++)
		ns += cpu_of(side->conn[i]);
	return ns;
}

/* Microseconds of CPU per transaction in one block. */
static double
measure_block(Side *side, int clients)
{
	double		before = cpu_of_side(side, clients);

	run_block(side, clients);
	return (cpu_of_side(side, clients) - before) / (BLOCK * clients) / 1000;
}

static int
compare_double(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
median(double *values, int n)
{
	qsort(values, n, sizeof(double), compare_double);
	return values[n / 2];
}

int
main(int argc, char **argv)
{
	Side		sides[2] = {0};
	double	   *cost[2];
	double	   *ratio;
	int			clients,
				blocks;

	if (argc != 6 || (clients = atoi(argv[4])) < 1 || clients > 64 || (blocks = atoi(argv[5])) < 1)
	{
		fprintf(stderr, "usage: p2 CONNINFO TABLE_PLAIN TABLE_ATTACHED CLIENTS BLOCKS\n");
		return 2;
	}
	for (int s = 0; s < 2; s++)
	{
		connect_side(&sides[s], argv[1], argv[2 + s], clients);
		cost[s] = calloc(blocks, sizeof(double));
	}
	ratio = calloc(blocks, sizeof(double));
	/* caches fill before anything is counted */
	for (int i = 0; i < 20; i++)
	{
		run_block(&sides[0], clients);
		run_block(&sides[1], clients);
	}
	for (int i = 0; i < blocks; i++)
	{
		int			first = i % 2;

		cost[first][i] = measure_block(&sides[first], clients);
		cost[!first][i] = measure_block(&sides[!first], clients);
		ratio[i] = cost[1][i] / cost[0][i];
	}
	printf("%.2f %.2f %.4f\n", median(cost[0], blocks), median(cost[1], blocks), median(ratio, blocks));
	return 0;
}
