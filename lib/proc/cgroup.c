/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cgroup.c - a control group (v2) for one command and all that it starts; see cgroup.h.
 *
 * Everything is a file below the home; nothing is kept here.  Two spawners of one node
 * (a reload) share the home: names begin with their pids, and what is removed is empty.
 */
#include "proc/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/str.h"
#include "proc/procutil.h"

#define NODE	     "shoal.node"
#define PREFIX	     "shoal."
#define CPU_PERIOD   100000 /* us; the kernel's own default */
#define MOVES_MOST   50	    /* processes are forked while others are moved */
#define REMOVE_TRIES 20
#define KIN_DEPTH    16
#define TEXT_MOST    (256 * 1024)

static const struct {
	unsigned bit;
	const char *name;
} controllers_known[] = {
    {CGROUP_MEMORY, "memory"}, {CGROUP_PIDS, "pids"}, {CGROUP_CPU, "cpu"}};

unsigned
cgroup_controllers(const struct cgroup_limits *l)
{
	return (l->memory_bytes > 0 ? CGROUP_MEMORY : 0) |
	       (l->processes > 0 ? CGROUP_PIDS : 0) |
	       (l->cpu_percent > 0 ? CGROUP_CPU : 0);
}

/* ---------------------------------------------------------------- files */

static bool
join(char to[CGROUP_PATH], const char *path, const char *name)
{
	int n = snprintf(to, CGROUP_PATH, "%s/%s", path, name);

	if (n > 0 && n < CGROUP_PATH)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

static int
write_in(const char *group, const char *name, const char *text)
{
	char path[CGROUP_PATH];
	ssize_t n;
	int fd, saved;

	if (!join(path, group, name))
		return -1;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	n = write(fd, text, strlen(text));
	saved = errno;
	close(fd);
	errno = saved;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* ---------------------------------------------------------------- the home */

/* where the hierarchy is mounted; a hybrid machine has it beside those of v1 */
static int
find_mount(char path[CGROUP_PATH], char root[CGROUP_PATH])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *dash;
	size_t room = 0;
	int found = -1;

	if (f == NULL)
		return -1;
	while (found != 0 && getline(&line, &room, f) > 0) {
		/* id parent device root mount options ... - type ... */
		dash = strstr(line, " - cgroup2 ");
		if (dash != NULL &&
		    sscanf(line, "%*s %*s %*s %511s %511s", root, path) == 2)
			found = 0;
	}
	free(line);
	fclose(f);
	return found;
}

/* where our processes are: HOME, or HOME/shoal.node when it is prepared */
static int
find_home(char home[CGROUP_PATH], struct err *err)
{
	char mount[CGROUP_PATH], root[CGROUP_PATH], text[4096], *line, *rest = text;
	const char *own = NULL;
	size_t len;

	if (find_mount(mount, root) != 0)
		return err_set(err, ERR_INVALID,
		    "this machine has no control groups of version 2 mounted");
	if (file_read_small("/proc/self/cgroup", text, sizeof(text)) < 0)
		return err_errno(err, errno, "/proc/self/cgroup");
	while (own == NULL && (line = strsep(&rest, "\n")) != NULL) {
		if (str_starts(line, "0::"))
			own = line + 3;
	}
	if (own == NULL || own[0] != '/')
		return err_set(err, ERR_INVALID,
		    "this process is in no control group of version 2");
	/* the mount may show a part of the tree only, ours */
	if (!str_eq(root, "/") && str_starts(own, root))
		own += strlen(root);
	len = strlen(own);
	while (len > 0 && own[len - 1] == '/')
		len--;
	if (len >= sizeof(NODE) &&
	    memcmp(own + len - sizeof(NODE), "/" NODE, sizeof(NODE)) == 0)
		len -= sizeof(NODE);
	if ((size_t)snprintf(home, CGROUP_PATH, "%s%.*s", mount, (int)len, own) >=
	    CGROUP_PATH)
		return err_set(
		    err, ERR_INVALID, "its control group's path is too long");
	return 0;
}

static bool
has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	while ((text = strstr(text, word)) != NULL) {
		if (text[len] == '\0' || text[len] == ' ' || text[len] == '\n')
			return true;
		text += len;
	}
	return false;
}

