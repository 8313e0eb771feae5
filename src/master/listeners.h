/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listeners.h - the node's listening sockets, shared by generations of workers.
 *
 * A socket is bound once, for the first generation whose configuration names its
 * address, and closed with the last one that does: so a reload opens what is new,
 * closes what is gone, and never touches what stays.
 */
#ifndef MASTER_LISTENERS_H
#define MASTER_LISTENERS_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"
#include "model/settings.h"
#include "worker/worker.h"

struct listeners; /* all of the node */
struct bound;	  /* one socket */

/* what one generation listens on; zeroed: nothing */
struct listen_set {
	struct worker_listener *list;
	struct bound **bound; /* beside list */
	size_t count;
};

struct inherited;

struct listeners *listeners_create(struct err *err) ATTR_CHECK;
void listeners_free(struct listeners *ls); /* closes what is open; NULL is fine */

/*
 * Every address of listen.applications and listen.developers.  All or nothing: on
 * failure only sockets that were open before are open.
 */
int listeners_acquire(struct listeners *ls, const struct settings *settings,
    struct listen_set *set, struct err *err) ATTR_CHECK;
void listeners_release(struct listeners *ls, struct listen_set *set);
/*
 * A socket that somebody else has opened takes the place of the one that a
 * configuration would open at its address; fd is given.  Before listeners_acquire.
 */
int listeners_offer(
    struct listeners *ls, const struct inherited *socket, struct err *err) ATTR_CHECK;
/* after it: those of systemd that no address names are an error, which says what to do;
 * those of an old master stay open until listeners_own */
int listeners_check_offers(struct listeners *ls, struct err *err) ATTR_CHECK;
/* the old master has left them to us: what no address names is closed */
void listeners_own(struct listeners *ls);
/* a new master has them: our closing removes no file of theirs any more */
void listeners_disown(struct listeners *ls);
/* walks all that are open: start with *cursor 0.  The descriptor stays ours. */
bool listeners_next(
    const struct listeners *ls, size_t *cursor, struct inherited *socket);
/* in a new process: closes every socket that is not in set (NULL: all), and unlinks
 * none */
void listeners_leave(struct listeners *ls, const struct listen_set *set);

/* the address as the kernel knows it, with the port that port 0 became; returns buf */
char *listen_set_address(
    const struct listen_set *set, size_t i, char buf[ADDR_TEXT_SIZE]);
const char *audience_name(enum audience audience);

#endif
