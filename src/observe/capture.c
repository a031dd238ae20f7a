/*
 * capture.c
 *		The trigger that journey.attach() puts on the shop's tables.
 *
 * Runs inside the shop's statement, as the shop's role. It turns the mapped
 * columns into text, compares what the fence depends on before and after, and
 * appends to the inbox: no SPI, no lock but the inbox's own, no user
 * expression, no function that may reject a value. What it cannot read it
 * leaves out and flags; a mapping that no longer fits becomes a wildcard
 * fence. The shop's statement does not fail because of us.
 *
 * Memory: the executor's context of one trigger call.
 */
#include "observe/capture_row.h"

#include "access/xact.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "core/inbox.h"

#define MAX_FENCES (JNY_SPEC_CONSENTS + 1)	/* one may be the wildcard */

typedef struct Fence
{
	char		fence;
	const char *type;
	Jsonb	   *props;
} Fence;

/* One change of one row, while it is judged. */
typedef struct Change
{
	JnySpec    *spec;
	JnyImage   *old;			/* NULL for an insert */
	JnyImage   *new;			/* NULL for a delete */
	int			nfences;
	Fence		fences[MAX_FENCES];
} Change;

static void
add_fence(Change *change, char fence, const char *type, Jsonb *props)
{
	Assert(change->nfences < MAX_FENCES);
	change->fences[change->nfences].fence = fence;
	change->fences[change->nfences].type = type;
	change->fences[change->nfences].props = props;
	change->nfences++;
}

/* For types that only some document's suppress_on makes a fence. */
static void
add_fence_if_listed(Change *change, const char *type)
{
	if (jny_type_is_fenced(type))
		add_fence(change, JNY_FENCE_EVENT, type, NULL);
}

/* ---- a row that moves between partitions ------------------------------- */

/*
 * An UPDATE that moves a row fires DELETE on one leaf and, right behind it,
 * INSERT on the other. What the deleted row meant for the fence is kept until
 * the next row of this backend, so that the pair is judged as the update it
 * is: moving old orders to an archive must not stop today's reminders. Only
 * within one subtransaction: what a savepoint took back never happened.
 */
static struct
{
	FullTransactionId xact;
	SubTransactionId subxact;
	int			attachment;
	int64		object;
	char		status[16];		/* of canonical names, longest is "delivered" */
	int			nkeys;
	int64		keys[JNY_SPEC_KEYS];
} moved;

static void
remember_deleted(const JnySpec *spec, const JnyImage *old)
{
	moved.attachment = 0;
	if (spec->kind != JNY_SPEC_ORDER || !old->has_object
		|| old->status == NULL || strlen(old->status) >= sizeof(moved.status))
		return;
	moved.xact = GetTopFullTransactionId();
	moved.subxact = GetCurrentSubTransactionId();
	moved.attachment = spec->attachment;
	moved.object = old->object;
	strcpy(moved.status, old->status);
	moved.nkeys = old->nkeys;
	memcpy(moved.keys, old->keys, sizeof(int64) * old->nkeys);
}

/* The deleted row that the new one continues, or NULL; released = its fence was taken back when it went. */
static JnyImage *
recall_deleted(const JnySpec *spec, const JnyImage *new, bool *released)
{
	JnyImage   *old;

	if (moved.attachment == 0 || moved.attachment != spec->attachment)
		return NULL;
	moved.attachment = 0;
	if (!new->has_object || moved.object != new->object
		|| moved.subxact != GetCurrentSubTransactionId()
		|| !FullTransactionIdEquals(moved.xact, GetTopFullTransactionId()))
		return NULL;
	old = palloc0(sizeof(JnyImage));
	old->has_object = true;
	old->object = moved.object;
	old->status = pstrdup(moved.status);
	*released = spec->delete_cancels && jny_status_is_placed(moved.status);
	old->nkeys = moved.nkeys;
	memcpy(old->keys, moved.keys, sizeof(int64) * moved.nkeys);
	return old;
}

/* ---- what a change means for the fence --------------------------------- */

