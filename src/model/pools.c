/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pools.c - two small tables of names; see pools.h.
 *
 * There are few pools, so a search reads them all, the first one first.
 */
#include "model/pools.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct pool_name {
	size_t len;
	char text[NAME_MAX_BYTES + 1];
};

struct pools {
	struct pool_name all[POOLS_MOST];
	int count;
};

struct pools *
pools_create(void)
{
	struct pools *p = mem_zero(sizeof(*p));

	if (p != NULL)
		(void)pools_number(p, POOL_MAIN_NAME, strlen(POOL_MAIN_NAME));
	return p;
}

void
pools_free(struct pools *p)
{
	mem_free(p);
}

int
pools_number(struct pools *p, const char *name, size_t len)
{
	struct err err = ERR_INIT;
	struct pool_name *n;

	for (int i = 0; i < p->count; i++) {
		if (p->all[i].len == len && memcmp(p->all[i].text, name, len) == 0)
			return i;
	}
	if (p->count == POOLS_MOST || name_check("pool", name, len, &err) != 0)
		return -1;
	n = &p->all[p->count];
	memcpy(n->text, name, len);
	n->text[len] = '\0';
	n->len = len;
	return p->count++;
}

const char *
pools_name(const struct pools *p, int pool)
{
	return p->all[pool].text;
}

int
pools_count(const struct pools *p)
{
	return p->count;
}

static const char *const kinds[] = {"dispatch:", "commands:"};

size_t
pools_list_name(const struct pools *p, int list, char buf[LIST_NAME_SIZE])
{
	return (size_t)snprintf(buf, LIST_NAME_SIZE, "%s%s",
	    kinds[list_has_commands(list)], pools_name(p, list_pool(list)));
}

int
pools_list_number(struct pools *p, const char *name, size_t len)
{
	size_t skip = strlen(kinds[0]);
	int pool;

	for (int i = 0; i < (int)COUNT_OF(kinds); i++) {
		if (len <= skip || memcmp(name, kinds[i], skip) != 0)
			continue;
		pool = pools_number(p, name + skip, len - skip);
		return pool < 0 ? -1 : list_of(pool, i == 1);
	}
	return -1;
}

static int
add(struct pools *p, const char *word, int numbers[POOLS_SERVED], int count,
    struct err *err)
{
	int n;

	if (name_check("pool", word, strlen(word), err) != 0)
		return -1;
	n = pools_number(p, word, strlen(word));
	for (int i = 0; i < count; i++) {
		if (numbers[i] == n)
			return err_set(err, ERR_INVALID, "%s is named twice", word);
	}
	if (count == POOLS_SERVED)
		return err_set(
		    err, ERR_INVALID, "a node serves at most %d pools", POOLS_SERVED);
	numbers[count] = n;
	return 0;
}

int
pools_parse(
    struct pools *p, const char *text, int numbers[POOLS_SERVED], struct err *err)
{
	char *copy = mem_strdup(text), *rest = copy, *word;
	int count = 0, rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "pools");
	while (rc == 0 && (word = strsep(&rest, ",")) != NULL) {
		rc = add(p, str_trim(word), numbers, count, err);
		count += rc == 0;
	}
	mem_free(copy);
	return rc == 0 ? count : -1;
}
