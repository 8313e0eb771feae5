/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crash.c - what a process that dies says in the log; see crash.h.
 *
 * The handler runs on a stack of its own, since the other one may be what is broken,
 * and uses only what is allowed there: no memory is asked for, no lock is taken by us.
 * glibc's backtrace loads its unwinder when it is first called, which is done at the
 * start; the names of frames come from backtrace_symbols_fd, through a pipe, so that
 * they become lines of our log like all others, wherever that goes.
 *
 * The tasks come first, the frames after what may fault: a second fault ends the
 * process at once, by the default action.  If all of it hangs, an alarm ends it.
 */
#include "base/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

#define STACK_BYTES  (256 * 1024)
#define ALARM_S	     5
#define SYMBOLS_MOST 16384
#define BUILD_ID     20 /* bytes */

/* one task that runs; next is its place in the list of those that are free */
struct held {
	struct uuid task;
	int attempt;
	int application; /* 0: free */
	int next;
};

/* places are counted from 1, so that what is zeroed has none */
static struct {
	struct held held[CRASH_TASKS + 1];
	int used;  /* places that were ever taken */
	int free;  /* the first place of the list */
	int count; /* taken now */
	volatile int at;
	int pipe[2];
	void *stack;
	uintptr_t base;
	char build_id[2 * BUILD_ID + 1];
	crash_more_fn *more;
	volatile sig_atomic_t entered;
	volatile sig_atomic_t watching;
} crash;

static const struct {
	int signo;
	const char *name;
} deadly[] = {
    {SIGSEGV, "SIGSEGV"},
    {SIGBUS, "SIGBUS"},
    {SIGABRT, "SIGABRT"},
    {SIGFPE, "SIGFPE"},
    {SIGILL, "SIGILL"},
};

/* ---- what runs --------------------------------------------------------------- */

int
crash_hold(const struct uuid *task, int attempt, int application)
{
	struct held *h;
	int place;

	if (crash.free != CRASH_NONE) {
		place = crash.free;
		crash.free = crash.held[place].next;
	} else if (crash.used < CRASH_TASKS) {
		place = ++crash.used;
	} else {
		return CRASH_NONE;
	}
	h = &crash.held[place];
	h->task = *task;
	h->attempt = attempt;
	h->application = application;
	crash.count++;
	return place;
}

void
crash_drop(int place)
{
	if (place == CRASH_NONE)
		return;
	crash.held[place].application = 0;
	crash.held[place].next = crash.free;
	crash.free = place;
	crash.count--;
	if (crash.at == place)
		crash.at = CRASH_NONE;
}

void
crash_at(int place)
{
	crash.at = place;
}

void
crash_set_more(crash_more_fn *fn)
{
	crash.more = fn;
}

/* ---- the report -------------------------------------------------------------- */

/* what the signal's code says of who sent it, where that matters */
static const char *
sender(const siginfo_t *info)
{
	return info->si_code == SI_USER || info->si_code == SI_TKILL ? "a process"
								     : "the kernel";
}

static void
tell_signal(int signo, const siginfo_t *info)
{
	const char *name = "unknown";
	bool sent = info->si_code <= 0;

	for (size_t i = 0; i < COUNT_OF(deadly); i++) {
		if (deadly[i].signo == signo)
			name = deadly[i].name;
	}
	log_urgent("crash report",
	    "signal=%s by=\"%s\" from_pid=%d address=%p pid=%d base=%p build_id=%s",
	    name, sender(info), sent ? (int)info->si_pid : 0,
	    sent ? NULL : info->si_addr, (int)getpid(), (void *)crash.base,
	    crash.build_id);
}

static void
tell_task(int place)
{
	const struct held *h = &crash.held[place];
	char id[UUID_TEXT_SIZE];

	log_urgent("crash report: running", "task=%s attempt=%d application=%d now=%s",
	    uuid_format(&h->task, id), h->attempt, h->application,
	    place == crash.at ? "yes" : "no");
}