static bool
same_keys(const JnyImage *a, const JnyImage *b)
{
	return a->nkeys == b->nkeys
		&& memcmp(a->keys, b->keys, sizeof(int64) * a->nkeys) == 0;
}

static bool
became(const JnyImage *old, const JnyImage *new, const char *status)
{
	return new->status != NULL && strcmp(new->status, status) == 0
		&& (old == NULL || old->status == NULL || strcmp(old->status, status) != 0);
}

static void
judge_order(Change *change)
{
	static const char *const then[][2] = {
		{"paid", "order_paid"}, {"shipped", "shipment_shipped"},
		{"delivered", "shipment_delivered"}, {"cancelled", "order_cancelled"},
		{"refunded", "order_refunded"}, {"returned", "order_returned"}
	};
	JnyImage   *old = change->old;
	JnyImage   *new = change->new;
	bool		released = false;

	if (new == NULL)
	{
		if (change->spec->delete_cancels && jny_status_is_placed(old->status))
			add_fence(change, JNY_FENCE_RELEASE, "order_placed", NULL);
		remember_deleted(change->spec, old);
		return;
	}
	if (old == NULL)
		old = recall_deleted(change->spec, new, &released);
	/* a row that moved is placed still: its new fence comes behind the release and wins */
	if (jny_status_is_placed(new->status)
		&& (old == NULL || released || !jny_status_is_placed(old->status) || !same_keys(old, new)))
		add_fence(change, JNY_FENCE_EVENT, "order_placed", NULL);
	if (became(old, new, "cancelled"))
		add_fence(change, JNY_FENCE_RELEASE, "order_placed", NULL);
	for (int i = 0; i < (int) lengthof(then); i++)
		if (became(old, new, then[i][0]))
			add_fence_if_listed(change, then[i][1]);
}

static bool
is_opt_out(const char *state)
{
	return state != NULL
		&& (strcmp(state, "denied") == 0 || strcmp(state, "revoked") == 0
			|| strcmp(state, "complained") == 0 || strcmp(state, "bounced") == 0);
}

/* Every consent column of a customer that now says no and did not before; all of one that is deleted. */
static void
judge_customer(Change *change)
{
	const JnySpec *spec = change->spec;

	for (int i = 0; i < spec->nconsents; i++)
	{
		const JnySpecField *field = &spec->consents[i].state;

		if (change->new == NULL)
		{
			if (spec->delete_revokes)
				add_fence(change, JNY_FENCE_EVENT, "unsubscribed", spec->consents[i].props);
		}
		else if (is_opt_out(jny_image_field(spec, change->new, field))
			&& (change->old == NULL || !same_keys(change->old, change->new)
				|| !is_opt_out(jny_image_field(spec, change->old, field))))
			add_fence(change, JNY_FENCE_EVENT, "unsubscribed", spec->consents[i].props);
	}
}

static bool
same_field(const JnySpec *spec, const Change *change, const JnySpecField *field)
{
	const char *before = jny_image_field(spec, change->old, field);
	const char *now = jny_image_field(spec, change->new, field);

	return before == NULL || now == NULL ? before == now : strcmp(before, now) == 0;
}

static void
fence_consent(Change *change, const JnyImage *image)
{
	const JnySpec *spec = change->spec;

	add_fence(change, JNY_FENCE_EVENT, "unsubscribed",
			  jny_image_props("channel", jny_image_field(spec, image, &spec->channel),
							  "purpose", jny_image_field(spec, image, &spec->purpose)));
}

static void
judge_consent(Change *change)
{
	const JnySpec *spec = change->spec;
	JnyImage   *new = change->new;

	if (new == NULL && spec->delete_revokes)
		fence_consent(change, change->old);
	if (new == NULL || !is_opt_out(jny_image_field(spec, new, &spec->state)))
		return;
	if (change->old != NULL && same_keys(change->old, new)
		&& is_opt_out(jny_image_field(spec, change->old, &spec->state))
		&& same_field(spec, change, &spec->channel) && same_field(spec, change, &spec->purpose))
		return;
	fence_consent(change, new);
}

