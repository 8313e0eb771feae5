/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loglevel.c - how much the node logs, changed while it runs.
 *
 *     log-level debug      from now on, in every process of the node
 *     log-level default    what the configuration says
 *
 * The level stands on the scoreboard, where workers that start later find it too, and
 * lasts until the next reload: what somebody has forgotten to undo ends there.
 */
#include "master/node.h"

#include "base/log.h"
#include "base/str.h"

#define COMMAND "log-level "

bool
master_log_level_answer(const char *command, struct strbuf *out, void *master)
{
	struct master *m = master;
	const char *name = command + sizeof(COMMAND) - 1;
	enum log_level level, before = log_level();
	uint8_t asked = 0;

	if (!str_starts(command, COMMAND))
		return false;
	if (!str_eq(name, "default")) {
		if (log_level_parse(name, &level) != 0) {
			strbuf_puts(out,
			    "error: a level is error, warn, info or debug, "
			    "or default for what the configuration says\n");
			return true;
		}
		asked = (uint8_t)(level + 1);
	}
	atomic_store(&m->board->log_level, asked);
	level = score_log_level(m->board, m->newest->settings->log_level);
	/* said at whichever of the two shows more */
	if (level > before)
		log_set_level(level);
	log_info(NULL, "log level changed", "from=%s to=%s", log_level_name(before),
	    log_level_name(level));
	log_set_level(level);
	workers_order(m, WORKER_LEVEL);
	strbuf_printf(out, "log level: %s\n", log_level_name(level));
	return true;
}
