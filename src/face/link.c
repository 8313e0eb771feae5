/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c - makes links; see link.h.
 */
#include "face/link.h"

#include <stdio.h>

#include "base/str.h"

#define NO_NAME                                                                        \
	"localhost" /* the default: nobody has said what the cluster is called */

void
link_location(struct httpreq *req, const struct settings *s, const char *path)
{
	char url[LINK_MAX], port_text[8] = "";
	uint16_t port;
	bool tls;
	int n;

	if (!str_eq(s->cluster_hostname, NO_NAME) &&
	    httpreq_reached(req, &tls, &port)) {
		if (port != (tls ? 443 : 80))
			(void)snprintf(port_text, sizeof(port_text), ":%u", port);
		n = snprintf(url, sizeof(url), "%s://%s%s%s", tls ? "https" : "http",
		    s->cluster_hostname, port_text, path);
		if (n > 0 && (size_t)n < sizeof(url))
			path = url;
	}
	httpreq_set_header(req, "Location", path);
}
