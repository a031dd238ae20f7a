/*
 * every_channel.h
 *		Which channels an opt-out is meant for that names none.
 *
 * Text of subqueries. It has to be spelled out, channel by channel, because
 * whoever agrees to one of them later has agreed to that one. A document need
 * not be readable to be counted: better one consent less.
 */
#ifndef JNY_EVERY_CHANNEL_H
#define JNY_EVERY_CHANNEL_H

/* Those that a message of the purpose could go out on: without a document, and by one. */
#define JNY_CHANNELS_OF_HOUSE(purpose) \
	"SELECT v.channel FROM (VALUES ('email'), ('sms'), ('push')) AS v(channel)" \
	" UNION SELECT d.name FROM journey.document d WHERE d.kind = 'channel' AND d.state = 'active'" \
	"  AND d.doc ->> 'mode' IS DISTINCT FROM 'ops' AND COALESCE(d.doc -> 'purposes' ? (" purpose "), true)"

/* And those of which the person has said something; who has the columns bucket, profile_id and scope. */
#define JNY_EVERY_CHANNEL(purpose, who) \
	"(" JNY_CHANNELS_OF_HOUSE(purpose) \
	" UNION SELECT c.channel FROM journey.consent c" \
	"  WHERE c.bucket = " who ".bucket AND c.profile_id = " who ".profile_id AND c.scope = " who ".scope) AS u(channel)"

#endif							/* JNY_EVERY_CHANNEL_H */
