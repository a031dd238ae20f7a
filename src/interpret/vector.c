/*
 * vector.c
 *		The packed vector of one profile's features: its bytes; see feature.h
 *		for the layout. What they mean is in aggregate.c.
 *
 * Pure functions on memory, called for the events of a batch and by whoever
 * reads a feature. Results live in CurrentMemoryContext. A vector that cannot
 * be read is an internal error (XX001), never a guess.
 */
#include "interpret/feature.h"

#include "lib/stringinfo.h"

#define VECTOR_VERSION 1

#define COUNT_ANEW "Set features to null in the person's row of journey.profile_state: they are counted anew from there."

/* ---- bytes ------------------------------------------------------------------------ */

typedef struct Reader
{
	const char *at;
	const char *end;
} Reader;

static void
refuse_cut(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a vector of features is cut short"),
			 errhint(COUNT_ANEW)));
}

static void
get_bytes(Reader *r, void *to, size_t n)
{
	if ((size_t) (r->end - r->at) < n)
		refuse_cut();
	memcpy(to, r->at, n);
	r->at += n;
}

static int64
get_int64(Reader *r)
{
	int64		v;

	get_bytes(r, &v, sizeof(v));
	return v;
}

static uint32
get_uint32(Reader *r)
{
	uint32		v;

	get_bytes(r, &v, sizeof(v));
	return v;
}

/* A length and that many bytes, as a varlena; 0 when the length is 0. */
static Datum
get_varlena(Reader *r)
{
	uint32		len = get_uint32(r);
	struct varlena *v;

	if (len == 0)
		return (Datum) 0;
	if (len > (uint32) (r->end - r->at) + 1)
		refuse_cut();
	v = palloc(VARHDRSZ + len - 1);
	SET_VARSIZE(v, VARHDRSZ + len - 1);
	get_bytes(r, VARDATA(v), len - 1);
	return PointerGetDatum(v);
}

static void
put_int64(StringInfo s, int64 v)
{
	appendBinaryStringInfo(s, (char *) &v, sizeof(v));
}

static void
put_varlena(StringInfo s, Datum d)
{
	struct varlena *v = d ? PG_DETOAST_DATUM_PACKED(d) : NULL;
	uint32		len = v ? VARSIZE_ANY_EXHDR(v) + 1 : 0;

	appendBinaryStringInfo(s, (char *) &len, sizeof(len));
	if (v != NULL)
		appendBinaryStringInfo(s, VARDATA_ANY(v), len - 1);
}

/* ---- reading and writing ------------------------------------------------------------------ */

/* What a grain holds: how many, a value, or (for an average) both. */
static bool
has_count(const JnyFeatureEntry *e)
{
	uint8		aggregate = e->kind & ~JNY_WINDOWED;

	return aggregate == JNY_AGG_COUNT || aggregate == JNY_AGG_AVG;
}

static bool
has_value(const JnyFeatureEntry *e)
{
	return (e->kind & ~JNY_WINDOWED) != JNY_AGG_COUNT;
}

static void
read_buckets(Reader *r, JnyFeatureEntry *e)
{
	e->nbuckets = e->room = (int) get_uint32(r);
	e->buckets = palloc0(sizeof(JnyFeatureBucket) * Max(e->nbuckets, 1));
	for (int i = 0; i < e->nbuckets; i++)
	{
		e->buckets[i].index = get_int64(r);
		if (has_value(e))
			e->buckets[i].value = get_varlena(r);
		if (has_count(e))
			e->buckets[i].count = get_uint32(r);
	}
}

static void
read_entry(Reader *r, JnyFeatureEntry *e)
{
	uint32		len;
	Reader		payload;

	memset(e, 0, sizeof(*e));
	get_bytes(r, &e->number, sizeof(e->number));
	get_bytes(r, &e->kind, sizeof(e->kind));
	len = get_uint32(r);
	if (len > (uint32) (r->end - r->at))
		refuse_cut();
	payload.at = r->at;
	payload.end = r->at += len;
	if (e->kind & JNY_WINDOWED)
		read_buckets(&payload, e);
	else
	{
		e->count = get_int64(&payload);
		e->at = get_int64(&payload);
		e->seq = get_int64(&payload);
		e->value = get_varlena(&payload);
	}
}

