/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgserver.h - a private PostgreSQL server for tests: a temporary directory, a unix
 * socket in it, no fsync.  One a program.  It dies with the program.
 */
#ifndef TESTS_PGSERVER_H
#define TESTS_PGSERVER_H

#include <stdbool.h>

/*
 * Creates the cluster and starts it.  Binaries: SHOAL_TEST_PG_BIN, else the newest
 * /usr/lib/postgresql/N/bin.  false: there are none (the program should leave with
 * pgserver_missing()).  Anything else that goes wrong ends the program.
 */
bool pgserver_open(void);
/* 77, automake's "skipped"; 1 where CI=true says that nothing may be skipped */
int pgserver_missing(void);
void pgserver_start(void); /* returns before it is ready */
void pgserver_stop(void);  /* fast shutdown; NULL operation if it is not running */
void pgserver_kill(void);  /* SIGQUIT: as in a crash */
/* stops and removes everything */
void pgserver_close(void);
/* the directory of the socket, and the url: user shoal, database postgres */
const char *pgserver_dir(void);
const char *pgserver_url(void);

#endif
