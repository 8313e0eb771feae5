/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cidr.h - lists of networks such as "127.0.0.0/8, ::1/128".
 */
#ifndef BASE_CIDR_H
#define BASE_CIDR_H

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
/* one network, without spaces around it */
int cidr_parse(const char *text, struct cidr *out, struct err *err) ATTR_CHECK;
/* 4 bytes, or 16 if v6, in network order */
bool cidr_has(const struct cidr *c, const uint8_t *address, bool v6);
bool cidr_list_has_bytes(const struct cidr_list *list, const uint8_t *address, bool v6);
/* a numeric address; an IPv4 address inside IPv6 (::ffff:10.0.0.1) counts as IPv4 */
bool cidr_list_has(const struct cidr_list *list, const char *address);

#endif
