/*
 * p3.c
 *		P3: from the commit of an event to the action in a sender's hands.
 *
 *	p3 CONNINFO ROUNDS EVENTS GAP_US
 *
 * One producer and, in turn, one of four consumers, each a connection and a
 * thread of this process:
 *
 *	bare	INSERT into a plain table with NOTIFY; the consumer LISTENs, then
 *			takes the row (DELETE ... SKIP LOCKED ... RETURNING)
 *	listen	journey.track(); the worker enqueues; the consumer LISTENs on
 *			journey_outbox_p3, then claims
 *	wait	journey.track(); the consumer waits inside journey.claim(..., wait)
 *	pgq		pgq.insert_event(); the consumer ticks every 100 ms and takes the
 *			batch at once, so no ticker and no polling of its own add to the
 *			time; left out where PgQ is not installed
 *
 * Per round each variant gets EVENTS events, GAP_US apart, so that what else
 * the machine does falls on all alike. The time runs from the moment the
 * producer knows of its commit to the moment the consumer holds the row.
 * What the sender has claimed it settles after the block, untimed.
 * Prints a line per variant: name, p50 and p99 in microseconds.
 *
 * Runs anywhere; the producer and the consumers share one clock.
 */
#include <libpq-fe.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A block that takes longer has lost something. */
#define DEADLINE_US 60e6
#define TICK_US 100e3

typedef struct Variant
{
	const char *name;
	const char *produce;		/* $1 = number of the event */
	const char *listen;			/* none: the take itself waits */
	const char *tick;			/* every TICK_US, before the take */
	const char *take;			/* one column: the number */
	PGconn	   *producer;
	PGconn	   *consumer;
	double	   *times;
	int			n;
} Variant;

static Variant variants[] = {
	{.name = "bare", .produce =
		"WITH i AS (INSERT INTO bare (id, payload) VALUES ($1::bigint, '{\"amount\": 10}'))"
		" SELECT pg_notify('bare', '')",
		.listen = "LISTEN bare", .take =
	"DELETE FROM bare b USING (SELECT id FROM bare ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) t"
	" WHERE b.id = t.id RETURNING b.id"},
	{.name = "listen", .produce =
		"SELECT journey.track('shop', 'order_placed', jsonb_build_object('customer_id', ($1::bigint % 1000)::text),"
		" jsonb_build_object('order_id', $1::bigint, 'amount', 10))",
		.listen = "LISTEN journey_outbox_p3", .take =
	"SELECT payload ->> 'order_id' FROM journey.claim('p3', 100)"},
	{.name = "wait", .produce =
		"SELECT journey.track('shop', 'order_placed', jsonb_build_object('customer_id', ($1::bigint % 1000)::text),"
		" jsonb_build_object('order_id', $1::bigint, 'amount', 10))",
		.take =
	"SELECT payload ->> 'order_id' FROM journey.claim('p3', 100, wait => '200 ms')"},
	{.name = "pgq", .produce =
		"SELECT pgq.insert_event('p3', 'order_placed', $1::text)",
		.tick = "SELECT pgq.ticker('p3')", .take = "SELECT pgq_take()"},
};
static int	nvariants = sizeof(variants) / sizeof(variants[0]);

static long first_id;			/* of the present block */
static int	events;
static double *committed;		/* by number in the block */
static double *in_hand;
static atomic_int taken;

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static PGresult *
check(PGconn *conn, PGresult *res)
{
	ExecStatusType s = PQresultStatus(res);

	if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "p3: %s", PQerrorMessage(conn));
		exit(1);
	}
	return res;
}

static PGconn *
open_connection(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "p3: %s", PQerrorMessage(conn));
		exit(1);
	}
	return conn;
}

static void
take(Variant *v)
{
	PGresult   *res = check(v->consumer, PQexecPrepared(v->consumer, "take", 0, NULL, NULL, NULL, 0));
	double		now = now_us();

	for (int i = 0; i < PQntuples(res); i++)
	{
		long		id = atol(PQgetvalue(res, i, 0)) - first_id;

		if (id >= 0 && id < events)
		{
			in_hand[id] = now;
			atomic_fetch_add(&taken, 1);
		}
	}
	PQclear(res);
}

static void
sleep_until(double when)
{
	double		left;

	while ((left = when - now_us()) > 0)
	{
		struct timespec t = {(long) left / 1000000, (long) left % 1000000 * 1000};

		nanosleep(&t, NULL);
	}
}

