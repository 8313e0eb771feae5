/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turns.h - whose turn it is, among workers at which clients wait for the same.
 *
 * A hint that a task is due reaches all of them, and whoever asks PostgreSQL first has
 * the task: always the worker that stored it, or one near it.  So a hint has a lot, a
 * number drawn by whoever tells it.  Each worker tells once a second how many waited
 * for what, on the average.  By these numbers all of them divide the range of lots in
 * the same way: the one whose part the lot is in looks at once, the others a moment
 * later, for what it has left.  So those who wait have like chances, wherever they do.
 *
 * The numbers are a second old, and messages get lost: then two look at once, or all of
 * them a moment later.  Nothing else rests on them.
 */
#ifndef ENGINE_TURNS_H
#define ENGINE_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/strbuf.h"

#define TURNS_CROWDS  4096 /* more than so many things to wait for go without turns */
#define TURNS_MATES   256  /* other workers at one thing; beyond: they have no turns */
#define TURNS_TOLD    512  /* things that one worker tells of */
#define TURNS_REST_MS 1000 /* the longest */
#define TURNS_OLD_MS  2500 /* whoever was not heard for so long waits no more */

struct turns;

struct turns *turns_create(const char *me) ATTR_CHECK; /* NULL: no memory */
void turns_free(struct turns *ts);
/* one more, or one fewer, waits here for what has this name */
void turns_enter(struct turns *ts, uint64_t name, int64_t now_ms);
void turns_leave(struct turns *ts, uint64_t name, int64_t now_ms);
bool turns_is_ours(struct turns *ts, uint64_t name, uint32_t lot, int64_t now_ms);
/*
 * Others wait for it too, and nothing is left over by those whose turn it is.  Then who
 * begins to wait here does not look at once: it would take what others wait for.
 */
bool turns_is_scarce(struct turns *ts, uint64_t name, int64_t now_ms);
/* whether what was found last had been due for longer than a turn takes */
void turns_left_over(struct turns *ts, uint64_t name, bool left);
/*
 * A look out of our turn took what had just come, and so another's.  No other one for a
 * while, the longer the smaller our part is.
 */
void turns_rest(struct turns *ts, uint64_t name, int64_t turn_ms, int64_t now_ms);
bool turns_rests(const struct turns *ts, uint64_t name, int64_t now_ms);
/* something is known that turns_tell has to tell or to forget */
bool turns_any(const struct turns *ts);
/*
 * " <name>:<number> ..." of all since the call before, once a second; how many they
 * are.  What nobody has waited for in TURNS_OLD_MS is forgotten.
 */
size_t turns_tell(struct turns *ts, struct strbuf *text, int64_t now_ms);
/* the same text of another worker; its words are cut up */
void turns_told(struct turns *ts, const char *who, char *text, int64_t now_ms);

#endif
