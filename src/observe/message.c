/*
 * message.c
 *		From a message to an inbox row.
 *
 * Called by track() and ingest(). Everything is palloc'd in the caller's
 * context. Checks types before it converts, so nothing can raise.
 */
#include "observe/message.h"

#include "utils/builtins.h"

bool
jny_fault(JnyFault *fault, int sqlstate, const char *hint, const char *fmt,...)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&buf, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	fault->sqlstate = sqlstate;
	fault->reason = buf.data;
	fault->hint = hint;
	return false;
}

/* ---- from a message to a row ---------------------------------------------- */

static bool
check_name(const char *what, char **name, bool required, JnyFault *fault)
{
	char	   *trimmed = *name ? jny_normalise("", *name) : NULL;

	if (trimmed == NULL && required)
		return jny_fault(fault, *name ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_NULL_VALUE_NOT_ALLOWED,
						 "Every event says which source it comes from and of which type it is.",
						 "%s of the event is missing", what);
	if (trimmed != NULL && strlen(trimmed) > JNY_MAX_NAME)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Send a short name; what is long belongs in props.",
						 "%s of the event is longer than %d bytes", what, JNY_MAX_NAME);
	*name = trimmed;
	return true;
}

/* Facts about products, signals and sent messages name no person themselves; who leaves by a message is its reader. */
bool
jny_message_needs_subject(const JnyMessage *m)
{
	static const char *const impersonal[] = {
		"product_changed", "stock_changed", "price_changed", "signal", NULL
	};

	for (int i = 0; impersonal[i] != NULL; i++)
		if (strcmp(m->type, impersonal[i]) == 0)
			return false;
	return strncmp(m->type, "message_", 8) != 0 && !jny_names_message(m->type, m->props);
}

static bool
add_subject_key(JnyKeys *keys, const char *scope, const char *namespace, JsonbValue *value, JnyFault *fault)
{
	char	   *text;

	if (value->type == jbvNull)
		return true;
	if (value->type != jbvString && value->type != jbvNumeric)
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "A subject is an object of namespaces with their values: {\"customer_id\": \"42\"}.",
						 "the subject's \"%s\" is neither text nor a number", namespace);
	text = jny_json_scalar_text(value);
	if (strlen(text) > JNY_MAX_KEY)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "A key is a short value that others send, too; send a digest of a long one.",
						 "the subject's \"%s\" is longer than %d bytes", namespace, JNY_MAX_KEY);
	if (keys->n == JNY_SUBJECT_KEYS)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Send those by which the person is known elsewhere; one or two will do.",
						 "the subject has more than %d keys", JNY_SUBJECT_KEYS);
	jny_keys_add(keys, namespace, scope, text);
	return true;
}

/* Says whether any key has a value, which is more than having a hash: a group's key gets none. */
static bool
check_subject(const JnyMessage *m, const char *scope, JnyKeys *keys, JnyFault *fault)
{
	JsonbIterator *it = jny_json_members(m->subject);
	JsonbValue	v;
	char	   *namespace;
	int			named = 0;

	if (m->subject == NULL && !jny_message_needs_subject(m))
		return true;
	if (it == NULL)
		return jny_fault(fault, m->subject ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_NULL_VALUE_NOT_ALLOWED,
						 "A subject is an object of namespaces with their values: {\"customer_id\": \"42\"}.",
						 "the subject is not an object");
	while (jny_json_next(&it, &namespace, &v))
	{
		char	   *text;

		if (!add_subject_key(keys, scope, namespace, &v, fault))
			return false;
		text = jny_json_scalar_text(&v);
		if (text != NULL && jny_normalise(namespace, text) != NULL)
			named++;
	}
	if (named == 0 && jny_message_needs_subject(m))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "Give at least one key that is not blank, such as {\"anonymous_id\": \"...\"}.",
						 "the subject names nobody");
	return true;
}

static bool
check_size(const JnyMessage *m, JnyFault *fault)
{
	Size		size = (m->subject ? VARSIZE(m->subject) : 0) + (m->props ? VARSIZE(m->props) : 0);

	if (size > JNY_MAX_MESSAGE)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						 "Send what decisions need, and a reference to the rest.",
						 "subject and properties are larger than %d bytes", JNY_MAX_MESSAGE);
	return true;
}

/* The order or cart that the event is about; its id is a key like those of the subject. */
const char *
jny_message_objects(JnyKeys *keys, Jsonb *props, const char *scope)
{
	char	   *cart = jny_json_text(props, "cart_id");
	char	   *order = jny_json_text(props, "order_id");

	cart = cart ? jny_normalise("cart", cart) : NULL;
	order = order ? jny_normalise("order", order) : NULL;
	jny_keys_add_object(keys, "cart", scope, cart);
	jny_keys_add_object(keys, "order", scope, order);
	if (order != NULL)
		return psprintf("order:%s", order);
	return cart ? psprintf("cart:%s", cart) : NULL;
}

/*
 * previous_id was the person's until now, as a browser's id or as an account's:
 * the lap finds out which (alias.c), and until then both may be theirs.
 */
void
jny_message_alias(JnyKeys *keys, const char *type, Jsonb *props, const char *scope)
{
	char	   *previous = strcmp(type, "alias") == 0 ? jny_json_text(props, "previous_id") : NULL;

	if (previous == NULL)
		return;
	jny_keys_add(keys, "anonymous_id", scope, previous);
	jny_keys_add(keys, "customer_id", scope, previous);
}

void
jny_message_make_row(const JnyMessage *m, JnyInboxRow *row, JnyKeys *keys)
{
	memset(row, 0, sizeof(*row));
	row->op = m->backfill ? JNY_OP_OLD_EVENT : JNY_OP_EVENT;
	row->source = m->source;
	row->scope = jny_source_scope(m->source);
	row->type = m->type;
	row->message_id = m->message_id;
	row->occurred_at = m->occurred_at;
	row->subject = m->subject;
	row->props = m->props;
	row->ref = jny_message_objects(keys, m->props, row->scope);
	jny_message_alias(keys, m->type, m->props, row->scope);
	row->fence = jny_fence_of(m->type, row->ref, keys);
	row->nkeys = keys->n;
	row->keys = keys->hash;
}

bool
jny_message_row(JnyMessage *m, JnyInboxRow *row, JnyKeys *keys, JnyFault *fault)
{
	keys->n = 0;
	if (!check_name("the source", &m->source, true, fault) ||
		!check_name("the type", &m->type, true, fault) ||
		!check_name("the message id", &m->message_id, false, fault) ||
		!check_subject(m, jny_source_scope(m->source), keys, fault) || !check_size(m, fault))
		return false;
	if (m->props != NULL && !JB_ROOT_IS_OBJECT(m->props))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "Properties are an object of names with their values.",
						 "the properties are not an object");
	if (TIMESTAMP_NOT_FINITE(m->occurred_at))
		return jny_fault(fault, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
						 "Leave it out when it is not known.", "the event's time is infinite");
	jny_message_make_row(m, row, keys);
	return true;
}