static size_t
tell_tasks(void)
{
	size_t told = 0;

	if (crash.at > CRASH_NONE && crash.at <= CRASH_TASKS) {
		tell_task(crash.at);
		told++;
	}
	for (int i = 1; i <= crash.used && i <= CRASH_TASKS && told < CRASH_SHOWN;
	     i++) {
		if (crash.held[i].application == 0 || i == crash.at)
			continue;
		tell_task(i);
		told++;
	}
	return told;
}

static void
tell_frames(void *const frames[], int count)
{
	static char text[SYMBOLS_MOST + 1];
	char *at = text, *end;
	ssize_t len;

	backtrace_symbols_fd(frames, count, crash.pipe[1]);
	len = read(crash.pipe[0], text, SYMBOLS_MOST);
	if (len <= 0)
		return;
	text[len] = '\0';
	for (int i = 0; (end = strchr(at, '\n')) != NULL; i++, at = end + 1) {
		*end = '\0';
		log_urgent("crash report: frame", "n=%d at=\"%s\"", i, at);
	}
}

static void
on_deadly(int signo, siginfo_t *info, void *context)
{
	static void *frames[CRASH_FRAMES];
	size_t tasks, requests;
	int count;

	(void)context;
	/* (of another kind, within the report: the default action is next) */
	if (crash.entered != 0 || crash.watching == 0) {
		(void)signal(signo, SIG_DFL);
		(void)raise(signo);
		return;
	}
	crash.entered = 1;
	(void)alarm(ALARM_S);
	tell_signal(signo, info);
	tasks = tell_tasks();
	requests = crash.more != NULL ? crash.more() : 0;
	count = backtrace(frames, CRASH_FRAMES);
	tell_frames(frames, count);
	log_urgent("crash report ends", "running=%d told=%zu requests=%zu frames=%d",
	    crash.count, tasks, requests, count);
	/* SA_RESETHAND has put the default action back; it comes when we return */
	(void)raise(signo);
}

/* ---- getting ready ----------------------------------------------------------- */

/* the build id is in a note of the program itself, which is the first that is told */
static int
on_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	crash.base = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const char *at, *end;

		if (ph->p_type != PT_NOTE)
			continue;
		at = (const char *)(info->dlpi_addr + ph->p_vaddr);
		end = at + ph->p_memsz;
		while (at + sizeof(ElfW(Nhdr)) <= end) {
			const ElfW(Nhdr) *n = (const void *)at;
			const char *name = at + sizeof(*n);
			const char *what = name + (n->n_namesz + 3) / 4 * 4;

			if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 &&
			    memcmp(name, "GNU", 4) == 0)
				str_hex(crash.build_id, what,
				    n->n_descsz < BUILD_ID ? n->n_descsz : BUILD_ID);
			at = what + (n->n_descsz + 3) / 4 * 4;
		}
	}
	return 1;
}

int
crash_watch(struct err *err)
{
	struct sigaction sa = {
	    .sa_sigaction = on_deadly,
	    .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND,
	};
	stack_t stack = {.ss_size = STACK_BYTES};
	void *frame[1];

	(void)str_copy(crash.build_id, sizeof(crash.build_id), "none");
	(void)dl_iterate_phdr(on_object, NULL);
	(void)backtrace(frame, 1);
	if (pipe2(crash.pipe, O_CLOEXEC | O_NONBLOCK) != 0)
		return err_errno(err, errno, "pipe for crash reports");
	stack.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack.ss_sp == MAP_FAILED)
		return err_errno(err, errno, "stack for crash reports");
	crash.stack = stack.ss_sp;
	if (sigaltstack(&stack, NULL) != 0)
		return err_errno(err, errno, "stack for crash reports");
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < COUNT_OF(deadly); i++) {
		if (sigaction(deadly[i].signo, &sa, NULL) != 0)
			return err_errno(err, errno, "handler of %s", deadly[i].name);
	}
	crash.watching = 1;
	return 0;
}

void
crash_forget(void)
{
	const stack_t none = {.ss_flags = SS_DISABLE};

	if (crash.watching == 0)
		return;
	(void)sigaltstack(&none, NULL);
	(void)munmap(crash.stack, STACK_BYTES);
	close(crash.pipe[0]);
	close(crash.pipe[1]);
	crash.stack = NULL;
	crash.watching = 0;
}
