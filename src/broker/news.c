/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * news.c - what workers tell each other through Redis: words, hints to the feeders,
 * ends of tasks, and free places; see broker.h.
 *
 * All of it may be lost: who must know looks by itself, too.
 */
#include "broker/broker.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "broker/internal.h"
#include "redis/rconn.h"

#define PLACES_TTL_S "30"
#define PROC_TTL_S   "86400" /* of our own list, should nobody ever bury us */

void
broker_publish(struct broker *b, const char *text)
{
	const char *argv[] = {"PUBLISH", b->k_ctl, text};

	broker_tell(b, NULL, 3, argv, NULL);
}

void
broker_publish_hint(struct broker *b, int list)
{
	char text[LIST_NAME_SIZE + 8] = "feed";
	const char *argv[] = {"PUBLISH", b->k_feed, text};

	if (list >= 0) {
		text[4] = ' ';
		pools_list_name(b->pools, list, text + 5);
	}
	broker_tell(b, NULL, 3, argv, NULL);
}

void
broker_publish_requeue(struct broker *b)
{
	const char *argv[] = {"PUBLISH", b->k_feed, "requeue"};

	broker_tell(b, NULL, 3, argv, NULL);
}

void
broker_publish_again(struct broker *b, const struct uuid *id)
{
	char text[UUID_TEXT_SIZE + 8] = "again ";
	const char *argv[] = {"PUBLISH", b->k_feed, text};

	uuid_format(id, text + 6);
	broker_tell(b, NULL, 3, argv, NULL);
}

void
broker_hear_hints(struct broker *b)
{
	struct err err = ERR_INIT;

	if (b->hears_hints)
		return;
	b->hears_hints = rconn_subscribe(b->lanes[LANE_CHANNELS], b->k_feed, &err) == 0;
	if (!b->hears_hints) /* the next time that we lead; passes come all the same */
		log_debug(NULL, "hints are not heard", "reason=\"%s\"", err.text);
}

void
broker_publish_done(
    struct broker *b, const struct uuid *waiter, int app_id, const struct uuid *id)
{
	static const struct uuid everyone;
	char channel[KEY_MAX], name[OWNER_TEXT_SIZE], text[80], id_text[UUID_TEXT_SIZE];
	const char *argv[] = {"PUBLISH", channel, text};

	uuid_format(id, id_text);
	if (uuid_eq(waiter, &everyone)) {
		snprintf(text, sizeof(text), "done %d/%s", app_id, id_text);
		broker_publish(b, text);
		return;
	}
	broker_key(b, channel, "done:", owner_text(waiter, name));
	snprintf(text, sizeof(text), "%d/%s", app_id, id_text);
	broker_tell(b, NULL, 3, argv, NULL);
}

/* ---------------------------------------------------------------- places */

void
broker_set_places(struct broker *b, const char *text)
{
	const char *set[] = {"HSET", b->k_places, b->owner_name, text};
	const char *ttl[] = {"EXPIRE", b->k_places, PLACES_TTL_S};
	const char *proc_ttl[] = {"EXPIRE", b->k_proc, PROC_TTL_S};

	broker_tell(
	    b, NULL, 3, proc_ttl, NULL); /* comes with each renewal of the places */
	broker_tell(b, NULL, 4, set, NULL);
	broker_tell(b, NULL, 3, ttl, NULL);
}

void
broker_drop_places(struct broker *b, const struct uuid *owner)
{
	char name[OWNER_TEXT_SIZE];
	const char *argv[] = {"HDEL", b->k_places, owner_text(owner, name)};

	broker_tell(b, NULL, 3, argv, NULL);
}

void
broker_renew_places(struct broker *b)
{
	const char *argv[] = {"DEL", b->k_places};

	broker_tell(b, NULL, 2, argv, NULL);
	broker_publish(b, "places");
}

/* ---------------------------------------------------------------- messages */

/* "<app>/<id>" */
static int
parse_done(const char *text, size_t len, int *app_id, struct uuid *id)
{
	const char *slash = memchr(text, '/', len);
	int64_t n;
	char number[12];

	if (slash == NULL || (size_t)(slash - text) >= sizeof(number))
		return -1;
	memcpy(number, text, (size_t)(slash - text));
	number[slash - text] = '\0';
	if (str_to_i64(number, &n) != 0 || n < 1 || n > INT32_MAX)
		return -1;
	*app_id = (int)n;
	return uuid_parse(slash + 1, len - (size_t)(slash + 1 - text), id);
}

void
broker_on_message(struct rconn *rc, const char *channel, size_t channel_len,
    const char *text, size_t len, void *arg)
{
	struct broker *b = arg;
	struct uuid id;
	int app_id;
	bool ours = channel_len == strlen(b->k_done) &&
		    memcmp(channel, b->k_done, channel_len) == 0;

	(void)rc;
	if (ours) {
		if (parse_done(text, len, &app_id, &id) == 0)
			b->events->done(app_id, &id, b->arg);
	} else if (len > 5 && memcmp(text, "done ", 5) == 0) {
		if (parse_done(text + 5, len - 5, &app_id, &id) == 0)
			b->events->done(app_id, &id, b->arg);
	} else {
		b->events->ctl(text, len, b->arg);
	}
}
