/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ctl.c - what workers tell each other through Redis, both ways.
 *
 * Each message is a hint, and may be lost: whoever hears it asks PostgreSQL what is
 * true, and all that is told is found without it, only later.  What concerns the leader
 * is told to nobody where this worker leads.
 *
 * New message?  A word in ctl_heard, which an older node leaves alone, and a function
 * below that sends it.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "model/task.h"

#define SPILL_MS	  2000
#define SPILL_GUESS_MS	  1500
#define ENDPOINTS_TELL_MS 50

/* ---------------------------------------------------------------- heard */

static bool
is_word(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* "queue <number>" */
static bool
take_queue(struct engine *e, const char *text, size_t len)
{
	char number[16];
	int64_t id;

	if (len <= 6 || len - 6 >= sizeof(number) || memcmp(text, "queue ", 6) != 0)
		return false;
	memcpy(number, text + 6, len - 6);
	number[len - 6] = '\0';
	if (str_to_i64(number, &id) == 0 && id > 0 && id <= INT32_MAX) {
		names_queue_changed(e->names, (int)id);
		leases_queue_changed(e->leases, (int)id);
	}
	return true;
}

/* "cancel <incarnation> <application>/<id>", and it is us; what is meant PostgreSQL
 * says */
static bool
is_cancel(const struct engine *e, const char *text, size_t len)
{
	static const char word[] = "cancel ";
	const size_t skip = sizeof(word) - 1;
	char name[OWNER_TEXT_SIZE];
	size_t n = strlen(owner_text(&e->owner, name));

	return len > skip + n && memcmp(text, word, skip) == 0 &&
	       memcmp(text + skip, name, n) == 0 && text[skip + n] == ' ';
}

/* "<word>", about the first list, or "<word> <list>" */
static bool
take_list(struct engine *e, const char *text, size_t len, const char *word, int *list)
{
	size_t skip = strlen(word);

	*list = LIST_MAIN;
	if (is_word(text, len, word))
		return true;
	if (len <= skip + 1 || memcmp(text, word, skip) != 0 || text[skip] != ' ')
		return false;
	*list = pools_list_number(e->pools, text + skip + 1, len - skip - 1);
	return *list >= 0;
}

/* "lists dispatch:main=12,0 dispatch:gpu=128,1 ..." */
static bool
take_lengths(struct engine *e, const char *text, size_t len)
{
	static const char word[] = "lists ";
	char *copy, *rest, *name, *length, *spills;
	struct list_told told;

	if (len < sizeof(word) || memcmp(text, word, sizeof(word) - 1) != 0)
		return false;
	copy = rest = mem_dup(text + sizeof(word) - 1, len - sizeof(word) + 1);
	e->told_count = 0;
	e->told_ms = loop_now_ms(e->loop);
	while (copy != NULL && e->told_count < TOLD_MOST &&
	       (name = strsep(&rest, " ")) != NULL) {
		length = strchr(name, '=');
		spills = length != NULL ? strchr(length, ',') : NULL;
		if (spills == NULL)
			continue;
		*length++ = '\0';
		*spills++ = '\0';
		told.list = pools_list_number(e->pools, name, strlen(name));
		told.spilling = str_eq(spills, "1");
		if (told.list >= 0 && str_to_i64(length, &told.length) == 0)
			e->told[e->told_count++] = told;
	}
	mem_free(copy);
	return true;
}

static void
on_spill(struct engine *e, int list, bool spills)
{
	struct list_flow *fl = &e->flows[list];

	fl->spill_until_ms = fl->fed_until_ms =
	    spills ? loop_now_ms(e->loop) + SPILL_MS : 0;
}

static void
heard_again(struct engine *e, const char *text, size_t len)
{
	struct uuid id;

	if (uuid_parse(text, len, &id) == 0)
		leader_again(e->leader, &id);
}

void
ctl_heard(struct engine *e, const char *text, size_t len)
{
	int list;

	if (is_word(text, len, "feed"))
		leader_hint(e->leader, -1);
	else if (take_list(e, text, len, "feed", &list))
		leader_hint(e->leader, list);
	else if (is_word(text, len, "requeue"))
		leader_requeue(e->leader);
	else if (len > 6 && memcmp(text, "again ", 6) == 0)
		heard_again(e, text + 6, len - 6);
	else if (take_list(e, text, len, "spill", &list))
		on_spill(e, list, true);
	else if (take_list(e, text, len, "flow", &list))
		on_spill(e, list, false);
	else if (is_word(text, len, "places"))
		engine_places_changed(e, true);
	else if (is_word(text, len, "sweep"))
		leader_sweep_soon(e->leader);
	else if (is_word(text, len, "schedules"))
		leader_schedules(e->leader);
	else if (is_word(text, len, "lead"))
		leader_campaign(e->leader);
	else if (is_word(text, len, "operate"))
		leader_operate(e->leader);
	else if (is_cancel(e, text, len))
		cancels_look(e->cancels);
	else if (is_word(text, len, "nodes"))
		beat_look(e->beat);
	else if (is_word(text, len, "types"))
		registry_changed(e->registry);
	else if ((len > 5 && memcmp(text, "pull ", 5) == 0) ||
		 (len > 6 && memcmp(text, "waits ", 6) == 0))
		leases_told(e->leases, text, len);
	else if (len > 9 && memcmp(text, "endpoint ", 9) == 0)
		endpoints_told(e->endpoints, text, len);
	else if (is_word(text, len, "endpoints"))
		dispatch_endpoints_due(e->dispatch, 0);
	else if (!take_queue(e, text, len) &&
		 !take_lengths(e, text, len)) /* a newer node may say more */
		log_debug(NULL, "unknown message left alone", "bytes=%zu", len);
}

const struct list_told *
engine_lists(struct engine *e, size_t *count)
{
	*count = loop_now_ms(e->loop) - e->told_ms < ENGINE_TOLD_MS ? e->told_count : 0;
	return e->told;
}

/* ---------------------------------------------------------------- hints to the leader
 */

/* a list that the leader passes over all the time needs no hints */
static void
send_hint(struct engine *e, int list)
{
	if (leader_is(e->leader))
		leader_hint(e->leader, list); /* no message to ourselves */
	else if (loop_now_ms(e->loop) >= e->flows[list].fed_until_ms)
		broker_publish_hint(e->broker, list);
}

void
ctl_send_hints(struct engine *e)
{
	bool all = e->hint;
	int count = 2 * pools_count(e->pools);

	if (e->hint_cb != NULL) {
		if (all || e->hint_lists)
			e->hint_cb(e->arg); /* by another way than Redis */
	} else if (all && leader_is(e->leader))
		leader_hint(e->leader, -1);
	else if (all && (count > 2 || types_have_commands(e->types) ||
			    loop_now_ms(e->loop) >= e->flows[LIST_MAIN].fed_until_ms))
		broker_publish_hint(e->broker, -1);
	for (int i = 0; e->hint_lists && i < count; i++) {
		if (e->flows[i].hint && !all && e->hint_cb == NULL)
			send_hint(e, i);
		e->flows[i].hint = false;
	}
	e->hint = e->hint_lists = false;
}

void
engine_hint(struct engine *e)
{
	e->hint = true;
	loop_defer_start(e->hint_defer);
}

void
engine_hint_list(struct engine *e, int list)
{
	if (list < 0) {
		engine_hint(e);
		return;
	}
	e->flows[list].hint = e->hint_lists = true;
	loop_defer_start(e->hint_defer);
}

void
engine_hint_places(struct engine *e, bool commands)
{
	for (int i = 0; i < e->served_count; i++)
		engine_hint_list(e, list_of(e->served[i], commands));
}

/*
 * Told by the leader, or guessed from the list's length: more than the feeder would put
 * there.  The guess holds for a moment only; the leader, who is asked to look, says how
 * it is.
 */
bool
engine_is_spilling(struct engine *e, int pool)
{
	int64_t now_ms = loop_now_ms(e->loop);
	int list = list_of(pool, false);
	struct list_flow *fl = &e->flows[list];

	if (now_ms < fl->spill_until_ms)
		return true;
	if (broker_last_length(e->broker, list) <=
	    2 * e->settings->node_slots * e->peers)
		return false;
	fl->spill_until_ms = now_ms + SPILL_GUESS_MS;
	engine_hint_list(e, list);
	return true;
}

/* ---------------------------------------------------------------- said */

void
engine_cancel(
    struct engine *e, const struct uuid *owner, int app_id, const struct uuid *id)
{
	char text[128], name[OWNER_TEXT_SIZE], id_text[UUID_TEXT_SIZE];

	if (uuid_eq(owner, &e->owner)) {
		cancels_look(e->cancels); /* no message to ourselves */
		return;
	}
	snprintf(text, sizeof(text), "cancel %s %d/%s", owner_text(owner, name), app_id,
	    uuid_format(id, id_text));
	broker_publish(e->broker, text);
}

void
engine_operate(struct engine *e)
{
	if (leader_is(e->leader))
		leader_operate(e->leader);
	else
		broker_publish(e->broker, "operate");
}

void
engine_nodes_ordered(struct engine *e)
{
	beat_now(e->beat); /* it may be this node, whoever beats for it */
	broker_publish(e->broker, "nodes");
}

void
engine_requeue(struct engine *e)
{
	if (leader_is(e->leader))
		leader_requeue(e->leader);
	else
		broker_publish_requeue(e->broker);
}

void
engine_again(struct engine *e, const struct uuid *id)
{
	if (leader_is(e->leader))
		leader_again(e->leader, id);
	else
		broker_publish_again(e->broker, id);
}

void
engine_queue_changed(struct engine *e, int queue_id)
{
	char text[32];

	snprintf(text, sizeof(text), "queue %d", queue_id);
	names_queue_changed(e->names, queue_id);
	leases_queue_changed(e->leases, queue_id);
	broker_publish(e->broker, text);
	engine_requeue(e);
}

void
engine_types_changed(struct engine *e)
{
	registry_changed(e->registry);
	broker_publish(e->broker, "types");
}

void
engine_schedules_changed(struct engine *e)
{
	if (leader_is(e->leader))
		leader_schedules(e->leader);
	else
		broker_publish(e->broker, "schedules");
}

void
engine_endpoints_due(struct engine *e, int app_id, int pool)
{
	int64_t now_ms = loop_now_ms(e->loop);

	dispatch_endpoints_due(e->dispatch, app_id);
	if (types_free_gates(e->types) > 0 && pool >= 0 && engine_serves(e, pool) &&
	    !e->draining && !e->idle)
		return;
	if (now_ms < e->endpoints_told_ms)
		return; /* they look each second anyway */
	e->endpoints_told_ms = now_ms + ENDPOINTS_TELL_MS;
	broker_publish(e->broker, "endpoints");
}
