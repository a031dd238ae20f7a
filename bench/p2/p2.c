/*
 * p2.c
 *		P2: what capture and fence cost the shop, in CPU of its backends.
 *
 *	p2 CONNINFO TABLE_PLAIN TABLE_ATTACHED CLIENTS BLOCKS
 *
 * One process, CLIENTS connections for each of the two tables. They take
 * turns in blocks of ten INSERTs per connection, each its own transaction,
 * so that whatever else the machine does falls on both alike; the CPU of a
 * backend is the first figure of its schedstat. Prints the mean CPU time per
 * transaction of both, in microseconds.
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
	long		done;
	double		cpu_ns;
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
			side->done++;
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

static void
count_cpu(Side *side, int clients, int sign)
{
	for (int i = 0; i < clients; i++)
		side->cpu_ns += sign * cpu_of(side->conn[i]);
}

int
main(int argc, char **argv)
{
	Side		plain = {0};
	Side		attached = {0};
	int			clients,
				blocks;

	if (argc != 6 || (clients = atoi(argv[4])) < 1 || clients > 64 || (blocks = atoi(argv[5])) < 1)
	{
		fprintf(stderr, "usage: p2 CONNINFO TABLE_PLAIN TABLE_ATTACHED CLIENTS BLOCKS\n");
		return 2;
	}
	connect_side(&plain, argv[1], argv[2], clients);
	connect_side(&attached, argv[1], argv[3], clients);
	/* caches fill before anything is counted */
	for (int i = 0; i < 20; i++)
	{
		run_block(&plain, clients);
		run_block(&attached, clients);
	}
	plain.done = attached.done = 0;
	count_cpu(&plain, clients, -1);
	count_cpu(&attached, clients, -1);
	for (int i = 0; i < blocks; i++)
	{
		run_block(i % 2 ? &plain : &attached, clients);
		run_block(i % 2 ? &attached : &plain, clients);
	}
	count_cpu(&plain, clients, 1);
	count_cpu(&attached, clients, 1);
	printf("%.2f %.2f\n", plain.cpu_ns / plain.done / 1000, attached.cpu_ns / attached.done / 1000);
	return 0;
}
