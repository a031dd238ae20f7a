/*
 * parcel_store.c
 *		Reading and writing shipments and returns.
 *
 * Called by take.c around parcel.c. Both tables have the same columns up to
 * changed_at; what is a shipment's or a return's own comes behind.
 */
#include "observe/parcel.h"

#include "utils/builtins.h"

#define SHIPMENT_KEY "bucket, profile_id, scope, shipment_id"
#define RETURN_KEY "bucket, profile_id, scope, return_id"
#define SHIPMENT_COLUMNS \
	"order_id, status, status_at, shipped_at, ready_at, delivered_at, seq, props, changed_at, promised_at, expected_at, delayed_to"
#define RETURN_COLUMNS \
	"order_id, status, status_at, requested_at, approved_at, received_at, seq, props, changed_at, reason"
JNY_LOOKUP(find_shipments, "shipment", "shipment_pkey", SHIPMENT_KEY, "source, " SHIPMENT_COLUMNS, NULL);
JNY_LOOKUP(find_returns, "returns", "returns_pkey", RETURN_KEY, "source, " RETURN_COLUMNS, NULL);
JNY_DELETE(delete_shipments, "shipment", "shipment_pkey", SHIPMENT_KEY);
JNY_DELETE(delete_returns, "returns", "returns_pkey", RETURN_KEY);
JNY_UPSERT(upsert_shipments, "shipment", "shipment_pkey", SHIPMENT_KEY, SHIPMENT_KEY ", source, " SHIPMENT_COLUMNS, SHIPMENT_COLUMNS);
JNY_UPSERT(upsert_returns, "returns", "returns_pkey", RETURN_KEY, RETURN_KEY ", source, " RETURN_COLUMNS, RETURN_COLUMNS);

/* ---- loading ---------------------------------------------------------- */

static bool
touches_parcel(const JnyFact *fact)
{
	return !fact->drop && !fact->fence_only && fact->parcel != NULL && fact->profile != NULL;
}

static void
add_parcel(JnyTake *take, JnyFact *fact)
{
	JnyParcels *parcels = take->parcels;
	JnyParcel  *p;
	bool		found;

	if (parcels->table == NULL)
		parcels->table = jny_table(take, "journey parcels", sizeof(JnyKey *), sizeof(JnyParcel));
	p = hash_search(parcels->table, &fact->parcel, HASH_ENTER, &found);
	if (found)
		return;
	memset((char *) p + sizeof(JnyKey *), 0, sizeof(JnyParcel) - sizeof(JnyKey *));
	p->kind = fact->parcel_kind;
	p->scope = fact->scope;
	p->id = fact->parcel_id;
	p->source = fact->source;
	p->changed_at = fact->occurred_at;
	if (parcels->n == parcels->max)
	{
		parcels->max = Max(64, parcels->max * 2);
		parcels->parcel = parcels->parcel == NULL ? palloc(sizeof(JnyParcel *) * parcels->max)
			: repalloc(parcels->parcel, sizeof(JnyParcel *) * parcels->max);
	}
	parcels->parcel[parcels->n++] = p;
}

static void
load_parcel(JnyParcel *p, const JnyRow *row)
{
	p->exists = true;
	p->source = jny_row_text(row, 0);
	p->order_id = jny_row_text(row, 1);
	p->status = jny_row_text(row, 2);
	p->status_at = jny_row_time(row, 3);
	for (int i = 0; i < JNY_MILESTONES; i++)
		p->milestone[i] = jny_row_time(row, 4 + i);
	p->props = DatumGetJsonbP(row->values[8]);
	p->changed_at = jny_row_time(row, 9);
	if (p->kind == JNY_KIND_RETURN)
	{
		p->reason = jny_row_text(row, 10);
		return;
	}
	p->promised_at = jny_row_time(row, 10);
	p->expected_at = jny_row_time(row, 11);
	p->delayed_to = jny_row_time(row, 12);
}

