/*
 * envelope.c
 *		From json to a message: our own envelope, CloudEvents, Segment's calls
 *		and payloads of GA4's measurement protocol.
 *
 * Called by ingest(). Pure; results are palloc'd in the caller's context. What
 * cannot be read is a fault, never an error: the other messages of the batch
 * pass.
 */
#include "observe/message.h"

#include "utils/builtins.h"

/* ---- what is read of json ---------------------------------------------------- */

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


/* ---- our own ------------------------------------------------------------------- */

static bool
parse_own(Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	if (!get_text(json, "source", &m->source, fault) || !get_text(json, "type", &m->type, fault) ||
		!get_text(json, "message_id", &m->message_id, fault) ||
		!get_object(json, "subject", &m->subject, fault) || !get_object(json, "props", &m->props, fault) ||
		!get_time(json, "occurred_at", &m->occurred_at, fault))
		return false;
	m->backfill = jny_json_bool(json, "backfill", false);
	jny_message_canonical(m);
	return true;
}

/* ---- CloudEvents ------------------------------------------------------------------ */

/* "customer_id:42" or "customer_id/42": a namespace and its value; NULL when the text is something else. */
static Jsonb *
cloud_subject(char *text)
{
	JsonbParseState *state = NULL;
	size_t		n = text != NULL ? strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;

	if (n == 0 || (text[n] != ':' && text[n] != '/') || text[n + 1] == '\0' || text[n + 1] == '/')
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, pnstrdup(text, n), text + n + 1);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The data without the subject that it may hold. */
static Jsonb *
cloud_props(Jsonb *data)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = jny_json_members(data);
	JsonbValue	v;
	char	   *name;

	if (it == NULL || jny_json_object(data, "subject") == NULL)
		return data;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (jny_json_next(&it, &name, &v))
	{
		JsonbValue	key = {.type = jbvString, .val.string = {strlen(name), name}};

		if (strcmp(name, "subject") == 0)
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Structured mode, version 1. The subject of a CloudEvent is a text: one key of
 * the person; who has several writes an object into the data. The pair of
 * source and id is what makes an event one.
 */
static bool
parse_cloud(Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	char	   *version = text_of(json, "specversion");
	char	   *subject;
	Jsonb	   *data;
	JsonbValue	v;

	if (version == NULL || strncmp(version, "1.", 2) != 0)
		return jny_fault(fault, ERRCODE_FEATURE_NOT_SUPPORTED, "Send events of specversion 1.0.",
						 "CloudEvents of version \"%s\" are not understood", version != NULL ? version : "");
	if (jny_json_field(json, "data_base64", &v) != NULL)
		return jny_fault(fault, ERRCODE_FEATURE_NOT_SUPPORTED, "Send data as a JSON object.",
						 "the data of the CloudEvent is binary");
	if (!get_text(json, "source", &m->source, fault) || !get_text(json, "type", &m->type, fault) ||
		!get_text(json, "id", &m->message_id, fault) || !get_text(json, "subject", &subject, fault) ||
		!get_object(json, "data", &data, fault) || !get_time(json, "time", &m->occurred_at, fault))
		return false;
	if (m->message_id == NULL)
		return jny_fault(fault, ERRCODE_NULL_VALUE_NOT_ALLOWED, "A CloudEvent is known by its source and its id.",
						 "the id of the CloudEvent is missing");
	m->subject = jny_json_object(data, "subject");
	if (m->subject == NULL)
		m->subject = cloud_subject(subject);
	m->props = cloud_props(data);
	m->backfill = jny_json_bool(json, "backfill", false);
	if (m->type != NULL)
		m->type = pstrdup(jny_event_without_prefix(m->type));
	jny_message_canonical(m);
	if (m->subject == NULL && m->type != NULL && jny_message_needs_subject(m))
		return jny_fault(fault, ERRCODE_NULL_VALUE_NOT_ALLOWED,
						 "Write \"subject\": \"customer_id:42\", or an object \"subject\" into the data: {\"customer_id\": \"42\"}.",
						 "the subject of the CloudEvent names no key of a person");
	return true;
}

/* ---- Segment --------------------------------------------------------------------- */

/* Segment knows a person by userId and anonymousId; the e-mail stands in the person's traits, or in an order's properties. */
static Jsonb *
segment_subject(Jsonb *json, Jsonb *traits, Jsonb *props, const char *anonymous, const char *group)
{
	JsonbParseState *state = NULL;
	char	   *email = text_of(traits, "email");
	char	   *anonymous_id = text_of(json, "anonymousId");

	if (email == NULL)
		email = text_of(props, "email");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "customer_id", text_of(json, "userId"));
	push_key(&state, "anonymous_id", anonymous_id != NULL ? anonymous_id : unconstify(char *, anonymous));
	push_key(&state, "email", email);
	push_key(&state, "phone", text_of(traits, "phone"));
	push_key(&state, "company", unconstify(char *, group));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* An object with one more field; what it says under that name itself stays. */
static Jsonb *
with_text(Jsonb *object, const char *name, char *text)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = jny_json_members(object);
	JsonbValue	v;
	char	   *member;

	if (text == NULL)
		return object;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, name, text);
	while (it != NULL && jny_json_next(&it, &member, &v))
	{
		JsonbValue	key = {.type = jbvString, .val.string = {strlen(member), member}};

		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Pages and screens have a name and a category of their own. */
static void
segment_page(Jsonb *json, const char *call, JnyMessage *m)
{
	m->type = psprintf("%s_viewed", call);
	m->props = with_text(with_text(m->props, "name", text_of(json, "name")), "category", text_of(json, "category"));
	m->props = jny_canonical_props(m->props);
}

/*
 * previousId was the person's until now: a browser's id, or an account's, which
 * the lap finds out. The traits of a group are not those of its members.
 */
static bool
segment_call(Jsonb *json, const char *call, Jsonb *traits, JnyMessage *m, JnyFault *fault)
{
	Jsonb	   *person = traits;
	Jsonb	   *said = NULL;	/* properties that may tell the person's e-mail */
	const char *anonymous = NULL;
	char	   *group = NULL;

	if (person == NULL || strcmp(call, "group") == 0)
		person = jny_json_object(jny_json_object(json, "context"), "traits");
	if (strcmp(call, "identify") == 0)
	{
		m->type = pstrdup("identified");
		m->props = person;
	}
	else if (strcmp(call, "alias") == 0)
	{
		char	   *previous = text_of(json, "previousId");

		if (previous == NULL || text_of(json, "userId") == NULL)
			return jny_fault(fault, ERRCODE_NULL_VALUE_NOT_ALLOWED, "An alias says who somebody was, previousId, and who they are, userId.",
							 "the alias lacks its %s", previous == NULL ? "previousId" : "userId");
		m->type = pstrdup("alias");
		m->props = with_text(m->props, "previous_id", previous);
		anonymous = previous;
	}
	else if (strcmp(call, "group") == 0)
	{
		group = text_of(json, "groupId");
		if (group == NULL)
			return jny_fault(fault, ERRCODE_NULL_VALUE_NOT_ALLOWED, "A group call says which group, groupId.",
							 "the group call lacks its groupId");
		m->type = pstrdup("group_joined");
		m->props = with_text(traits, "group_id", group);
	}
	else if (strcmp(call, "page") == 0 || strcmp(call, "screen") == 0)
		segment_page(json, call, m);
	else if (strcmp(call, "track") == 0)
	{
		jny_message_canonical(m);
		said = m->props;
	}
	else
		return jny_fault(fault, ERRCODE_FEATURE_NOT_SUPPORTED,
						 "identify, track, page, screen, group and alias are understood.",
						 "the Segment call \"%s\" is not understood", call);
	m->subject = segment_subject(json, person, said, anonymous, group);
	return true;
}

static bool
parse_segment(Jsonb *json, const char *call, JnyMessage *m, JnyFault *fault)
{
	Jsonb	   *traits;

	if (!get_object(json, "traits", &traits, fault) || !get_object(json, "properties", &m->props, fault) ||
		!get_text(json, "event", &m->type, fault) || !get_text(json, "messageId", &m->message_id, fault) ||
		!get_text(json, "source", &m->source, fault) ||
		!get_time(json, "originalTimestamp", &m->occurred_at, fault) ||
		!get_time(json, "timestamp", &m->occurred_at, fault))
		return false;
	if (m->source == NULL)
		m->source = pstrdup("segment");
	m->foreign = true;
	return segment_call(json, call, traits, m, fault);
}

static bool
is_segment(Jsonb *json)
{
	static const char *const ids[] = {"userId", "anonymousId", "previousId"};
	JsonbValue	v;

	if (text_of(json, "type") == NULL || jny_json_field(json, "subject", &v) != NULL)
		return false;
	for (size_t i = 0; i < lengthof(ids); i++)
		if (jny_json_field(json, ids[i], &v) != NULL)
			return true;
	return false;
}

/* ---- GA4 ----------------------------------------------------------------------------- */

/* The events of a payload; NULL = it is no such payload. */
static Jsonb *
ga4_events(Jsonb *json)
{
	Jsonb	   *events = JB_ROOT_IS_OBJECT(json) ? jny_json_object(json, "events") : NULL;
	JsonbValue	v;

	if (events == NULL || !JB_ROOT_IS_ARRAY(events) || jny_json_field(json, "type", &v) != NULL ||
		(jny_json_field(json, "client_id", &v) == NULL && jny_json_field(json, "app_instance_id", &v) == NULL))
		return NULL;
	return events;
}

static bool
get_micros(Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	char	   *text = text_of(json, "timestamp_micros");
	char	   *end;
	int64		micros;

	if (text == NULL)
		return true;
	errno = 0;
	micros = strtoi64(text, &end, 10);
	if (errno != 0 || *end != '\0' || micros < 0 || micros > INT64CONST(253402300799999999))
		return jny_fault(fault, ERRCODE_INVALID_DATETIME_FORMAT, "Send microseconds since 1970, or leave it out.",
						 "\"timestamp_micros\" is not a point in time");
	m->occurred_at = micros - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	return true;
}

/* A payload with one event: see jny_message_parts(). */
static bool
parse_ga4(Jsonb *json, Jsonb *events, JnyMessage *m, JnyFault *fault)
{
	JsonbParseState *state = NULL;
	JsonbValue *first = JB_ROOT_COUNT(events) == 1 ? getIthJsonbValueFromContainer(&events->root, 0) : NULL;
	Jsonb	   *event = first != NULL && first->type == jbvBinary ? JsonbValueToJsonb(first) : NULL;
	char	   *client = text_of(json, "client_id");

	if (event == NULL || !JB_ROOT_IS_OBJECT(event))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE, "A GA4 payload has an array of events: [{\"name\", \"params\"}].",
						 "the GA4 payload has no event");
	if (!get_text(json, "source", &m->source, fault) || !get_text(event, "name", &m->type, fault) ||
		!get_object(event, "params", &m->props, fault) ||
		!get_micros(json, m, fault) || !get_micros(event, m, fault))
		return false;
	if (m->source == NULL)
		m->source = pstrdup("ga4");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "customer_id", text_of(json, "user_id"));
	push_key(&state, "anonymous_id", client != NULL ? client : text_of(json, "app_instance_id"));
	m->subject = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	m->foreign = true;
	jny_message_canonical(m);
	return true;
}

