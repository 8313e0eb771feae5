/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * err.c - errors as values.
 *
 * Nothing here allocates: an error must be possible when memory is out.  Texts
 * that are too long are cut at their end, where the oldest detail stands.
 *
 * New code?  A value in enum err_code, its name here, its status in the API's table.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return -1;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

int
err_errno(struct err *err, int errnum, const char *fmt, ...)
{
	va_list ap;
	size_t len;
	char reason[96];

	if (err == NULL)
		return -1;
	err->code = errnum == ENOMEM ? ERR_NOMEM : ERR_IO;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	/* the GNU variant: it may return a static string instead of filling ours */
	snprintf(err->text + len, sizeof(err->text) - len, ": %s",
	    strerror_r(errnum, reason, sizeof(reason)));
	return -1;
}

int
err_wrap(struct err *err, const char *fmt, ...)
{
	char inner[sizeof(err->text)];
	va_list ap;
	size_t len;

	if (err == NULL)
		return -1;
	memcpy(inner, err->text, sizeof(inner));
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
	return -1;
}

void
err_clear(struct err *err)
{
	if (err == NULL)
		return;
	err->code = ERR_NONE;
	err->text[0] = '\0';
}

void
stamp_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: a pointer is not a live %s\n", file, line, what);
	abort();
}
