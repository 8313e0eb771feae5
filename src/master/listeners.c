/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listeners.c - the node's listening sockets, shared by generations of workers.
 *
 * Owns every bound socket and counts the generations that use it.  Workers inherit the
 * descriptors and accept by themselves; since the master holds each socket too,
 * connections that wait for a worker survive the worker.
 *
 * A socket is known by its audience and its address as configured.  The same address
 * for both audiences fails when it is bound, as it should.  A host without IPv6 is no
 * reason to refuse the default configuration: such an address is left out with a
 * warning, unless nothing would be left.
 */
#include "master/listeners.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "master/handover.h"
#include "model/listen.h"

struct bound {
	TAILQ_ENTRY(bound) link;
	int audience;	  /* enum audience; -1: offered, and not taken yet */
	struct addr addr; /* as configured */
	char text[ADDR_TEXT_SIZE];
	int fd;
	unsigned users; /* generations */
	bool ours;	/* whoever closes it last removes the file of a unix socket */
	bool kept; /* an old master's, which has not left it to us: it stays open */
};

TAILQ_HEAD(bound_list, bound);

struct listeners {
	struct bound_list open;
};

const char *
audience_name(enum audience audience)
{
	return audience == AUDIENCE_APPLICATIONS ? "applications" : "developers";
}

struct listeners *
listeners_create(struct err *err)
{
	struct listeners *ls = mem_zero(sizeof(*ls));

	if (ls == NULL) {
		err_set(err, ERR_NOMEM, "listeners");
		return NULL;
	}
	TAILQ_INIT(&ls->open);
	return ls;
}

static void
bound_close(struct listeners *ls, struct bound *b)
{
	TAILQ_REMOVE(&ls->open, b, link);
	if (b->addr.sa.sa_family == AF_UNIX && b->ours && !b->kept)
		(void)unlink(b->addr.un.sun_path);
	if (b->fd != -1)
		close(b->fd);
	mem_free(b);
}

void
listeners_free(struct listeners *ls)
{
	struct bound *b;

	if (ls == NULL)
		return;
	while ((b = TAILQ_FIRST(&ls->open)) != NULL)
		bound_close(ls, b);
	mem_free(ls);
}

static bool
family_exists(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return errno != EAFNOSUPPORT;
	close(fd);
	return true;
}

static int
bound_open(struct listeners *ls, enum audience audience, const struct addr *addr,
    const char *text, int backlog, struct bound **out, struct err *err)
{
	struct bound *b = mem_zero(sizeof(*b));

	if (b == NULL)
		return err_set(err, ERR_NOMEM, "listener");
	b->audience = (int)audience;
	b->addr = *addr;
	b->ours = true;
	(void)str_copy(b->text, sizeof(b->text), text);
	if (addr_listen(addr, backlog, &b->fd, err) != 0) {
		mem_free(b);
		return -1;
	}
	TAILQ_INSERT_TAIL(&ls->open, b, link);
	*out = b;
	return 0;
}

static struct bound *
bound_find(struct listeners *ls, enum audience audience, const char *text)
{
	struct bound *b;

	TAILQ_FOREACH (b, &ls->open, link)
		if ((b->audience == (int)audience || b->audience == -1) &&
		    str_eq(b->text, text))
			return b;
	return NULL;
}

static int
set_add(struct listen_set *set, struct bound *b, enum audience audience,
    const struct listen_item *item, struct err *err)
{
	struct worker_listener *list;
	struct bound **bound;

	for (size_t i = 0; i < set->count; i++)
		if (set->bound[i] == b)
			return err_set(err, ERR_INVALID, "%s is listed twice", b->text);
	list = mem_resize(set->list, set->count + 1, sizeof(*list));
	if (list == NULL)
		return err_set(err, ERR_NOMEM, "listener");
	set->list = list;
	bound = mem_resize(set->bound, set->count + 1, sizeof(*bound));
	if (bound == NULL)
		return err_set(err, ERR_NOMEM, "listener");
	set->bound = bound;
	list[set->count].fd = b->fd;
	list[set->count].audience = audience;
	/* the generation's, not the socket's: a reload may change it */
	list[set->count].tls = item->tls;
	list[set->count].proxy = item->proxy;
	bound[set->count++] = b;
	b->audience = (int)audience;
	b->users++;
	return 0;
}

static int
acquire_one(struct listeners *ls, enum audience audience, const char *word, int backlog,
    struct listen_set *set, struct err *err)
{
	struct listen_item item;
	char text[ADDR_TEXT_SIZE];
	struct bound *b;

	if (listen_parse(word, &item, err) != 0)
		return -1;
	addr_format(&item.addr, text);
	b = bound_find(ls, audience, text);
	if (b == NULL && item.addr.sa.sa_family == AF_INET6 &&
	    !family_exists(AF_INET6)) {
		log_warn(NULL, "this host has no ipv6, address left out",
		    "audience=%s addr=%s", audience_name(audience), text);
		return 0;
	}
	if (b == NULL &&
	    bound_open(ls, audience, &item.addr, text, backlog, &b, err) != 0)
		return -1;
	if (set_add(set, b, audience, &item, err) != 0) {
		if (b->users == 0 && !b->kept)
			bound_close(ls, b);
		return -1;
	}
	return 0;
}