static void
put_key(JnyCols *cols, const JnyParcel *p, const JnyProfile *owner)
{
	jny_cols_set(cols, 0, Int16GetDatum(owner->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&owner->id));
	jny_cols_text(cols, 2, p->scope);
	jny_cols_text(cols, 3, p->id);
}

static void
load_kind(JnyTake *take, JnyKind kind, JnyAccess *access)
{
	JnyOut		keys = {.access = access};
	List	   *asked = NIL;
	JnyRows    *found;

	for (int i = 0; i < take->parcels->n; i++)
	{
		JnyParcel  *p = take->parcels->parcel[i];

		if (p->kind != kind || p->key->stored_at == NULL)
			continue;
		put_key(jny_out(&keys), p, p->key->stored_at);
		jny_cols_next(keys.cols);
		asked = lappend(asked, p);
	}
	if (asked == NIL)
		return;
	found = jny_lookup(access, keys.cols);
	for (int i = 0; i < found->n; i++)
		load_parcel(list_nth(asked, found->row[i].key), &found->row[i]);
}

void
jny_parcel_load(JnyTake *take)
{
	take->parcels = palloc0(sizeof(JnyParcels));
	for (int i = 0; i < take->nfacts; i++)
		if (touches_parcel(take->facts[i]))
			add_parcel(take, take->facts[i]);
	load_kind(take, JNY_KIND_SHIPMENT, &find_shipments);
	load_kind(take, JNY_KIND_RETURN, &find_returns);
}

JnyParcel *
jny_parcel_of(JnyTake *take, JnyFact *fact)
{
	if (fact->parcel == NULL || take->parcels->table == NULL)
		return NULL;
	return hash_search(take->parcels->table, &fact->parcel, HASH_FIND, NULL);
}

/* ---- writing ---------------------------------------------------------- */

static void
put_parcel(JnyCols *cols, const JnyParcel *p)
{
	put_key(cols, p, p->key->profile);
	jny_cols_text(cols, 4, p->source);
	jny_cols_text(cols, 5, p->order_id);
	jny_cols_text(cols, 6, p->status);
	jny_cols_time(cols, 7, p->status_at != 0 ? p->status_at : p->changed_at);
	for (int i = 0; i < JNY_MILESTONES; i++)
		jny_cols_time(cols, 8 + i, p->milestone[i]);
	jny_cols_set(cols, 11, Int64GetDatum(p->seq));
	jny_cols_set(cols, 12, JsonbPGetDatum(p->props != NULL ? p->props : jny_object_empty()));
	jny_cols_set(cols, 13, TimestampTzGetDatum(p->changed_at));
	if (p->kind == JNY_KIND_RETURN)
		jny_cols_text(cols, 14, p->reason);
	else
	{
		jny_cols_time(cols, 14, p->promised_at);
		jny_cols_time(cols, 15, p->expected_at);
		jny_cols_time(cols, 16, p->delayed_to);
	}
	jny_cols_next(cols);
}

static void
write_kind(JnyTake *take, JnyKind kind, JnyAccess *delete, JnyAccess *upsert)
{
	JnyOut		gone = {.access = delete};
	JnyOut		rows = {.access = upsert};

	for (int i = 0; i < take->parcels->n; i++)
	{
		JnyParcel  *p = take->parcels->parcel[i];
		bool		moved = p->exists && p->key->stored_at != p->key->profile;

		if (p->kind != kind || p->status == NULL || (!p->dirty && !moved))
			continue;
		if (moved)
		{
			put_key(jny_out(&gone), p, p->key->stored_at);
			jny_cols_next(gone.cols);
		}
		put_parcel(jny_out(&rows), p);
	}
	jny_out_write(&gone);
	jny_out_write(&rows);
}

void
jny_parcel_write(JnyTake *take)
{
	write_kind(take, JNY_KIND_SHIPMENT, &delete_shipments, &upsert_shipments);
	write_kind(take, JNY_KIND_RETURN, &delete_returns, &upsert_returns);
}