static void
judge_cart_line(Change *change)
{
	int			direction = 0;

	if (change->old == NULL)
		direction = 1;
	else if (change->new == NULL)
		direction = -1;
	else if (change->spec->quantity >= 0)
		direction = jny_image_compare_number(change->new, change->old, change->spec->quantity);
	if (direction != 0)
		add_fence_if_listed(change, direction > 0 ? "cart_item_added" : "cart_item_removed");
}

static void
judge_order_line(Change *change)
{
	if (change->new == NULL)
		return;
	if (change->old == NULL)
		add_fence_if_listed(change, "order_line_placed");
	if (became(change->old, change->new, "returned"))
		add_fence_if_listed(change, "order_line_returned");
}

/* Of a parcel that is on its way. Both are written in one format, so they compare as they are. */
static bool
is_delayed(const JnySpec *spec, const JnyImage *image)
{
	const char *promised = jny_image_field(spec, image, &spec->promised);
	const char *expected = jny_image_field(spec, image, &spec->expected);

	return promised != NULL && expected != NULL && strcmp(expected, promised) > 0 &&
		(image->status == NULL || (strcmp(image->status, "delivered") != 0 && strcmp(image->status, "picked_up") != 0));
}

/* As the lap takes it (parcel.c). */
static void
judge_parcel(Change *change)
{
	static const char *const then[][2] = {
		{"shipped", "shipment_shipped"}, {"ready", "pickup_ready"}, {"delivered", "shipment_delivered"},
		{"picked_up", "picked_up"}, {"requested", "return_requested"}, {"received", "return_received"}
	};

	if (change->new == NULL)
		return;
	for (int i = 0; i < (int) lengthof(then); i++)
		if (became(change->old, change->new, then[i][0]))
			add_fence_if_listed(change, then[i][1]);
	if (change->spec->kind == JNY_SPEC_SHIPMENT && is_delayed(change->spec, change->new) &&
		(change->old == NULL || !is_delayed(change->spec, change->old) || !same_field(change->spec, change, &change->spec->expected)))
		add_fence_if_listed(change, "delivery_delayed");
}

/* As the lap takes it (engagement.c), which alone knows whether the message is known. */
static bool
told_before(const Change *change)
{
	const JnySpec *spec = change->spec;

	return change->old != NULL && same_keys(change->old, change->new)
		&& same_field(spec, change, &spec->type) && same_field(spec, change, &spec->action)
		&& (jny_image_field(spec, change->new, &spec->action) != NULL || same_field(spec, change, &spec->provider_ref));
}

static void
judge_message(Change *change)
{
	const char *type;

	if (change->new == NULL || told_before(change))
		return;
	type = jny_image_field(change->spec, change->new, &change->spec->type);
	if (type != NULL && jny_type_is_opt_out(type))
		add_fence(change, JNY_FENCE_EVENT, type,
				  jny_image_props("action_id", jny_image_field(change->spec, change->new, &change->spec->action),
								  "provider_ref", jny_image_field(change->spec, change->new, &change->spec->provider_ref)));
	else if (type != NULL)
		add_fence_if_listed(change, type);
}

/* Keys that belong together, when this change is the first to say so. */
static void
judge_link(Change *change)
{
	JnyImage   *new = change->new;

	if (new == NULL || new->npeople < 2)
		return;
	if (change->old == NULL || !same_keys(change->old, new))
		add_fence(change, JNY_FENCE_LINK, NULL, NULL);
}

