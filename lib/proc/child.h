/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child.h - one command with pipes, bounds and a timeout.
 *
 * It is started as launch.h says.  stdin is fed and closed; stdout and stderr are read
 * to their end, the head and the tail of each kept within a bound, the rest counted;
 * what is written to descriptor 3, if the caller wants to hear it, comes while it runs.
 * At the timeout the group gets TERM, after the grace the tree gets KILL.  When the
 * command is dead, whatever else it started has until the pipes are closed, at most 1
 * s; then it is killed, always.  The end is told once, when nothing of the tree is
 * left.
 */
#ifndef PROC_CHILD_H
#define PROC_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "proc/launch.h"

struct children;
struct child;

/* all of it is copied, or used up before child_spawn returns */
struct child_spec {
	struct launch_spec launch; /* but for its descriptors, which are ours */
	const void *input;	   /* copied; may be NULL */
	size_t input_len;
	size_t max_output_bytes; /* kept of stdout: first and last half */
	size_t max_error_bytes;	 /* kept of stderr */
	int64_t timeout_ms;	 /* 0: none */
	int64_t grace_ms;	 /* between TERM and KILL */
	/*
	 * The child may write to descriptor 3, and this hears of it from the loop as it
	 * comes, never after the end was told.  It must not free the child.  NULL: none
	 */
	void (*spoken)(const char *bytes, size_t len, void *arg);
	void *spoken_arg;
};

struct child_output {
	/* the first bytes; everything, when tail is NULL; never NULL */
	const char *head;
	size_t head_len;
	/* the last bytes, when something was left out between; else NULL */
	const char *tail;
	size_t tail_len;
	uint64_t total; /* bytes that the child wrote */
};

struct child_result {
	pid_t pid;
	/* the spawner died, or did not answer: nothing is known, and nothing of it runs
	 */
	bool lost;
	int status;	/* as waitpid gives it */
	int exec_errno; /* not 0: the command could not be started at all */
	/* with exec_errno: a static word such as "chdir" or "exec" */
	const char *failed_step;
	bool timed_out;
	bool killed;		      /* child_kill was called */
	int64_t duration_ms;	      /* from the request to the death */
	struct child_output out, err; /* borrowed for the callback */
};

/* exactly once, from the loop; the child is freed after it */
typedef void child_cb(struct child *c, const struct child_result *result, void *arg);

/* also ignores SIGPIPE, if nobody decided about it before: a child may refuse its stdin
 */
struct children *children_create(
    struct loop *l, struct launcher *launcher, struct err *err) ATTR_CHECK;
/* the spawner kills every tree that is left; no callbacks; NULL is fine */
void children_free(struct children *cs);
size_t children_count(const struct children *cs); /* those whose end was not told yet */

struct child *child_spawn(struct children *cs, const struct child_spec *spec,
    child_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/*
 * TERM to the group now, KILL to the tree after grace_ms (0: at once) or when an
 * earlier TERM's grace ends, whichever is first; cb still comes
 */
void child_kill(struct child *c, int64_t grace_ms);

/*
 * Splits at white space; double quotes group, and a backslash inside them takes the
 * next character as it is.  NULL-terminated, one block: mem_free.  No word at all is no
 * error (argv[0] is NULL then); ERR_INVALID: an open quote.
 */
int argv_split(const char *command, char ***argv, struct err *err) ATTR_CHECK;

#endif
