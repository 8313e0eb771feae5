/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward.h - what proxies say of a request's client, and who of them is believed.
 *
 * Each proxy adds the address that it was called from to the end of X-Forwarded-For.
 * So the list is read from its end: as long as whoever has spoken is trusted, the next
 * one is the client, or another proxy.  What stands before the first that is not
 * trusted anybody may have written.
 */
#ifndef HTTP_FORWARD_H
#define HTTP_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"

#define FORWARD_ADDRESS 46
/* so many hops are followed */
#define FORWARD_HOPS 32

struct forward {
	char client[FORWARD_ADDRESS]; /* numeric; to begin with, who has connected */
	/* nobody says that there is somebody behind it */
	bool is_origin;
	unsigned hops;
	bool stopped; /* at whom is not trusted, or at what cannot be read */
};

/* address: who has connected; trusted is borrowed by each call */
void forward_begin(struct forward *f, const char *address);
/*
 * One header X-Forwarded-For; where there are several, the last of them first.  Without
 * any, a proxy's client is not known: forward_end.
 */
void forward_for(struct forward *f, const struct cidr_list *trusted, const char *value);
/* the last word of a list, as X-Forwarded-Proto and -Port may be: of at most size-1
 * bytes; "" if it does not fit */
void forward_last(const char *value, char *to, size_t size);

#endif