static int
acquire_list(struct listeners *ls, enum audience audience, const char *list,
    int backlog, struct listen_set *set, struct err *err)
{
	char *copy = mem_strdup(list), *rest = copy, *word;
	size_t before = set->count;
	int rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "listeners");
	while (rc == 0 && (word = strsep(&rest, ",")) != NULL) {
		word = str_trim(word);
		if (*word != '\0')
			rc = acquire_one(ls, audience, word, backlog, set, err);
	}
	mem_free(copy);
	if (rc == 0 && set->count == before)
		rc = err_set(err, ERR_INVALID, "no address can be listened on");
	return rc == 0 ? 0 : err_wrap(err, "listen.%s", audience_name(audience));
}

int
listeners_acquire(struct listeners *ls, const struct settings *settings,
    struct listen_set *set, struct err *err)
{
	struct listen_set fresh = {0};
	int backlog = (int)settings->listen_backlog;

	if (acquire_list(ls, AUDIENCE_APPLICATIONS, settings->listen_applications,
		backlog, &fresh, err) != 0 ||
	    acquire_list(ls, AUDIENCE_DEVELOPERS, settings->listen_developers, backlog,
		&fresh, err) != 0) {
		listeners_release(ls, &fresh);
		return -1;
	}
	*set = fresh;
	return 0;
}

void
listeners_release(struct listeners *ls, struct listen_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (--set->bound[i]->users == 0 && !set->bound[i]->kept)
			bound_close(ls, set->bound[i]);
	mem_free(set->list);
	mem_free(set->bound);
	memset(set, 0, sizeof(*set));
}

int
listeners_offer(struct listeners *ls, const struct inherited *socket, struct err *err)
{
	struct bound *b = mem_zero(sizeof(*b));
	struct addr addr;

	if (b == NULL || addr_parse(socket->address, &addr, err) != 0) {
		close(socket->fd);
		if (b == NULL)
			return err_set(err, ERR_NOMEM, "listener");
		mem_free(b);
		return err_wrap(err, "a socket that was passed");
	}
	b->audience = socket->audience;
	b->addr = addr;
	b->fd = socket->fd;
	b->ours = socket->ours;
	b->kept = socket->kept;
	(void)str_copy(b->text, sizeof(b->text), socket->address);
	TAILQ_INSERT_TAIL(&ls->open, b, link);
	return 0;
}

int
listeners_check_offers(struct listeners *ls, struct err *err)
{
	const struct bound *b;

	TAILQ_FOREACH (b, &ls->open, link)
		if (b->users == 0 && !b->kept)
			return err_set(err, ERR_INVALID,
			    "a socket unit has passed %s, which %s: add it there, or "
			    "take it "
			    "out of the unit",
			    b->text,
			    b->audience == AUDIENCE_APPLICATIONS
				? "listen.applications does not name"
			    : b->audience == AUDIENCE_DEVELOPERS
				? "listen.developers does not name"
				: "neither listen.applications nor listen.developers "
				  "names");
	return 0;
}

void
listeners_own(struct listeners *ls)
{
	struct bound *b, *next;

	for (b = TAILQ_FIRST(&ls->open); b != NULL; b = next) {
		next = TAILQ_NEXT(b, link);
		b->kept = false;
		if (b->users == 0)
			bound_close(ls, b);
	}
}

void
listeners_disown(struct listeners *ls)
{
	struct bound *b;

	TAILQ_FOREACH (b, &ls->open, link)
		b->ours = false;
}

bool
listeners_next(const struct listeners *ls, size_t *cursor, struct inherited *socket)
{
	const struct bound *b = TAILQ_FIRST(&ls->open);

	for (size_t i = 0; b != NULL && i < *cursor; i++)
		b = TAILQ_NEXT(b, link);
	if (b == NULL)
		return false;
	++*cursor;
	*socket =
	    (struct inherited){.fd = b->fd, .audience = b->audience, .ours = b->ours};
	(void)str_copy(socket->address, sizeof(socket->address), b->text);
	return true;
}

void
listeners_leave(struct listeners *ls, const struct listen_set *set)
{
	struct bound *b;
	bool ours;

	TAILQ_FOREACH (b, &ls->open, link) {
		ours = false;
		for (size_t i = 0; set != NULL && i < set->count; i++)
			ours |= set->bound[i] == b;
		if (!ours && b->fd != -1) {
			close(b->fd);
			b->fd = -1;
		}
	}
}

char *
listen_set_address(const struct listen_set *set, size_t i, char buf[ADDR_TEXT_SIZE])
{
	struct addr actual;

	if (addr_of_socket(set->list[i].fd, &actual, NULL) == 0)
		return addr_format(&actual, buf);
	(void)str_copy(buf, ADDR_TEXT_SIZE, set->bound[i]->text);
	return buf;
}
