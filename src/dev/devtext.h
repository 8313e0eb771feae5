/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devtext.h - what shoald --dev writes for the node, for a shell and for a person.
 */
#ifndef DEV_DEVTEXT_H
#define DEV_DEVTEXT_H

#include <stdio.h>

#include "base/attr.h"
#include "base/strbuf.h"
#include "dev/devstore.h"
#include "event/addr.h"
#include "model/settings.h"

#define DEVTEXT_MAX 16384

/* DIR/shoald.conf: what dev asks of its node */
/* in the directory: what secrets.key_file names */
#define DEV_KEY_FILE "secrets.key"
void devtext_conf(const struct devstore *st, struct strbuf *out);
/* DIR/env: export lines; settings are those in force for the node */
void devtext_env(
    const struct settings *settings, const char *api_key, struct strbuf *out);
/* to be read once the node listens */
void devtext_welcome(const struct settings *settings, const struct devdir *dir,
    const char *api_key, FILE *out);
/* the first address of a listen setting, as something that can be connected to, and
 * whether TLS is spoken there; -1: none */
int devtext_first_address(const char *list, struct addr *a, bool *tls) ATTR_CHECK;

#endif
