/*
 * people.h
 *		What gate.c and limits.c read about the people of a call's actions.
 *
 * Rows are found by key, people in the order of the tables, so that one
 * descent warms the next; who has several actions is read once. Every read
 * takes a new snapshot. Memory: the caller's.
 */
#ifndef JNY_DELIVER_PEOPLE_H
#define JNY_DELIVER_PEOPLE_H

#include "deliver/work.h"

#include "core/link.h"
#include "core/table.h"

typedef struct JnyPeople
{
	int			nworks;
	JnyWork   **work;			/* by person */
	int			n;				/* people */
	int		   *first;			/* place of each one's first action; one more behind the last */
	JnyLinks   *links;			/* linked.c: ordered by whom; NULL = not read yet */
} JnyPeople;

extern JnyPeople *jny_people_of(List *works);
/*
 * linked.c: of each action the keys of its person, and of whoever is linked
 * with the person, that stand in a fence (keys and nkeys); unmet.
 */
extern void jny_people_fenced(JnyPeople *people, JnyFences *fences);
extern const JnyLinks *jny_people_links(JnyPeople *people);

typedef struct JnySuppression
{
	int			person;			/* place among the people */
	const char *type;
	const char *ref;
	const char *scope;
	const char *channel;
	const char *purpose;
	const char *reason;
	int64		seq;
	int64		lap;			/* that consumed it: decisions of earlier ones are stopped; of a manual one, all are */
	ArrayType  *matched;		/* uuid[]: enrollments */
	bool		linked;			/* stops the matched ones alone */
} JnySuppression;

/*
 * Those that hold now and may stop an action of their person. What was taken
 * back behind the gate's snapshot still holds. List of JnySuppression *.
 */
extern List *jny_people_suppressions(const JnyGate *gate, JnyPeople *people);
/* known ... exit_reason, consent, address ... address_shared */
extern void jny_people_read(const JnyGate *gate, const JnyPeople *people);
/* The others at this address: bucket and profile_id. */
extern JnyRows *jny_people_sharing(int64 address_hash);

#endif							/* JNY_DELIVER_PEOPLE_H */
