/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launchread.c - a message to the spawner, taken off its socket and apart; see
 * launchread.h.
 */
#include "proc/launchread.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t
launchread_take(int fd, void *to, size_t size, int fds[LAUNCH_FDS], size_t *fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(LAUNCH_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = to, .iov_len = size};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*fd_count = 0;
	if (n == -1)
		return -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h != NULL;
	     h = CMSG_NXTHDR(&msg, h)) {
		size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int got;

			memcpy(&got, CMSG_DATA(h) + i * sizeof(int), sizeof(got));
			if (*fd_count < LAUNCH_FDS)
				fds[(*fd_count)++] = got;
			else
				close(got);
		}
	}
	return n;
}

static const char *
next_word(struct launch_words *w)
{
	const char *word = w->at;
	const char *nul = memchr(word, '\0', (size_t)(w->end - word));

	if (nul == NULL)
		return NULL;
	w->at = nul + 1;
	return word;
}

/* count words and a NULL, and room for spare ones more; NULL: there are not so many */
static const char **
word_array(struct launch_words *w, size_t count, size_t spare)
{
	const char **array = w->list + w->used;

	if (count > WIRE_WORDS || w->used + count + 1 + spare > COUNT_OF(w->list))
		return NULL;
	for (size_t i = 0; i < count; i++) {
		array[i] = next_word(w);
		if (array[i] == NULL)
			return NULL;
	}
	array[count] = NULL;
	w->used += count + 1 + spare;
	return array;
}

bool
launchread_parse(const struct wire_launch *m, size_t len, const int *fds,
    size_t fd_count, struct launch_words *w, struct keeper_job *job)
{
	struct launch_spec *spec = &job->spec;
	const char **argv, **reads, **writes;
	size_t next_fd = 0;

	if (m->limit_count > LAUNCH_LIMITS || m->seccomp >= LAUNCH_SECCOMP_COUNT ||
	    m->argv_count == 0)
		return false;
	*w = (struct launch_words){
	    .at = (const char *)(m + 1), .end = (const char *)m + len};
	if ((m->flags & WIRE_CWD) != 0 && (spec->cwd = next_word(w)) == NULL)
		return false;
	argv = word_array(w, m->argv_count, 0);
	job->env = argv != NULL ? word_array(w, m->env_count, KEEPER_ENV_SPARE) : NULL;
	reads = job->env != NULL ? word_array(w, m->read_count, 0) : NULL;
	writes = reads != NULL ? word_array(w, m->write_count, 0) : NULL;
	if (writes == NULL || m->read_count + m->write_count > LAUNCH_PATHS)
		return false;
	job->env_count = m->env_count;
	spec->argv = (char *const *)argv;
	spec->env = (char *const *)job->env;
	if ((m->flags & WIRE_LANDLOCK) != 0) {
		spec->allow_read = (char *const *)reads;
		spec->allow_write = (char *const *)writes;
	}
	spec->private_directory = (m->flags & WIRE_PRIVATE_DIRECTORY) != 0;
	spec->grouped = (m->flags & WIRE_GROUPED) != 0;
	spec->group.memory_bytes = m->group_memory;
	spec->group.processes = m->group_processes;
	spec->group.cpu_percent = m->group_cpu;
	spec->uid = (uid_t)m->uid;
	spec->gid = (gid_t)m->gid;
	spec->nice = m->nice;
	spec->seccomp = (enum launch_seccomp)m->seccomp;
	spec->limit_count = m->limit_count;
	for (size_t i = 0; i < m->limit_count; i++) {
		spec->limits[i].resource = (int)m->limits[i].resource;
		spec->limits[i].value = m->limits[i].value;
	}
	for (int i = 0; i < LAUNCH_FDS; i++) {
		spec->fds[i] = -1;
		if ((m->fds & (1u << i)) == 0)
			continue;
		if (next_fd == fd_count)
			return false;
		spec->fds[i] = fds[next_fd++];
	}
	return next_fd == fd_count;
}
