/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * helper.h - processes beside the workers, one row each, supervised by the same slots.
 */
#ifndef MASTER_HELPER_H
#define MASTER_HELPER_H

#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"
#include "master/migrator.h"
#include "master/process.h"
#include "master/slot.h"
#include "model/scoreboard.h"
#include "model/settings.h"

enum helper_kind { HELPER_MIGRATOR = 0, HELPER_SPAWNER, HELPER_KIND_COUNT };

/* what a helper gets to work with; borrowed */
struct helper_env {
	const struct settings *settings;
	const struct process_user *user;
	migrator_fn *migrate;
	const char *node;	  /* its id, as text */
	_Atomic int64_t *beat_ms; /* where it tells that it lives, if it lives on */
	int door; /* the spawner's end of its generation's; -1: no spawner */
	/* in the child: closes what is the master's alone, but for this door */
	void (*leave)(int door, void *arg);
	void *leave_arg;
};

struct helper {
	const struct helper_row *row; /* NULL: not in use */
	struct slot slot;
	pid_t pid;
	const _Atomic int64_t *beat_ms; /* borrowed from the scoreboard */
	int report_fd;			/* what it says when it fails; -1: no process */
	int control_fd; /* what it answers while it runs; -1: it answers nothing */
	char reason[SCORE_REASON];
};

enum helper_end {
	HELPER_DONE,  /* did its work: its row's done was called */
	HELPER_AGAIN, /* failed, and its slot waits to try again; err tells why */
	HELPER_NEVER, /* failed for a reason that stays; err tells it */
	HELPER_ENDED, /* it was told to leave, and did */
};

/* hang_timeout_ms: for one that tells that it lives; 0: none */
void helper_init(struct helper *h, enum helper_kind kind, int64_t hang_timeout_ms);
const char *helper_name(const struct helper *h);
/* forks; on failure its slot waits */
void helper_spawn(struct helper *h, const struct helper_env *env, int64_t now_ms);
/* it was reaped with this status */
enum helper_end helper_on_exit(struct helper *h, int status, struct scoreboard *board,
    int64_t now_ms, struct err *err);

#endif