int
cgroup_check(unsigned controllers, const char *home, struct err *err)
{
	static const char *const written[] = {
	    "", "cgroup.procs", "cgroup.subtree_control"};
	char path[CGROUP_PATH], text[1024];

	if (!join(path, home, "cgroup.controllers") ||
	    file_read_small(path, text, sizeof(text)) < 0)
		return err_errno(err, errno, "%s", path);
	for (size_t i = 0; i < COUNT_OF(controllers_known); i++) {
		if ((controllers & controllers_known[i].bit) != 0 &&
		    !has_word(text, controllers_known[i].name))
			return err_set(err, ERR_INVALID,
			    "the control group %s has no controller %s: run the node "
			    "as "
			    "a systemd service with Delegate=yes, on a machine whose "
			    "control groups are of version 2",
			    home, controllers_known[i].name);
	}
	for (size_t i = 0; i < COUNT_OF(written); i++) {
		if (!join(path, home, written[i]))
			return err_errno(err, errno, "%s", home);
		if (access(path, W_OK) != 0)
			return err_set(err, ERR_INVALID,
			    "the control group %s is not this node's to change (%s): "
			    "run it as a systemd service with Delegate=yes",
			    home, strerror(errno));
	}
	return 0;
}

int
cgroup_home(unsigned controllers, char path[CGROUP_PATH], struct err *err)
{
	if (find_home(path, err) != 0)
		return -1;
	return cgroup_check(controllers, path, err);
}

static pid_t
parent_of(pid_t pid)
{
	char path[64], text[512], *end;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	if (file_read_small(path, text, sizeof(text)) < 0)
		return 0;
	end = strrchr(text, ')');
	return end != NULL && strlen(end) > 4 ? (pid_t)strtol(end + 4, NULL, 10) : 0;
}

static bool
is_kin(pid_t pid, pid_t kin)
{
	for (int i = 0; i < KIN_DEPTH && pid > 1; i++) {
		if (pid == kin)
			return true;
		pid = parent_of(pid);
	}
	return false;
}

/* all of ours that stand in the home itself; err: there are others */
static int
move_kin(const char *home, pid_t kin, struct err *err)
{
	char path[CGROUP_PATH], node[CGROUP_PATH], word[24], *text, *rest, *line;
	int rc = 0;

	if (!join(path, home, "cgroup.procs") || !join(node, home, NODE))
		return err_errno(err, errno, "%s", home);
	text = malloc(TEXT_MOST);
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "processes of a control group");
	if (file_read_small(path, text, TEXT_MOST) < 0)
		rc = err_errno(err, errno, "%s", path);
	for (rest = text; rc == 0 && (line = strsep(&rest, "\n")) != NULL;) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		if (pid <= 0)
			continue;
		snprintf(word, sizeof(word), "%ld", (long)pid);
		if (!is_kin(pid, kin) && parent_of(pid) != 0)
			rc = err_set(err, ERR_INVALID,
			    "the control group %s has other processes than this "
			    "node's, "
			    "%ld for one: run the node as a systemd service with "
			    "Delegate=yes",
			    home, (long)pid);
		else if (write_in(node, "cgroup.procs", word) != 0 && errno != ESRCH)
			rc = err_errno(err, errno, "%s/cgroup.procs", node);
	}
	free(text);
	return rc;
}

/* of a spawner that was killed */
static void
remove_old(const char *home)
{
	DIR *dir = opendir(home);
	char path[CGROUP_PATH];
	const struct dirent *e;

	if (dir == NULL)
		return;
	while ((e = readdir(dir)) != NULL) {
		if (str_starts(e->d_name, PREFIX) && !str_eq(e->d_name, NODE) &&
		    join(path, home, e->d_name))
			(void)rmdir(path); /* refused while somebody is in it */
	}
	closedir(dir);
}

