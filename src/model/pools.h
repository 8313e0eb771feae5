/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pools.h - pools and their lists, by name and by number.
 *
 * A pool is a named set of queues that the same nodes serve.  It has two lists in
 * Redis: "dispatch:<pool>" of tasks that take a slot, and "commands:<pool>" of tasks
 * that run a command and take a place of another purse.  So a worker asks each list for
 * as many as it has places for, and a full purse does not keep the other one waiting.
 *
 * Numbers are a worker's own, given as names are met, and never taken back.  Pool 0 is
 * "main"; list 0 is its dispatch list.
 */
#ifndef MODEL_POOLS_H
#define MODEL_POOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "model/names.h"

#define POOL_MAIN      0
#define POOL_MAIN_NAME "main"
#define POOLS_SERVED   16  /* most that one node serves */
#define POOLS_MOST     256 /* names that one worker knows at a time */
#define LISTS_MOST     (2 * POOLS_MOST)
#define LIST_MAIN      0
#define LIST_NAME_SIZE (NAME_MAX_BYTES + 10)

struct pools;

struct pools *pools_create(void); /* NULL: no memory; it knows "main" */
void pools_free(struct pools *p);
/* the pool's number, given now if need be; -1: no name, or too many are known */
int pools_number(struct pools *p, const char *name, size_t len);
const char *pools_name(const struct pools *p, int pool);
int pools_count(const struct pools *p);

static inline int
list_of(int pool, bool commands)
{
	return 2 * pool + commands;
}

static inline int
list_pool(int list)
{
	return list / 2;
}

static inline bool
list_has_commands(int list)
{
	return list % 2 != 0;
}

/* "dispatch:gpu"; returns the length */
size_t pools_list_name(const struct pools *p, int list, char buf[LIST_NAME_SIZE]);
/* the other way round; -1: no such name */
int pools_list_number(struct pools *p, const char *name, size_t len);

/* "main, gpu" of the settings, into numbers; the count, or -1 and what is wrong */
int pools_parse(struct pools *p, const char *text, int numbers[POOLS_SERVED],
    struct err *err) ATTR_CHECK;

#endif
