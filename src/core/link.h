/*
 * link.h
 *		Whom committed events have linked without making them one person.
 */
#ifndef JNY_CORE_LINK_H
#define JNY_CORE_LINK_H

#include "core/core.h"

typedef struct JnyWho
{
	int16		bucket;
	pg_uuid_t	id;
} JnyWho;

typedef struct JnyLinked
{
	int			of;				/* place among those who were asked about */
	JnyWho		who;
} JnyLinked;

typedef struct JnyLinks
{
	int			n;
	int			max;
	JnyLinked  *link;			/* the nearest first */
} JnyLinks;

/*
 * Everybody linked with each of these people, themselves left out. What met
 * by people's own keys is followed on and on; what met only in a browser, a
 * device, a cart or an order is linked with each other and no further, or all
 * who share a tablet would be one. So whom one finds finds one.
 */
extern JnyLinks *jny_links_of(const JnyWho *who, int n);

#endif							/* JNY_CORE_LINK_H */
