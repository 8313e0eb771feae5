/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * elem.h - one id as it stands in a list of Redis.
 *
 *     0190d3c8-5b7e-7c3a-9d2e-4f8a6b1c2d3e/12/3      task id / application / task type
 *     0190d3c8-5b7e-7c3a-9d2e-4f8a6b1c2d3e/12/3/dispatch:gpu       ... / list
 *
 * The two numbers let a worker judge, without asking, whether it has a place for the
 * task; the claim checks all three against the row.  The list, for all but the first
 * one, says where an id that was popped has to go back to, whoever finds it.  Whatever
 * else is found in a list is garbage: dropped, counted, never believed.
 */
#ifndef BROKER_ELEM_H
#define BROKER_ELEM_H

#include <stddef.h>

#include "base/attr.h"
#include "base/uuid.h"
#include "model/pools.h"

#define ELEM_TEXT_SIZE (64 + LIST_NAME_SIZE)

struct elem {
	struct uuid id;
	int app_id, type_id;
	int list; /* its number */
};

/* returns the length */
size_t elem_format(
    const struct pools *p, const struct elem *e, char buf[ELEM_TEXT_SIZE]);
/* -1: not of that form, or of a list that cannot be known */
int elem_parse(
    struct pools *p, const char *text, size_t len, struct elem *e) ATTR_CHECK;

#endif
