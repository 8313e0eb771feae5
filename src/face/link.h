/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.h - addresses of our own that replies carry.
 */
#ifndef FACE_LINK_H
#define FACE_LINK_H

#include <stddef.h>

#include "http/httpd.h"
#include "model/settings.h"

#define LINK_MAX 512

/*
 * The Location of what lies at path: with scheme, cluster.hostname and port, where it
 * is known how the client reaches the cluster (by TLS to this node, or as a trusted
 * proxy said) and a host name is set.  Otherwise the path alone, which leads back the
 * way that the client came: a guess could send it, and its key, to plain HTTP.
 */
void link_location(struct httpreq *req, const struct settings *s, const char *path);

#endif
