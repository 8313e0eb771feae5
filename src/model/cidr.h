/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cidr.h - lists of networks such as "127.0.0.0/8, ::1/128".
 */
#ifndef MODEL_CIDR_H
#define MODEL_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

struct cidr {
	uint8_t addr[16]; /* IPv4 in the first four */
	unsigned bits;
	bool v6;
};

struct cidr_list {
	struct cidr *at; /* owned; NULL when empty */
	size_t count;
};

/*
 * Networks separated by commas; an address without a prefix length stands for itself.
 * Bits set beyond the prefix are refused: they are a typing error more often than not.
 */
int cidr_list_parse(
    const char *text, struct cidr_list *list, struct err *err) ATTR_CHECK;
void cidr_list_fini(struct cidr_list *list);
/* a numeric address; an IPv4 address inside IPv6 (::ffff:10.0.0.1) counts as IPv4 */
bool cidr_list_has(const struct cidr_list *list, const char *address);

#endif
