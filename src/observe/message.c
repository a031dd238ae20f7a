/*
 * message.c
 *		From a message to an inbox row: our own envelope, and Segment's calls.
 *
 * Called by track() and ingest(). Everything is palloc'd in the caller's
 * context. Checks types before it converts, so nothing can raise.
 */
#include "observe/message.h"

#include "utils/builtins.h"

#define MAX_NAME 256			/* bytes of a source, type or message id */
#define MAX_KEY 512				/* bytes of one key's value */
#define MAX_MESSAGE (1024 * 1024)	/* bytes of subject and properties */

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
	if (trimmed != NULL && strlen(trimmed) > MAX_NAME)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Send a short name; what is long belongs in props.",
						 "%s of the event is longer than %d bytes", what, MAX_NAME);
	*name = trimmed;
	return true;
}

/* Facts about products, signals and sent messages name no person themselves; who leaves by a message is its reader. */
static bool
needs_subject(const JnyMessage *m)
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
	if (strlen(text) > MAX_KEY)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "A key is a short value that others send, too; send a digest of a long one.",
						 "the subject's \"%s\" is longer than %d bytes", namespace, MAX_KEY);
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

	if (m->subject == NULL && !needs_subject(m))
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
	if (named == 0 && needs_subject(m))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "Give at least one key that is not blank, such as {\"anonymous_id\": \"...\"}.",
						 "the subject names nobody");
	return true;
}

static bool
check_size(const JnyMessage *m, JnyFault *fault)
{
	Size		size = (m->subject ? VARSIZE(m->subject) : 0) + (m->props ? VARSIZE(m->props) : 0);

	if (size > MAX_MESSAGE)
		return jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						 "Send what decisions need, and a reference to the rest.",
						 "subject and properties are larger than %d bytes", MAX_MESSAGE);
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

static void
make_row(const JnyMessage *m, JnyInboxRow *row, JnyKeys *keys)
{
	memset(row, 0, sizeof(*row));
	row->op = m->backfill ? JNY_OP_OLD_EVENT : JNY_OP_EVENT;
	row->source = m->source;
	/* copied: the registry may be read again before the row is appended */
	row->scope = pstrdup(jny_source_scope(m->source));
	row->type = m->type;
	row->message_id = m->message_id;
	row->occurred_at = m->occurred_at;
	row->subject = m->subject;
	row->props = m->props;
	row->ref = jny_message_objects(keys, m->props, row->scope);
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
	make_row(m, row, keys);
	return true;
}

/* ---- from json to a message ------------------------------------------------ */

static bool
get_text(Jsonb *json, const char *key, char **out, JnyFault *fault)
{
	JsonbValue	v;

	*out = NULL;
	if (jny_json_field(json, key, &v) == NULL || v.type == jbvNull)
		return true;
	if (v.type != jbvString && v.type != jbvNumeric)
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE, "Send it as a JSON string, or leave it out.",
						 "\"%s\" is neither text nor a number", key);
	*out = jny_json_scalar_text(&v);
	return true;
}

/* As text or not at all; for keys whose other types mean nothing. */
static char *
text_of(Jsonb *json, const char *key)
{
	JsonbValue	v;

	if (jny_json_field(json, key, &v) == NULL || (v.type != jbvString && v.type != jbvNumeric))
		return NULL;
	return jny_json_scalar_text(&v);
}

static bool
get_object(Jsonb *json, const char *key, Jsonb **out, JnyFault *fault)
{
	JsonbValue	v;

	*out = NULL;
	if (jny_json_field(json, key, &v) == NULL || v.type == jbvNull)
		return true;
	*out = v.type == jbvBinary ? JsonbValueToJsonb(&v) : NULL;
	if (*out == NULL || !JB_ROOT_IS_OBJECT(*out))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE, "Send a JSON object, or leave it out.",
						 "\"%s\" is not an object", key);
	return true;
}

static bool
get_time(Jsonb *json, const char *key, TimestampTz *out, JnyFault *fault)
{
	JsonbValue	v;
	char	   *text;

	if (jny_json_field(json, key, &v) == NULL || v.type == jbvNull)
		return true;
	text = v.type == jbvString ? jny_json_scalar_text(&v) : NULL;
	if (text == NULL || !jny_time_parse(text, out))
		return jny_fault(fault, ERRCODE_INVALID_DATETIME_FORMAT,
						 "Points in time are ISO 8601 texts, such as 2026-03-07T09:00:00Z.",
						 "\"%s\" is not a point in time", key);
	return true;
}

static bool
parse_envelope(Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	bool		foreign = false;

	if (!get_text(json, "source", &m->source, fault) || !get_text(json, "type", &m->type, fault) ||
		!get_text(json, "message_id", &m->message_id, fault) ||
		!get_object(json, "subject", &m->subject, fault) || !get_object(json, "props", &m->props, fault) ||
		!get_time(json, "occurred_at", &m->occurred_at, fault))
		return false;
	m->backfill = jny_json_bool(json, "backfill", false);
	if (m->type != NULL)
		m->type = pstrdup(jny_event_name(m->type, &foreign));
	if (foreign)
		m->props = jny_canonical_props(m->props);
	return true;
}

