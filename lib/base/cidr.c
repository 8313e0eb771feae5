/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cidr.c - is an address in one of these networks?
 *
 * Lists are parsed once, when settings are checked and when a worker starts; a question
 * is a walk along the list.  What is no numeric address is in no network.
 */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define TEXT_SIZE 64

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool
address_parse(const char *text, struct cidr *c)
{
	memset(c, 0, sizeof(*c));
	if (inet_pton(AF_INET, text, c->addr) == 1) {
		c->bits = 32;
		return true;
	}
	if (inet_pton(AF_INET6, text, c->addr) != 1)
		return false;
	c->v6 = true;
	c->bits = 128;
	return true;
}

static bool
prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

int
cidr_parse(const char *text, struct cidr *out, struct err *err)
{
	char address[TEXT_SIZE];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	uint8_t zero[16] = {0}, tail[16];
	struct cidr c;
	int64_t bits;

	if (len >= sizeof(address))
		return err_set(err, ERR_INVALID, "network '%.60s' is no address", text);
	memcpy(address, text, len);
	address[len] = '\0';
	if (!address_parse(address, &c))
		return err_set(err, ERR_INVALID, "network '%.60s' is no address", text);
	if (slash != NULL) {
		if (str_to_i64(slash + 1, &bits) != 0 || bits < 0 || bits > c.bits)
			return err_set(err, ERR_INVALID,
			    "network '%.60s': the prefix length is no "
			    "number from 0 to %u",
			    text, c.bits);
		c.bits = (unsigned)bits;
	}
	memcpy(tail, c.addr, sizeof(tail));
	memset(tail, 0, c.bits / 8);
	if (c.bits % 8 != 0)
		tail[c.bits / 8] &= (uint8_t)(0xff >> c.bits % 8);
	if (memcmp(tail, zero, sizeof(zero)) != 0)
		return err_set(err, ERR_INVALID,
		    "network '%.60s' has bits set beyond its prefix length", text);
	*out = c;
	return 0;
}

int
cidr_list_parse(const char *text, struct cidr_list *list, struct err *err)
{
	char *copy = mem_strdup(text), *rest = copy, *word;
	struct cidr_list made = {NULL, 0};
	struct cidr c, *grown;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "list of networks");
	while ((word = strsep(&rest, ",")) != NULL) {
		word = str_trim(word);
		if (*word == '\0')
			continue;
		if (cidr_parse(word, &c, err) != 0)
			goto fail;
		grown = mem_resize(made.at, made.count + 1, sizeof(*made.at));
		if (grown == NULL) {
			err_set(err, ERR_NOMEM, "list of networks");
			goto fail;
		}
		made.at = grown;
		made.at[made.count++] = c;
	}
	mem_free(copy);
	*list = made;
	return 0;
fail:
	mem_free(copy);
	cidr_list_fini(&made);
	return -1;
}

void
cidr_list_fini(struct cidr_list *list)
{
	mem_free(list->at);
	list->at = NULL;
	list->count = 0;
}

bool
cidr_has(const struct cidr *c, const uint8_t *address, bool v6)
{
	if (v6 && memcmp(address, mapped, sizeof(mapped)) == 0) {
		address += sizeof(mapped);
		v6 = false;
	}
	return c->v6 == v6 && prefix_equal(c->addr, address, c->bits);
}

bool
cidr_list_has_bytes(const struct cidr_list *list, const uint8_t *address, bool v6)
{
	for (size_t i = 0; i < list->count; i++) {
		if (cidr_has(&list->at[i], address, v6))
			return true;
	}
	return false;
}

bool
cidr_list_has(const struct cidr_list *list, const char *address)
{
	struct cidr a;

	return address_parse(address, &a) && cidr_list_has_bytes(list, a.addr, a.v6);
}
