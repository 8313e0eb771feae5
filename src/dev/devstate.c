/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devstate.c - what shoald --dev remembers in its directory from one run to the next.
 *
 * One file of NAME=VALUE lines, readable by us alone.  Passwords must outlive a
 * run because the cluster has them inside; the key and the ports are kept so that a
 * shell that has read DIR/env stays right when the node is started again.
 *
 * New thing to remember?  A row in fields[].
 */
#include "dev/devstate.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/strbuf.h"
#include "base/uuid.h"
#include "event/addr.h"

#define FILE_MAX     4096
#define SECRET_BYTES 24

static const struct {
	const char *name;
	size_t text_offset; /* a char[DEVSTATE_TEXT_SIZE], or ... */
	size_t port_offset; /* ... a port, when this is not 0 */
	bool drawn;	    /* a secret that is drawn when missing */
} fields[] = {
    {"database_password", offsetof(struct devstate, database_password), 0, true},
    {"redis_password", offsetof(struct devstate, redis_password), 0, true},
    {"access_token", offsetof(struct devstate, access_token), 0, true},
    {"api_key", offsetof(struct devstate, api_key), 0, false},
    {"database_port", 0, offsetof(struct devstate, database_port), false},
    {"redis_port", 0, offsetof(struct devstate, redis_port), false},
};

static char *
text_of(struct devstate *ds, size_t i)
{
	return (char *)ds + fields[i].text_offset;
}

static uint16_t *
port_of(struct devstate *ds, size_t i)
{
	return (uint16_t *)(void *)((char *)ds + fields[i].port_offset);
}

static int
read_line(struct devstate *ds, char *line)
{
	char *value = strchr(line, '=');
	int64_t n;

	if (value == NULL)
		return -1;
	*value++ = '\0';
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		if (!str_eq(fields[i].name, line))
			continue;
		if (fields[i].port_offset == 0)
			return str_copy(text_of(ds, i), DEVSTATE_TEXT_SIZE, value) ? 0
										   : -1;
		if (str_to_i64(value, &n) != 0 || n < 0 || n > 65535)
			return -1;
		*port_of(ds, i) = (uint16_t)n;
		return 0;
	}
	return 0; /* of a later version */
}

int
devstate_load(struct devstate *ds, const struct devdir *dd, struct err *err)
{
	char path[DEVDIR_PATH_SIZE], text[FILE_MAX + 1] = "", *rest = text, *line;
	uint8_t secret[SECRET_BYTES];
	ssize_t n = 0;
	int fd;

	memset(ds, 0, sizeof(*ds));
	fd = open(devdir_path(dd, "state", path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, FILE_MAX);
		close(fd);
	} else if (errno == ENOENT) {
		n = 0;
	} else {
		n = -1;
	}
	if (n < 0)
		return err_errno(err, errno, "%s", path);
	text[n] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (line[0] != '\0' && read_line(ds, line) != 0)
			return err_set(
			    err, ERR_INVALID, "%s is damaged at '%.20s'", path, line);
	}
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		if (!fields[i].drawn || text_of(ds, i)[0] != '\0')
			continue;
		random_bytes(secret, sizeof(secret));
		str_hex(text_of(ds, i), secret, sizeof(secret));
	}
	explicit_bzero(text, sizeof(text));
	return 0;
}

int
devstate_save(const struct devstate *ds, const struct devdir *dd, struct err *err)
{
	struct devstate copy = *ds;
	struct strbuf sb;
	int rc;

	strbuf_init(&sb, FILE_MAX);
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		if (fields[i].port_offset != 0)
			strbuf_printf(
			    &sb, "%s=%u\n", fields[i].name, *port_of(&copy, i));
		else
			strbuf_printf(
			    &sb, "%s=%s\n", fields[i].name, text_of(&copy, i));
	}
	rc = strbuf_failed(&sb) ? err_set(err, ERR_NOMEM, "state")
				: devdir_write(dd, "state", sb.data, err);
	strbuf_fini(&sb);
	return rc;
}

static int
port_try(uint16_t *port, struct err *err)
{
	char text[32];
	struct addr a;
	int fd;

	snprintf(text, sizeof(text), "127.0.0.1:%u", *port);
	if (addr_parse(text, &a, err) != 0 || addr_listen(&a, 1, &fd, err) != 0)
		return -1;
	if (addr_of_socket(fd, &a, err) != 0) {
		close(fd);
		return -1;
	}
	*port = addr_port(&a);
	close(fd);
	return 0;
}

int
devstate_pick_port(uint16_t *port, struct err *err)
{
	if (*port != 0 && port_try(port, NULL) == 0)
		return 0;
	*port = 0;
	return port_try(port, err);
}
