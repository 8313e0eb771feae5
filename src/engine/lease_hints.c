/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_hints.c - what workers tell each other about tasks for workers outside: that
 * there is one, and who waits.
 *
 *     pull <who says it> <lot> <application>:<queue> ...    0:0 is everything
 *     waits <who says it> <name of a line>:<share> ...      see turns.h
 *
 * What is committed here is told once a turn of the loop, and heard here as everywhere.
 */
#include <inttypes.h>
#include <string.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/leases_int.h"
#include "engine/turns.h"

#define HINTS_MOST 32 /* in one message; more: "look everywhere" */

struct hint {
	int app_id, queue_id;
};

struct lease_hints {
	struct engine *engine;
	struct turns *turns;
	struct hint hints[HINTS_MOST]; /* to be told */
	size_t count;
	bool all;
	struct loop_defer *defer;
};

static void flush(void *arg);

struct lease_hints *
lease_hints_create(struct engine *e)
{
	struct lease_hints *h = mem_zero(sizeof(*h));
	char owner[OWNER_TEXT_SIZE];

	if (h == NULL)
		return NULL;
	h->engine = e;
	h->turns = turns_create(owner_text(&e->owner, owner));
	h->defer = loop_defer_create(e->loop, flush, h);
	if (h->turns == NULL || h->defer == NULL) {
		lease_hints_free(h);
		return NULL;
	}
	return h;
}

void
lease_hints_free(struct lease_hints *h)
{
	if (h == NULL)
		return;
	turns_free(h->turns);
	loop_defer_free(h->defer);
	mem_free(h);
}

/* ---------------------------------------------------------------- there is a task */

void
lease_hints_add(struct lease_hints *h, int app_id, int queue_id)
{
	if (h->all || h->engine->ending)
		return;
	for (size_t i = 0; i < h->count; i++) {
		if (h->hints[i].app_id == app_id && h->hints[i].queue_id == queue_id)
			return;
	}
	if (h->count == HINTS_MOST)
		h->all = true;
	else
		h->hints[h->count++] = (struct hint){app_id, queue_id};
	loop_defer_start(h->defer);
}

static void
flush(void *arg)
{
	struct lease_hints *h = arg;
	uint32_t lot = (uint32_t)random_u64();
	char owner[OWNER_TEXT_SIZE];
	struct strbuf text;

	if (h->all) {
		h->hints[0] = (struct hint){0, 0};
		h->count = 1;
	}
	strbuf_init(&text, OWNER_TEXT_SIZE + HINTS_MOST * 32 + 24);
	strbuf_printf(
	    &text, "pull %s %" PRIu32, owner_text(&h->engine->owner, owner), lot);
	for (size_t i = 0; i < h->count; i++) {
		leases_wake(
		    h->engine->leases, h->hints[i].app_id, h->hints[i].queue_id, &lot);
		strbuf_printf(
		    &text, " %d:%d", h->hints[i].app_id, h->hints[i].queue_id);
	}
	h->count = 0;
	h->all = false;
	if (!strbuf_failed(&text)) /* else each second */
		broker_publish(h->engine->broker, text.data);
	strbuf_fini(&text);
}

static void
hear_pull(struct lease_hints *h, char *text)
{
	int64_t app_id, queue_id, number;
	uint32_t lot, *drawn = NULL;
	char *word, *colon;

	while ((word = strsep(&text, " ")) != NULL) {
		colon = strchr(word, ':');
		if (colon == NULL) {
			if (str_to_i64(word, &number) == 0 && number >= 0 &&
			    number <= UINT32_MAX) {
				lot = (uint32_t)number;
				drawn = &lot;
			}
			continue;
		}
		*colon = '\0';
		if (str_to_i64(word, &app_id) == 0 && app_id >= 0 &&
		    app_id <= INT32_MAX && str_to_i64(colon + 1, &queue_id) == 0 &&
		    queue_id >= 0 && queue_id <= INT32_MAX)
			leases_wake(
			    h->engine->leases, (int)app_id, (int)queue_id, drawn);
	}
}

void
lease_hints_told(struct lease_hints *h, char *text)
{
	char owner[OWNER_TEXT_SIZE], *word = strsep(&text, " "),
				     *who = strsep(&text, " ");

	if (who == NULL || text == NULL ||
	    str_eq(who, owner_text(&h->engine->owner, owner)))
		return; /* our own: we have looked */
	if (str_eq(word, "pull"))
		hear_pull(h, text);
	else if (str_eq(word, "waits"))
		turns_told(h->turns, who, text, loop_now_ms(h->engine->loop));
}

/* ---------------------------------------------------------------- who waits */

uint64_t
lease_hints_name(const void *key, size_t len)
{
	static const uint64_t fixed[2] = {0x6c6561736573, 0x6c696e65};

	return hmap_siphash13(fixed, key, len);
}

void
lease_hints_enter(struct lease_hints *h, uint64_t name)
{
	turns_enter(h->turns, name, loop_now_ms(h->engine->loop));
}

void
lease_hints_leave(struct lease_hints *h, uint64_t name)
{
	turns_leave(h->turns, name, loop_now_ms(h->engine->loop));
}

bool
lease_hints_is_ours(struct lease_hints *h, uint64_t name, uint32_t lot)
{
	return turns_is_ours(h->turns, name, lot, loop_now_ms(h->engine->loop));
}

bool
lease_hints_is_scarce(struct lease_hints *h, uint64_t name)
{
	return turns_is_scarce(h->turns, name, loop_now_ms(h->engine->loop));
}

void
lease_hints_left_over(struct lease_hints *h, uint64_t name, bool left)
{
	turns_left_over(h->turns, name, left);
}

void
lease_hints_rest(struct lease_hints *h, uint64_t name, int64_t turn_ms)
{
	turns_rest(h->turns, name, turn_ms, loop_now_ms(h->engine->loop));
}

bool
lease_hints_rests(const struct lease_hints *h, uint64_t name)
{
	return turns_rests(h->turns, name, loop_now_ms(h->engine->loop));
}

bool
lease_hints_any(const struct lease_hints *h)
{
	return turns_any(h->turns);
}

void
lease_hints_tell(struct lease_hints *h)
{
	char owner[OWNER_TEXT_SIZE];
	struct strbuf text;

	strbuf_init(&text, OWNER_TEXT_SIZE + TURNS_TOLD * 32 + 8);
	strbuf_printf(&text, "waits %s", owner_text(&h->engine->owner, owner));
	if (turns_tell(h->turns, &text, loop_now_ms(h->engine->loop)) > 0 &&
	    !strbuf_failed(&text))
		broker_publish(h->engine->broker, text.data);
	strbuf_fini(&text);
}
