/*
 * alias.c
 *		What an alias says of who somebody was before.
 *
 * Segment's previousId is the id of a browser or of an account, and does not
 * say which. Both keys go with the fact until the known keys have been read;
 * then the one that nobody knows goes, and where both are known the account's:
 * two accounts are not made one on a guess. Called by decode_event.c and
 * identity.c; no statements.
 */
#include "observe/decode.h"

void
jny_alias_keys(JnyTake *take, JnyFact *fact)
{
	const char *previous = strcmp(fact->type, "alias") == 0 ? jny_json_text(fact->props, "previous_id") : NULL;
	int			named = fact->nkeys;

	if (previous == NULL || named == 0)
		return;
	fact->was_account = jny_fact_key(take, fact, "customer_id", previous);
	if (fact->nkeys == named)
		fact->was_account = NULL;	/* who they are is who they were */
	fact->was_session = jny_fact_key(take, fact, "anonymous_id", previous);
}

static void
leave_out(JnyFact *fact, const JnyKey *key)
{
	int			n = 0;

	for (int i = 0; i < fact->nkeys; i++)
		if (fact->keys[i] != key)
			fact->keys[n++] = fact->keys[i];
	fact->nkeys = n;
}

void
jny_alias_settle(JnyFact *fact)
{
	if (fact->was_account == NULL || fact->was_session == NULL)
		return;
	leave_out(fact, fact->was_account->known && !fact->was_session->known ? fact->was_session : fact->was_account);
}