static void
judge(Change *change)
{
	if (change->spec->broken)
		add_fence(change, JNY_FENCE_BROKEN, NULL, NULL);
	switch (change->spec->kind)
	{
		case JNY_SPEC_ORDER:
			judge_order(change);
			break;
		case JNY_SPEC_CUSTOMER:
			judge_customer(change);
			break;
		case JNY_SPEC_CONSENT:
			judge_consent(change);
			break;
		case JNY_SPEC_CART_LINE:
			judge_cart_line(change);
			break;
		case JNY_SPEC_ORDER_LINE:
			judge_order_line(change);
			break;
		case JNY_SPEC_MESSAGE_EVENT:
			judge_message(change);
			break;
		case JNY_SPEC_SHIPMENT:
		case JNY_SPEC_RETURN:
			judge_parcel(change);
			break;
		case JNY_SPEC_CART:
		case JNY_SPEC_PRODUCT:
		case JNY_SPEC_STOCK:
			break;
	}
	/* a fence of any sort already says which keys belong together */
	if (change->nfences == 0)
		judge_link(change);
}

/* ---- appending --------------------------------------------------------- */

static void
set_fence(JnyInboxRow *row, const Fence *fence, const JnyImage *image)
{
	row->fence = fence->fence;
	row->type = fence->type;
	row->props = fence->props;
	row->nkeys = image->nkeys;
	row->keys = image->keys;
}

static void
append_change(Change *change, char op)
{
	JnyInboxRow rows[MAX_FENCES] = {0};
	JnySpec    *spec = change->spec;
	JnyImage   *image = change->new != NULL ? change->new : change->old;
	int			nrows = Max(change->nfences, 1);

	for (int i = 0; i < nrows; i++)
	{
		rows[i].op = i == 0 ? op : JNY_OP_FENCE;
		rows[i].attachment = spec->attachment;
		rows[i].source = spec->source;
		rows[i].scope = spec->scope;
		rows[i].ref = image->ref;
		if (i == 0)
			rows[i].cols = jny_image_cols(spec, change->new, change->old);
		else
			rows[i].subject = jny_image_subject(spec, image);
		if (change->nfences > 0)
			set_fence(&rows[i], &change->fences[i], image);
	}
	jny_inbox_append(rows, nrows);
}

static void
capture_truncate(JnySpec *spec)
{
	JnyInboxRow row = {
		.op = JNY_OP_TRUNCATE,
		.attachment = spec->attachment,
		.source = spec->source,
		.scope = spec->scope
	};

	jny_inbox_append(&row, 1);
}

static void
read_images(Change *change, TriggerData *trigdata)
{
	JnySpec    *spec = change->spec;

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		change->new = jny_image_read(spec, trigdata->tg_trigslot);
	else
		change->old = jny_image_read(spec, trigdata->tg_trigslot);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		change->new = jny_image_read(spec, trigdata->tg_newslot);
}

/* Whatever the session's settings are: values are written in one format. */
static void
read_images_settled(Change *change, TriggerData *trigdata)
{
	JnyTextSettings settings;

	jny_text_settings_begin(&settings);
	PG_TRY();
	{
		read_images(change, trigdata);
	}
	PG_FINALLY();
	{
		jny_text_settings_end(&settings);
	}
	PG_END_TRY();
}

static void
capture_row(JnySpec *spec, TriggerData *trigdata)
{
	Change		change = {.spec = spec};

	if (spec->needs_settings)
		read_images_settled(&change, trigdata);
	else
		read_images(&change, trigdata);

	/* Nothing that we keep has changed; with a broken mapping we cannot tell. */
	if (change.old != NULL && change.new != NULL && !spec->broken
		&& jny_image_equal(spec, change.old, change.new))
		return;
	judge(&change);
	append_change(&change, change.old == NULL ? JNY_OP_INSERT
				  : change.new == NULL ? JNY_OP_DELETE : JNY_OP_UPDATE);
}

PG_FUNCTION_INFO_V1(journey_capture);

Datum
journey_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	JnySpec    *spec;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event)
		|| TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) != TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("journey._capture() must be an AFTER trigger, for each row or for TRUNCATE"),
				 errhint("Capture triggers are made by journey.attach().")));
	spec = jny_spec_of(trigdata->tg_relation, trigdata->tg_trigger);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		capture_truncate(spec);
	else
		capture_row(spec, trigdata);
	return PointerGetDatum(NULL);
}
