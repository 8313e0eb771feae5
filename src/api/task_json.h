/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_json.h - a task as applications see it.
 */
#ifndef API_TASK_JSON_H
#define API_TASK_JSON_H

#include <stdbool.h>

#include "base/jsonw.h"
#include "store/reads.h"

/* bodies: with payload and result; lists leave both out */
void task_json(struct jsonw *w, const struct task_row *t, bool bodies);

#endif
