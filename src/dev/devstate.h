/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devstate.h - what shoald --dev remembers in its directory from one run to the next.
 */
#ifndef DEV_DEVSTATE_H
#define DEV_DEVSTATE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "dev/devdir.h"

#define DEVSTATE_TEXT_SIZE 128

struct devstate {
	char database_password[DEVSTATE_TEXT_SIZE]; /* hexadecimal: needs no quoting
						       anywhere */
	char redis_password[DEVSTATE_TEXT_SIZE];
	char access_token[DEVSTATE_TEXT_SIZE];
	char api_key[DEVSTATE_TEXT_SIZE]; /* "": none made yet */
	uint16_t database_port;		  /* 0: none chosen yet */
	uint16_t redis_port;
};

/* what DIR/state says; what it does not say is drawn.  A damaged file is ERR_INVALID */
int devstate_load(
    struct devstate *ds, const struct devdir *dd, struct err *err) ATTR_CHECK;
int devstate_save(
    const struct devstate *ds, const struct devdir *dd, struct err *err) ATTR_CHECK;
/* *port stays if 127.0.0.1 still has it free, and is a new free one otherwise */
int devstate_pick_port(uint16_t *port, struct err *err) ATTR_CHECK;

#endif
