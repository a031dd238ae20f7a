/*
 * capture.h
 *		What the capture trigger writes into the inbox, for those who read it.
 *
 * One inbox row per changed row of an attached table (op I, U, D), per row
 * read by attach or reconcile (op B) and per TRUNCATE (op T):
 *
 *	attachment	row of journey.attachment: its map says what the columns mean.
 *				Rows of detached tables are kept, so an id never loses its map.
 *	source, scope	of the map and of journey.source
 *	cols		text[]: the columns of attachment.columns, in that order (n).
 *				I, B: new values; U: new values, then old ones (2n); D: old
 *				values; T: null. One more element (n + 1, or 2n + 1) is there
 *				only when a value was cut at journey.max_value or could not be
 *				written: the positions concerned, from 1, separated by spaces.
 *				A cut value keeps its first characters when its type is a
 *				string type and is null otherwise.
 *	props		of B: {"snapshot"} of the reading; a change that it does not see
 *				makes the row void (stale.c). Of a fence: see below
 *	ref			'order:<id>' for order and order_line and for the order of a
 *				shipment or return, 'cart:<id>' for cart and cart_line; null
 *				when the id is null
 *	occurred_at	time of capture; the map's "at" column is in cols
 *	type, fence, keys	of the fence only; type is null when there is none.
 *				'f' order_placed, unsubscribed (props: channel, purpose of the
 *				opt-out; absent = every), or another fenced type;
 *				'r' order_placed, released because the order was cancelled;
 *				'l' two or more keys seen together for the first time;
 *				'b' a mapped column is missing, its values are null
 *
 * Values are written in one format whatever the session's settings: ISO dates,
 * time zone UTC, shortest exact floats, booleans as true and false.
 *
 * When one change means two fences, the second is a row of its own with op
 * JNY_OP_FENCE right behind: source, scope, type, ref, keys, subject (and
 * props of an opt-out), no cols. It stops actions; it is no event.
 *
 * A row that an UPDATE moved to another partition arrives as D and I of the
 * same key in one transaction: one update. The fence already treats it so.
 */
#ifndef JNY_CAPTURE_H
#define JNY_CAPTURE_H

#include "core/core.h"

/*
 * The canonical value behind a shop's value: what the map's "values" say, the
 * trigger and the worker alike. raw NULL is looked up as ""; a value that is
 * not listed takes the entry "*" (a null does not); NULL when nothing is said.
 * Without "values" (NULL) a value stands for itself.
 * The result is palloc'd or raw itself.
 */
extern const char *jny_attach_value(Jsonb *values, const char *raw);

/* placed, paid, shipped or delivered: the order counts as bought. */
extern bool jny_status_is_placed(const char *canonical);

#endif							/* JNY_CAPTURE_H */
