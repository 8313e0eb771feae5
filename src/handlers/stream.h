/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.h - tasks handed to children that stay, in lines of JSON.
 *
 * docs/stream-protocol.md is the contract with the children.  Each stream type has its
 * pool of children on each worker; an attempt goes to the child that has the fewest,
 * or waits in the pool's line until one has room.  What a child ends without an answer
 * for has failed, or goes back, by why it ended.
 */
#ifndef HANDLERS_STREAM_H
#define HANDLERS_STREAM_H

#include "engine/handler.h"
#include "event/loop.h"
#include "model/scoreboard.h"
#include "proc/launch.h"

struct engine;
struct stream;

/* all borrowed for life */
struct stream *stream_create(struct loop *l, struct launcher *launcher,
    const struct settings *settings, struct score_slot *slot,
    struct err *err) ATTR_CHECK;
/* after stream_stop, when no attempt is left */
void stream_free(struct stream *s);
/* starts the children; the engine hears how many places each type has.  Borrowed until
 * stream_stop. */
void stream_start(struct stream *s, struct engine *e);
/*
 * The worker leaves: children are told to finish what they have, and none is started
 * any more.  done is called from the loop when the last one has ended, and at once from
 * the loop's next step if there is none.
 */
void stream_drain(struct stream *s, void (*done)(void *arg), void *arg);
bool stream_is_drained(const struct stream *s);
/* ends all children at once, without a word; attempts that they had are forgotten */
void stream_stop(struct stream *s);
struct handler stream_handler(struct stream *s);

#endif
