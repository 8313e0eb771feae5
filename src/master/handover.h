/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover.h - what one master says to the next, and what a new one finds when it
 * starts.
 *
 * Two masters of one node talk over a socket pair, in whole messages of words, some
 * with a descriptor:
 *
 *     old to new   mode N                       what the node is there for
 *                  listen AUDIENCE OURS ADDRESS + its socket
 *                  control PATH                 + its socket
 *                  pid PATH
 *                  redis                        its workers have Redis
 *                  end                          that was all
 *     new to old   ready [control] [pid]        its workers serve; what it takes over
 *                  failed REASON
 *     old to new   go MODE RELOAD               the node is yours; RELOAD 1: reload it
 *                  abort REASON                 leave: the node stays with us
 *                  hint                         (later) who lingers has submitted
 *     new to old   hurry                        (later) keep nothing for idle clients
 *
 * The end of file without a word means that the other is dead.
 */
#ifndef MASTER_HANDOVER_H
#define MASTER_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"
#include "model/scoreboard.h"

/* the environment's name for the channel: not SHOALD_, which are settings */
#define HANDOVER_ENV "SHOAL_UPGRADE"
#define HANDOVER_MAX 1024

/* fd -1: none goes with it */
int handover_send(int channel, int fd, struct err *err, const char *fmt, ...)
    ATTR_PRINTF(4, 5);
/* 1: a message, and *fd is given (-1: none); 0: nothing now; -1: the other is gone */
int handover_receive(int channel, char text[HANDOVER_MAX], int *fd);

/* to an old master, when we cannot take its place; channel -1: nothing */
void handover_failed(int channel, const char *reason);

/* a socket that listens already */
struct inherited {
	int fd;
	int audience; /* -1: not known, its address decides */
	bool ours;    /* whoever closes it last removes the file of a unix socket */
	bool kept;    /* an old master listens there too, until it says go */
	char address[ADDR_TEXT_SIZE];
};

#define INHERITED_MAX 64

struct inheritance {
	int channel; /* to the old master; -1: there is none */
	struct inherited sockets[INHERITED_MAX];
	size_t count;
	int control; /* -1: none */
	char control_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char pid_path[512];
	enum node_mode mode;
	bool redis;
};

/*
 * At the start of a node, from the environment, of which nothing of it is left then: an
 * old master's descriptors, or those of systemd's socket units.  Waits for what the
 * old master tells.  On failure nothing is kept open but the channel.
 */
int inheritance_take(struct inheritance *in, struct err *err) ATTR_CHECK;
void inheritance_drop(struct inheritance *in); /* what nobody has taken is closed */

#endif
