/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_machine.c - whether the machine gives a node what its settings ask for.
 *
 * Of a node that runs the limits are its own; otherwise they are ours, and a service
 * manager may give others.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/doctor.h"

#define MIB	     (INT64_C(1) << 20)
#define FILES_BESIDE 100 /* the log, the loop, the names, the spawner */
#define REDIS_LANES  3
#define SKEW_WARN_S  5.0
#define SKEW_FAULT_S 60.0

/* ---------------------------------------------------------------- clocks */

void
doctor_clock_judge(
    const char *store, double ahead_s, double unsure_s, struct findings *found)
{
	double apart = fabs(ahead_s) - unsure_s;
	char text[200];

	snprintf(text, sizeof(text), "this machine's clock is %.1f s %s that of %s",
	    fabs(ahead_s), ahead_s > 0 ? "behind" : "before", store);
	if (apart >= SKEW_WARN_S)
		findings_add(found,
		    apart >= SKEW_FAULT_S ? FINDING_FAULT : FINDING_WARNING,
		    "let all machines follow one source of time (chrony, "
		    "systemd-timesyncd): what is due goes by PostgreSQL's clock, but "
		    "signatures, certificates and logs by this one",
		    "%s", text);
	else
		findings_add(found, FINDING_FINE, NULL,
		    "this machine's clock is that of %s (within %.1f s)", store,
		    fabs(ahead_s) + unsure_s);
}

static void
look_at_clock(struct findings *found)
{
	struct timex tx = {.modes = 0};
	int state = adjtimex(&tx);

	if (state == -1)
		return; /* not told in here */
	if (state == TIME_ERROR || (tx.status & STA_UNSYNC) != 0)
		findings_add(found, FINDING_WARNING,
		    "start chrony or systemd-timesyncd, on the host if this is a "
		    "container",
		    "the kernel says that nothing keeps this clock right");
	else
		findings_add(
		    found, FINDING_FINE, NULL, "the clock follows a source of time");
}

/* ---------------------------------------------------------------- limits */

static bool
hard_limit(const struct doctor *d, __rlimit_resource_t resource, int64_t *limit)
{
	struct rlimit rl;

	if (prlimit(d->master, resource, NULL, &rl) != 0 &&
	    prlimit(0, resource, NULL, &rl) != 0)
		return false;
	*limit = rl.rlim_max == RLIM_INFINITY || rl.rlim_max > INT64_MAX
		     ? INT64_MAX
		     : (int64_t)rl.rlim_max;
	return true;
}

static void
look_at_limits(const struct doctor *d, struct findings *found)
{
	const struct settings *s = d->settings;
	const char *whose = d->master != 0 ? "the running node" : "this shell";
	int64_t files = 2 * s->http_max_connections + s->node_slots +
			s->database_connections + REDIS_LANES + FILES_BESIDE;
	int64_t processes = settings_worker_count(s) * (1 + s->node_exec_slots) + 2,
		limit;

	if (hard_limit(d, RLIMIT_NOFILE, &limit)) {
		if (limit < files)
			findings_add(found, FINDING_WARNING,
			    "raise it (LimitNOFILE= of the service), or lower "
			    "http.max_connections",
			    "%s may open %" PRId64
			    " files a process, and a full worker "
			    "needs %" PRId64,
			    whose, limit, files);
		else
			findings_add(found, FINDING_FINE, NULL,
			    "a full worker needs %" PRId64
			    " open files, and %s may have more",
			    files, whose);
	}
	if (hard_limit(d, RLIMIT_NPROC, &limit) && d->uid != 0 && limit < processes)
		findings_add(found, FINDING_WARNING,
		    "raise it (LimitNPROC= of the service), or lower node.exec_slots",
		    "%s may have %" PRId64 " processes, and the node may need %" PRId64,
		    whose, limit, processes);
}

static void
look_at_backlog(const struct doctor *d, struct findings *found)
{
	FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
	long most = 0;

	if (f == NULL)
		return;
	if (fscanf(f, "%ld", &most) == 1 && most < d->settings->listen_backlog)
		findings_add(found, FINDING_WARNING,
		    "sysctl -w net.core.somaxconn=N, or lower listen.backlog",
		    "the kernel keeps %ld waiting connections, and listen.backlog "
		    "asks for %" PRId64,
		    most, d->settings->listen_backlog);
	fclose(f);
}

static void
look_at_memory(const struct doctor *d, struct findings *found)
{
	int64_t each = d->settings->node_max_memory_bytes,
		all = each * settings_worker_count(d->settings), there;
	struct sysinfo si;

	if (each == 0 || sysinfo(&si) != 0)
		return;
	there = (int64_t)si.totalram * si.mem_unit;
	if (all > there)
		findings_add(found, FINDING_WARNING,
		    "lower node.max_memory or node.workers: the kernel kills somebody "
		    "before the node replaces a worker",
		    "%d workers of %" PRId64 " MiB each are more than the %" PRId64
		    " MiB of this machine",
		    settings_worker_count(d->settings), each / MIB, there / MIB);
	else
		findings_add(found, FINDING_FINE, NULL,
		    "%d workers of at most %" PRId64 " MiB fit into %" PRId64 " MiB",
		    settings_worker_count(d->settings), each / MIB, there / MIB);
}

/* ---------------------------------------------------------------- disks */

static void
look_at_disk(const char *key, const char *directory, struct findings *found)
{
	struct statvfs vfs;
	int64_t free_bytes;
	double share;

	if (statvfs(directory, &vfs) != 0 || vfs.f_blocks == 0)
		return; /* doctor_files says that it is not there */
	free_bytes = (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize;
	share = 100.0 * (double)vfs.f_bavail / (double)vfs.f_blocks;
	if (free_bytes < 16 * MIB || (vfs.f_files > 0 && vfs.f_favail == 0))
		findings_add(found, FINDING_FAULT,
		    "make room: old logs, or a larger disk", "%s: %s is full", key,
		    directory);
	else if (share < 5.0 && free_bytes < 4096 * MIB)
		findings_add(found, FINDING_WARNING,
		    "make room, and let logrotate keep less",
		    "%s: %" PRId64 " MiB (%.0f %%) are left in %s", key,
		    free_bytes / MIB, share, directory);
	else
		findings_add(found, FINDING_FINE, NULL,
		    "%s: %" PRId64 " MiB are left in %s", key, free_bytes / MIB,
		    directory);
}

void
doctor_machine(struct doctor *d, struct findings *found)
{
	char directory[PATH_MAX];

	look_at_clock(found);
	look_at_limits(d, found);
	look_at_backlog(d, found);
	look_at_memory(d, found);
	if (d->settings->log_file[0] == '/')
		look_at_disk("log.file",
		    doctor_directory(
			d->settings->log_file, directory, sizeof(directory)),
		    found);
	look_at_disk("node.temporary", d->settings->node_temporary, found);
}
