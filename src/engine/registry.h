/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry.h - which types there are that no worker runs, as PostgreSQL has them.
 *
 * Applications make types at run time, and nodes tell theirs.  A worker keeps a copy,
 * so that a submit knows whom to wake and which default its type has; the beat brings
 * the count of changes, and a message ("types") tells at once.  The copy decides
 * nothing: the statements look into the tables.
 */
#ifndef ENGINE_REGISTRY_H
#define ENGINE_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

struct engine;
struct registry;

/* so many are read; what has no room in there has no defaults, and is found later */
#define REGISTRY_MOST 50000

struct registry *registry_create(struct engine *e, struct err *err) ATTR_CHECK;
void registry_free(struct registry *r);
/* the count of changes in PostgreSQL, 0: not known.  What differs is read anew. */
void registry_look(struct registry *r, int64_t rev);
/* something has changed, committed: read anew */
void registry_changed(struct registry *r);

/* workers outside lease tasks of this type for this application */
bool registry_is_pull(const struct registry *r, int app_id, int type_id);
/* its tasks run at an endpoint of the application, which any worker calls */
bool registry_is_http(const struct registry *r, int app_id, int type_id);
bool registry_has_http(const struct registry *r); /* of any application */
/* it may have such tasks at all */
bool registry_has_pull(const struct registry *r, int app_id);
/* what the application's own type says; 0: nothing */
int registry_max_attempts(const struct registry *r, int app_id, const char *type);

#endif