static void *
consume(void *arg)
{
	Variant    *v = arg;
	double		deadline = now_us() + DEADLINE_US;
	double		tick = now_us();

	while (atomic_load(&taken) < events)
	{
		if (now_us() > deadline)
		{
			fprintf(stderr, "p3: %s: %d of %d events came\n", v->name, atomic_load(&taken), events);
			exit(1);
		}
		if (v->listen != NULL)
		{
			struct pollfd fd = {PQsocket(v->consumer), POLLIN, 0};
			PGnotify   *note;

			/* what came with the answer to the last take has been read from the socket already */
			if ((note = PQnotifies(v->consumer)) == NULL)
			{
				poll(&fd, 1, 200);
				PQconsumeInput(v->consumer);
			}
			else
				PQfreemem(note);
			while ((note = PQnotifies(v->consumer)) != NULL)
				PQfreemem(note);
		}
		if (v->tick != NULL)
		{
			sleep_until(tick += TICK_US);
			PQclear(check(v->consumer, PQexec(v->consumer, v->tick)));
		}
		take(v);
	}
	return NULL;
}

static void
produce(Variant *v, long gap_us)
{
	double		next = now_us();

	for (int i = 0; i < events; i++)
	{
		char		id[24];
		const char *values[1] = {id};

		sleep_until(next += gap_us);
		snprintf(id, sizeof(id), "%ld", first_id + i);
		PQclear(check(v->producer, PQexecPrepared(v->producer, "produce", 1, values, NULL, NULL, 0)));
		committed[i] = now_us();
	}
}

static void
run_block(Variant *v, long gap_us)
{
	pthread_t	consumer;

	atomic_store(&taken, 0);
	/* who does not take now is not woken either: it would want a core */
	if (v->listen != NULL)
		PQclear(check(v->consumer, PQexec(v->consumer, v->listen)));
	pthread_create(&consumer, NULL, consume, v);
	produce(v, gap_us);
	pthread_join(consumer, NULL);
	if (v->listen != NULL)
		PQclear(check(v->consumer, PQexec(v->consumer, "UNLISTEN *")));
	for (int i = 0; i < events; i++)
		v->times[v->n++] = in_hand[i] > committed[i] ? in_hand[i] - committed[i] : 0;
	first_id += events;
	/* what was claimed is sent: begin_send and ack, as one sender would */
	PQclear(check(v->consumer, PQexec(v->consumer, "CALL settle()")));
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static int
has_pgq(const char *conninfo)
{
	PGconn	   *conn = open_connection(conninfo);
	PGresult   *res = check(conn, PQexec(conn, "SELECT 1 FROM pg_extension WHERE extname = 'pgq'"));
	int			found = PQntuples(res) > 0;

	PQclear(res);
	PQfinish(conn);
	return found;
}

int
main(int argc, char **argv)
{
	int			rounds;
	long		gap_us;

	if (argc != 5 || (rounds = atoi(argv[2])) < 1 || (events = atoi(argv[3])) < 1 || (gap_us = atol(argv[4])) < 1)
	{
		fprintf(stderr, "usage: p3 CONNINFO ROUNDS EVENTS GAP_US\n");
		return 2;
	}
	if (!has_pgq(argv[1]))
		nvariants--;			/* it is the last */
	committed = calloc(events, sizeof(double));
	in_hand = calloc(events, sizeof(double));
	for (int i = 0; i < nvariants; i++)
	{
		Variant    *v = &variants[i];

		v->times = calloc((size_t) rounds * events + 1, sizeof(double));
		v->producer = open_connection(argv[1]);
		v->consumer = open_connection(argv[1]);
		PQclear(check(v->producer, PQprepare(v->producer, "produce", v->produce, 0, NULL)));
		PQclear(check(v->consumer, PQprepare(v->consumer, "take", v->take, 0, NULL)));
	}
	first_id = time(NULL) % 1000000 * 1000000L;
	for (int r = -1; r < rounds; r++)
		for (int i = 0; i < nvariants; i++)
		{
			run_block(&variants[i], gap_us);
			if (r < 0)
				variants[i].n = 0;	/* the first round warms plans and caches */
		}
	for (int i = 0; i < nvariants; i++)
	{
		Variant    *v = &variants[i];

		qsort(v->times, v->n, sizeof(double), compare);
		printf("%s %.0f %.0f\n", v->name, v->times[v->n / 2], v->times[(int) (v->n * 0.99)]);
	}
	return 0;
}