void
jny_vector_read(JnyVector *vector, bytea *packed)
{
	Reader		r;
	uint8		head[2];
	uint16		n;

	memset(vector, 0, sizeof(*vector));
	if (packed == NULL)
		return;
	packed = DatumGetByteaPP(PointerGetDatum(packed));
	r.at = VARDATA_ANY(packed);
	r.end = r.at + VARSIZE_ANY_EXHDR(packed);
	get_bytes(&r, head, sizeof(head));
	if (head[0] != VECTOR_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a vector of features has the unknown version %d", head[0]),
				 errhint(COUNT_ANEW)));
	get_bytes(&r, &n, sizeof(n));
	vector->n = vector->room = n;
	vector->entries = palloc(sizeof(JnyFeatureEntry) * Max(n, 1));
	for (int i = 0; i < n; i++)
		read_entry(&r, &vector->entries[i]);
}

static void
write_entry(StringInfo s, const JnyFeatureEntry *e)
{
	int			at;
	uint32		len = 0;

	appendBinaryStringInfo(s, (char *) &e->number, sizeof(e->number));
	appendBinaryStringInfo(s, (char *) &e->kind, sizeof(e->kind));
	at = s->len;
	appendBinaryStringInfo(s, (char *) &len, sizeof(len));
	if (e->kind & JNY_WINDOWED)
	{
		uint32		n = e->nbuckets;

		appendBinaryStringInfo(s, (char *) &n, sizeof(n));
		for (int i = 0; i < e->nbuckets; i++)
		{
			uint32		count = (uint32) e->buckets[i].count;

			put_int64(s, e->buckets[i].index);
			if (has_value(e))
				put_varlena(s, e->buckets[i].value);
			if (has_count(e))
				appendBinaryStringInfo(s, (char *) &count, sizeof(count));
		}
	}
	else
	{
		put_int64(s, e->count);
		put_int64(s, e->at);
		put_int64(s, e->seq);
		put_varlena(s, e->value);
	}
	len = s->len - at - sizeof(len);
	memcpy(s->data + at, &len, sizeof(len));
}

bytea *
jny_vector_write(const JnyVector *vector)
{
	StringInfoData s;
	char		head[2] = {VECTOR_VERSION, 0};
	uint16		n = (uint16) vector->n;

	initStringInfo(&s);
	appendStringInfoSpaces(&s, VARHDRSZ);
	appendBinaryStringInfo(&s, head, sizeof(head));
	appendBinaryStringInfo(&s, (char *) &n, sizeof(n));
	for (int i = 0; i < vector->n; i++)
		write_entry(&s, &vector->entries[i]);
	SET_VARSIZE(s.data, s.len);
	return (bytea *) s.data;
}

/* ---- entries ------------------------------------------------------------------------------- */

static uint8
kind_of(const JnyFeature *f)
{
	return (uint8) f->aggregate | (f->grain > 0 ? JNY_WINDOWED : 0);
}

JnyFeatureEntry *
jny_vector_entry(JnyVector *vector, const JnyFeature *f, bool create)
{
	int			low = 0;
	int			high = vector->n;
	JnyFeatureEntry *e;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (vector->entries[mid].number < f->number)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < vector->n && vector->entries[low].number == f->number)
		return &vector->entries[low];
	if (!create)
		return NULL;
	if (vector->n >= vector->room)
	{
		vector->room = Max(8, vector->room * 2);
		vector->entries = vector->entries == NULL
			? palloc(sizeof(JnyFeatureEntry) * vector->room)
			: repalloc(vector->entries, sizeof(JnyFeatureEntry) * vector->room);
	}
	e = &vector->entries[low];
	memmove(e + 1, e, sizeof(JnyFeatureEntry) * (vector->n - low));
	vector->n++;
	memset(e, 0, sizeof(*e));
	e->number = f->number;
	e->kind = kind_of(f);
	e->at = DT_NOBEGIN;
	return e;
}