static void
push_key(JsonbParseState **state, const char *namespace, char *value)
{
	JsonbValue	v = {.type = jbvString};

	if (value == NULL)
		return;
	v.val.string.val = pstrdup(namespace);
	v.val.string.len = strlen(namespace);
	pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = value;
	v.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* Segment knows a person by userId and anonymousId; the e-mail stands in the traits, or in an order's properties. */
static Jsonb *
segment_subject(Jsonb *json, Jsonb *traits, Jsonb *props)
{
	JsonbParseState *state = NULL;
	char	   *email = text_of(traits, "email");

	if (email == NULL)
		email = text_of(props, "email");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "customer_id", text_of(json, "userId"));
	push_key(&state, "anonymous_id", text_of(json, "anonymousId"));
	push_key(&state, "email", email);
	push_key(&state, "phone", text_of(traits, "phone"));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bool
parse_segment(Jsonb *json, const char *call, JnyMessage *m, JnyFault *fault)
{
	Jsonb	   *traits;
	Jsonb	   *props;
	char	   *event = NULL;
	bool		foreign;

	if (!get_object(json, "traits", &traits, fault) || !get_object(json, "properties", &props, fault) ||
		!get_text(json, "event", &event, fault) || !get_text(json, "messageId", &m->message_id, fault) ||
		!get_text(json, "source", &m->source, fault) ||
		!get_time(json, "originalTimestamp", &m->occurred_at, fault) ||
		!get_time(json, "timestamp", &m->occurred_at, fault))
		return false;
	if (m->source == NULL)
		m->source = pstrdup("segment");
	if (traits == NULL)
		traits = jny_json_object(jny_json_object(json, "context"), "traits");
	m->subject = segment_subject(json, traits, props);
	m->props = jny_canonical_props(props);
	if (strcmp(call, "identify") == 0)
	{
		m->type = pstrdup("identified");
		m->props = traits;
	}
	else if (strcmp(call, "track") == 0)
		m->type = event ? pstrdup(jny_event_name(event, &foreign)) : NULL;
	else if (strcmp(call, "page") == 0 || strcmp(call, "screen") == 0)
		m->type = psprintf("%s_viewed", call);
	else
		return jny_fault(fault, ERRCODE_FEATURE_NOT_SUPPORTED,
						 "identify, track, page and screen are understood.",
						 "the Segment call \"%s\" is not understood", call);
	return true;
}

bool
jny_message_parse(Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	JsonbValue	v;
	char	   *type;

	memset(m, 0, sizeof(*m));
	if (!JB_ROOT_IS_OBJECT(json))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "A message is an object: {\"source\", \"type\", \"subject\", \"props\", \"occurred_at\", \"message_id\"}, or a Segment call.",
						 "the message is not an object");
	type = text_of(json, "type");
	if (jny_json_field(json, "subject", &v) == NULL && type != NULL &&
		(jny_json_field(json, "userId", &v) != NULL || jny_json_field(json, "anonymousId", &v) != NULL))
		return parse_segment(json, type, m, fault);
	return parse_envelope(json, m, fault);
}

/* ---- what a message says that has a fault ----------------------------------- */

/* The keys of a subject that can be read, any number of them; NULL = none. */
static Jsonb *
readable_keys(Jsonb *subject)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = jny_json_members(subject);
	JsonbValue	v;
	char	   *namespace;
	int			n = 0;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (jny_json_next(&it, &namespace, &v))
	{
		char	   *text = v.type == jbvString || v.type == jbvNumeric ? jny_json_scalar_text(&v) : NULL;

		if (text == NULL || strlen(text) > MAX_KEY || strlen(namespace) > MAX_NAME ||
			jny_normalise(namespace, text) == NULL)
			continue;
		push_key(&state, namespace, text);
		n++;
	}
	subject = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return n > 0 ? subject : NULL;
}

static char *
readable_source(Jsonb *json)
{
	char	   *source = text_of(json, "source");

	source = source != NULL ? jny_normalise("", source) : NULL;
	return source != NULL && strlen(source) <= MAX_NAME ? source : pstrdup("unknown");
}

static Jsonb *
readable_props(Jsonb *json)
{
	JnyFault	fault;
	Jsonb	   *props;

	if (!get_object(json, "props", &props, &fault) || props == NULL)
		(void) get_object(json, "properties", &props, &fault);
	return props != NULL && VARSIZE(props) <= MAX_MESSAGE ? jny_canonical_props(props) : NULL;
}

/* Whoever wants no more is not mailed because the rest of the message is odd. */
bool
jny_message_opt_out(Jsonb *json, JnyInboxRow *row, JnyKeys *keys)
{
	JnyMessage	m = {0};
	JnyFault	fault;
	bool		foreign;
	char	   *type = NULL;

	if (!JB_ROOT_IS_OBJECT(json))
		return false;
	type = text_of(json, "event");
	if (type == NULL)
		type = text_of(json, "type");
	type = type != NULL ? jny_normalise("", type) : NULL;
	if (type == NULL || strlen(type) > MAX_NAME)
		return false;
	m.type = pstrdup(jny_event_name(type, &foreign));
	if (!jny_type_is_opt_out(m.type))
		return false;
	m.source = readable_source(json);
	m.props = readable_props(json);
	if (!get_object(json, "subject", &m.subject, &fault) || m.subject == NULL)
		m.subject = segment_subject(json, jny_json_object(json, "traits"), m.props);
	m.subject = readable_keys(m.subject);
	if (m.subject == NULL && !jny_names_message(m.type, m.props))
		return false;
	if (!get_time(json, "occurred_at", &m.occurred_at, &fault) || TIMESTAMP_NOT_FINITE(m.occurred_at))
		m.occurred_at = 0;
	keys->n = 0;
	jny_keys_add_subject(keys, m.subject, pstrdup(jny_source_scope(m.source)));
	make_row(&m, row, keys);
	return true;
}
