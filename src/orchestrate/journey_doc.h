/*
 * journey_doc.h
 *		Between the cache of documents and what fills it.
 */
#ifndef JNY_JOURNEY_DOC_H
#define JNY_JOURNEY_DOC_H

#include "orchestrate/document.h"

/* ---- doc_fields.c: reading fields that have short forms ---------------- */

/* The elements of the array, or the value itself; 0 when the field is absent. */
extern int	jny_doc_items(Jsonb *object, const char *key, JsonbValue **items);
extern int	jny_doc_texts(Jsonb *object, const char *key, const char ***texts);
/* Elements that are objects. */
extern int	jny_doc_objects(Jsonb *object, const char *key, Jsonb ***objects);
/* Fields of an object whose values are texts. */
extern int	jny_doc_named(Jsonb *object, const char *key, JnyNamed **named);
extern double jny_doc_number(Jsonb *object, const char *key, double missing);
extern void jny_doc_on(JnyOn *on, Jsonb *object);
extern const char *jny_doc_when(Jsonb *object);	/* with max_age; NULL = always */
extern JnyOnUnknown jny_doc_on_unknown(Jsonb *object);
extern Jsonb *jny_doc_of(JsonbValue *value);	/* NULL when it is no object or array */

/* ---- journey_doc.c ------------------------------------------------------ */

/* A journey in the current memory context. */
extern JnyJourney *jny_journey_parse(const char *name, int version, Oid owner, Jsonb *doc,
									 Jsonb *refs, const char *start);

#endif							/* JNY_JOURNEY_DOC_H */
