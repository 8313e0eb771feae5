/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confkey.h - one row of the table and one value of it; private to conf.
 */
#ifndef BASE_CONFKEY_H
#define BASE_CONFKEY_H

#include <stdbool.h>

#include "base/conf.h"

#define CONF_RANGE_SIZE 128

/* a value that was checked, on its way into a struct */
struct confvalue {
	int64_t n;  /* of all types but strings */
	char *text; /* of strings; owned */
	char *file; /* of secrets: the file that text was in; owned; "": none */
};

/* the message does not name the key; it shows the text, unless that is a secret */
int confkey_parse(const struct conf_key *key, const char *text, struct confvalue *value,
    struct err *err) ATTR_CHECK;
/* the string is given; base is the struct that the key's offset counts in */
void confkey_store(const struct conf_key *key, void *base, struct confvalue *value);
void confvalue_fini(const struct conf_key *key, struct confvalue *value);
/* frees what the struct holds, leaves NULL */
void confkey_fini(const struct conf_key *key, void *base);
/* as it would stand in a file; secrets are masked */
void confkey_show(const struct conf_key *key, const void *base, struct strbuf *out);
/* such as "1 to 64 processes", "yes or no"; returns buf, empty if anything goes */
const char *confkey_range(const struct conf_key *key, char buf[CONF_RANGE_SIZE]);

/* "type:", whose sections are [type:NAME] */
bool confsection_is_family(const char *name);

#endif