int
cgroup_divide(unsigned controllers, pid_t kin, const char *home, struct err *err)
{
	char node[CGROUP_PATH], enable[64] = "";
	struct timespec pause = {.tv_nsec = 10 * 1000000L};

	remove_old(home);
	for (size_t i = 0; i < COUNT_OF(controllers_known); i++) {
		if ((controllers & controllers_known[i].bit) != 0)
			snprintf(enable + strlen(enable),
			    sizeof(enable) - strlen(enable), "+%s ",
			    controllers_known[i].name);
	}
	for (int i = 0; i < MOVES_MOST; i++) {
		if (enable[0] == '\0' ||
		    write_in(home, "cgroup.subtree_control", enable) == 0)
			return 0;
		if (errno != EBUSY)
			return err_set(err, ERR_INVALID,
			    "the control group %s cannot be divided: %s", home,
			    strerror(errno));
		/* it has processes */
		if (!join(node, home, NODE) ||
		    (mkdir(node, 0755) != 0 && errno != EEXIST))
			return err_errno(err, errno, "%s", node);
		if (move_kin(home, kin, err) != 0)
			return -1;
		if (i > 0)
			(void)nanosleep(&pause, NULL);
	}
	return err_set(err, ERR_IO,
	    "the control group %s cannot be divided: new processes come into it all "
	    "the "
	    "time",
	    home);
}

int
cgroup_prepare(unsigned controllers, pid_t kin, char home[CGROUP_PATH], struct err *err)
{
	if (cgroup_home(controllers, home, err) != 0)
		return -1;
	return cgroup_divide(controllers, kin, home, err);
}

/* ---------------------------------------------------------------- one command's */

int
cgroup_limit(const char *path, const struct cgroup_limits *l)
{
	char text[64];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)l->memory_bytes);
	if (l->memory_bytes > 0 && write_in(path, "memory.max", text) != 0)
		return -1;
	/* what it may have in all; a kernel without swap has no such file.  And when it
	 * has too much, all of it goes, not some process that the rest waits for */
	if (l->memory_bytes > 0 &&
	    ((write_in(path, "memory.swap.max", "0") != 0 && errno != ENOENT) ||
		(write_in(path, "memory.oom.group", "1") != 0 && errno != ENOENT)))
		return -1;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)l->processes);
	if (l->processes > 0 && write_in(path, "pids.max", text) != 0)
		return -1;
	snprintf(text, sizeof(text), "%llu %d",
	    (unsigned long long)l->cpu_percent * CPU_PERIOD / 100, CPU_PERIOD);
	return l->cpu_percent > 0 ? write_in(path, "cpu.max", text) : 0;
}

int
cgroup_make(const char *home, const char *name, const struct cgroup_limits *l,
    char path[CGROUP_PATH])
{
	int saved;

	if (!join(path, home, name) || mkdir(path, 0755) != 0)
		return -1;
	if (cgroup_limit(path, l) == 0)
		return 0;
	saved = errno;
	(void)rmdir(path);
	errno = saved;
	return -1;
}

int
cgroup_open_procs(const char *path)
{
	char procs[CGROUP_PATH];

	return join(procs, path, "cgroup.procs") ? open(procs, O_WRONLY | O_CLOEXEC)
						 : -1;
}

void
cgroup_kill(const char *path)
{
	(void)write_in(path, "cgroup.kill", "1");
}

void
cgroup_remove(const char *path)
{
	struct timespec pause = {.tv_nsec = 1000000L};

	/* the last one's end may not have come to the kernel's tree yet */
	for (int i = 0; i < REMOVE_TRIES && rmdir(path) != 0 && errno == EBUSY; i++)
		(void)nanosleep(&pause, NULL);
}
