/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_ports.c - whether the node can listen where it is to listen.
 *
 * Binding without listening finds out and lets nobody in.  Who holds a port that is
 * taken is read from /proc, as far as we may look there.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/doctor.h"
#include "event/addr.h"

#define HOLDERS_MOST 64 /* sockets that listen on one port */
#define LINE_MOST    512

/* ---------------------------------------------------------------- who holds it */

struct holders {
	unsigned long inodes[HOLDERS_MOST];
	size_t count;
};

/* inodes of sockets that listen on the port; /proc/net/tcp, its columns by number */
static void
find_inodes(const char *table, uint16_t port, struct holders *h)
{
	FILE *f = fopen(table, "re");
	char line[LINE_MOST];

	while (f != NULL && h->count < HOLDERS_MOST &&
	       fgets(line, sizeof(line), f) != NULL) {
		unsigned local_port, state;
		unsigned long inode;

		if (sscanf(line,
			" %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s "
			"%*u %*u %lu",
			&local_port, &state, &inode) == 3 &&
		    state == 0x0a && local_port == port)
			h->inodes[h->count++] = inode;
	}
	if (f != NULL)
		fclose(f);
}

static bool
process_holds(const char *pid, const struct holders *h)
{
	char path[300], link[64];
	struct dirent *entry;
	bool holds = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir != NULL && !holds && (entry = readdir(dir)) != NULL) {
		unsigned long inode;
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%s/fd/%.200s", pid, entry->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		if (sscanf(link, "socket:[%lu]", &inode) != 1)
			continue;
		for (size_t i = 0; i < h->count; i++)
			holds = holds || h->inodes[i] == inode;
	}
	if (dir != NULL)
		closedir(dir);
	return holds;
}

/* the running node's master if it is among them, else any; 0: nobody that we may see */
static pid_t
find_process(const struct holders *h, pid_t master)
{
	char text[16];
	struct dirent *entry;
	pid_t found = 0;
	DIR *dir;

	snprintf(text, sizeof(text), "%ld", (long)master);
	if (master != 0 && process_holds(text, h))
		return master;
	dir = opendir("/proc");
	while (dir != NULL && found == 0 && (entry = readdir(dir)) != NULL) {
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    process_holds(entry->d_name, h))
			found = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	if (dir != NULL)
		closedir(dir);
	return found;
}

static void
process_name(pid_t pid, char name[32])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
	str_copy(name, 32, "?");
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fgets(name, 32, f) != NULL)
		name[strcspn(name, "\n")] = '\0';
	fclose(f);
}

static void
look_at_taken(const struct doctor *d, const char *key, const char *text, uint16_t port,
    struct findings *found)
{
	struct holders h = {.count = 0};
	char name[32];
	pid_t pid;

	find_inodes("/proc/net/tcp", port, &h);
	find_inodes("/proc/net/tcp6", port, &h);
	pid = find_process(&h, d->master);
	if (pid != 0 && pid == d->master) {
		findings_add(found, FINDING_FINE, NULL,
		    "%s: the node that runs (process %ld) listens on %s", key,
		    (long)pid, text);
		return;
	}
	if (pid != 0) {
		process_name(pid, name);
		findings_add(found, FINDING_FAULT,
		    "stop that program, or give another port",
		    "%s: %s is taken by %s (process %ld)", key, text, name, (long)pid);
		return;
	}
	if (d->master != 0)
		findings_add(found, FINDING_WARNING, "run this as root to be sure",
		    "%s: %s is taken, perhaps by the node that runs (process %ld)", key,
		    text, (long)d->master);
	else
		findings_add(found, FINDING_FAULT,
		    "stop that program (as root, ss -ltnp shows it), or give another "
		    "port",
		    "%s: %s is taken by a program that we may not see", key, text);
}

/* ---------------------------------------------------------------- each address */

/* 0, or the system's reason why nobody could listen there */
static int
try_bind(const struct addr *a)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1,
	    why = 0;

	if (fd == -1)
		return errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    (a->sa.sa_family == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0) ||
	    bind(fd, &a->sa, a->len) != 0)
		why = errno;
	close(fd);
	return why;
}

static void
look_at_address(
    const struct doctor *d, const char *key, const char *text, struct findings *found)
{
	struct err err = ERR_INIT;
	struct addr a;
	int why;

	if (addr_parse(text, &a, &err) != 0 || a.sa.sa_family == AF_UNIX ||
	    addr_port(&a) == 0)
		return; /* loading has judged it; unix sockets are files */
	why = try_bind(&a);
	switch (why) {
	case 0:
		findings_add(found, FINDING_FINE, NULL, "%s: %s is free", key, text);
		break;
	case EADDRINUSE:
		look_at_taken(d, key, text, addr_port(&a), found);
		break;
	case EACCES:
		findings_add(found, FINDING_WARNING,
		    "run this as the user that starts the node; a port below 1024 "
		    "needs root, or AmbientCapabilities=CAP_NET_BIND_SERVICE",
		    "%s: this user may not listen on %s", key, text);
		break;
	case EADDRNOTAVAIL:
		findings_add(found, FINDING_FAULT,
		    "give an address of this machine (ip addr), or 0.0.0.0 for all",
		    "%s: this machine has no address as in %s", key, text);
		break;
	case EAFNOSUPPORT:
		findings_add(found, FINDING_FAULT,
		    "leave out the [::] address, or switch IPv6 on",
		    "%s: this machine has no IPv6, and %s needs it", key, text);
		break;
	default:
		findings_add(found, FINDING_FAULT, "give another address", "%s: %s: %s",
		    key, text, strerror(why));
	}
}

static void
look_at_list(
    const struct doctor *d, const char *key, const char *list, struct findings *found)
{
	char *copy = mem_strdup(list), *rest = copy, *word;

	while (rest != NULL && (word = strsep(&rest, ",")) != NULL) {
		word = str_trim(word);
		/* words behind the address say how, not where */
		word[strcspn(word, " \t")] = '\0';
		if (word[0] != '\0')
			look_at_address(d, key, word, found);
	}
	mem_free(copy);
}

void
doctor_ports(struct doctor *d, struct findings *found)
{
	/* whatever lists of addresses this release has */
	for (size_t i = 0; i < settings_schema.key_count; i++) {
		const struct conf_key *key = &settings_schema.keys[i];
		const char *list;
		char name[64];

		if (!str_eq(key->section, "listen") || key->type != CONF_STRING)
			continue;
		list = *(char *const *)((const char *)d->settings + key->offset);
		if (list == NULL || strchr(list, ':') == NULL)
			continue;
		snprintf(name, sizeof(name), "listen.%s", key->name);
		look_at_list(d, name, list, found);
	}
}