/* The same payload with one of its events. */
static Jsonb *
ga4_part(Jsonb *json, JsonbValue *event)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = jny_json_members(json);
	JsonbValue	v;
	char	   *name;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (jny_json_next(&it, &name, &v))
	{
		JsonbValue	key = {.type = jbvString, .val.string = {strlen(name), name}};

		pushJsonbValue(&state, WJB_KEY, &key);
		if (strcmp(name, "events") == 0)
		{
			pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
			pushJsonbValue(&state, WJB_ELEM, event);
			pushJsonbValue(&state, WJB_END_ARRAY, NULL);
		}
		else
			pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- any of them ---------------------------------------------------------------------- */

List *
jny_message_parts(Jsonb *json)
{
	Jsonb	   *events = ga4_events(json);
	List	   *parts = NIL;

	if (events == NULL || JB_ROOT_COUNT(events) < 2)
		return NIL;
	for (uint32 i = 0; i < JB_ROOT_COUNT(events); i++)
		parts = lappend(parts, ga4_part(json, getIthJsonbValueFromContainer(&events->root, i)));
	return parts;
}

bool
jny_message_parse(Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	JsonbValue	v;
	Jsonb	   *events;

	memset(m, 0, sizeof(*m));
	if (!JB_ROOT_IS_OBJECT(json))
		return jny_fault(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						 "A message is an object: {\"source\", \"type\", \"subject\", \"props\", \"occurred_at\", \"message_id\"}, a CloudEvent or a Segment call.",
						 "the message is not an object");
	if (jny_json_field(json, "specversion", &v) != NULL)
		return parse_cloud(json, m, fault);
	if ((events = ga4_events(json)) != NULL)
		return parse_ga4(json, events, m, fault);
	if (is_segment(json))
		return parse_segment(json, text_of(json, "type"), m, fault);
	return parse_own(json, m, fault);
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

		if (text == NULL || strlen(text) > JNY_MAX_KEY || strlen(namespace) > JNY_MAX_NAME ||
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
	return source != NULL && strlen(source) <= JNY_MAX_NAME ? source : pstrdup("unknown");
}

static Jsonb *
readable_props(Jsonb *json)
{
	static const char *const names[] = {"props", "properties", "data"};
	JnyFault	fault;
	Jsonb	   *props = NULL;

	for (size_t i = 0; i < lengthof(names) && props == NULL; i++)
		(void) get_object(json, names[i], &props, &fault);
	return props != NULL && VARSIZE(props) <= JNY_MAX_MESSAGE ? jny_canonical_props(props) : NULL;
}

static Jsonb *
readable_subject(Jsonb *json, Jsonb *props)
{
	JnyFault	fault;
	Jsonb	   *subject;

	if (get_object(json, "subject", &subject, &fault) && subject != NULL)
		return subject;
	subject = jny_json_object(jny_json_object(json, "data"), "subject");
	if (subject == NULL)
		subject = cloud_subject(text_of(json, "subject"));
	return subject != NULL ? subject : segment_subject(json, jny_json_object(json, "traits"), props, NULL, NULL);
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
	if (type == NULL || strlen(type) > JNY_MAX_NAME)
		return false;
	m.type = pstrdup(jny_event_name(jny_event_without_prefix(type), &foreign));
	if (!jny_type_is_opt_out(m.type))
		return false;
	m.source = readable_source(json);
	m.props = readable_props(json);
	m.subject = readable_keys(readable_subject(json, m.props));
	if (m.subject == NULL && !jny_names_message(m.type, m.props))
		return false;
	if (!get_time(json, "occurred_at", &m.occurred_at, &fault) || TIMESTAMP_NOT_FINITE(m.occurred_at))
		m.occurred_at = 0;
	keys->n = 0;
	jny_keys_add_subject(keys, m.subject, jny_source_scope(m.source));
	jny_message_make_row(&m, row, keys);
	return true;
}
