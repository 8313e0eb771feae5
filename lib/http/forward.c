/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward.c - walks X-Forwarded-For from its end; see forward.h.
 */
#include "http/forward.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/str.h"

/* "1.2.3.4", "1.2.3.4:80", "::1", "[::1]" or "[::1]:80", without what is around it, in
 * the kernel's spelling; false: it is none of these */
static bool
read_address(const char *from, size_t len, char to[FORWARD_ADDRESS])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	char text[FORWARD_ADDRESS + 8];
	uint8_t bytes[16];
	char *start = text, *end;

	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, from, len);
	text[len] = '\0';
	if (text[0] == '[') {
		start = text + 1;
		end = strchr(start, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		*end = '\0';
	} else {
		end = strchr(text, ':');
		if (end != NULL && strchr(end + 1, ':') == NULL)
			*end = '\0';
	}
	if (inet_pton(AF_INET, start, bytes) == 1)
		return inet_ntop(AF_INET, bytes, to, FORWARD_ADDRESS) != NULL;
	if (inet_pton(AF_INET6, start, bytes) != 1)
		return false;
	if (memcmp(bytes, mapped, sizeof(mapped)) == 0)
		return inet_ntop(AF_INET, bytes + sizeof(mapped), to,
			   FORWARD_ADDRESS) != NULL;
	return inet_ntop(AF_INET6, bytes, to, FORWARD_ADDRESS) != NULL;
}

void
forward_begin(struct forward *f, const char *address)
{
	memset(f, 0, sizeof(*f));
	(void)str_copy(f->client, sizeof(f->client), address);
}

/* the word that ends before *len, without blanks; *len is moved to its comma */
static size_t
word_before(const char *value, size_t *len, const char **word)
{
	size_t end = *len, from;

	while (end > 0 && (value[end - 1] == ' ' || value[end - 1] == '\t'))
		end--;
	from = end;
	while (from > 0 && value[from - 1] != ',')
		from--;
	*len = from > 0 ? from - 1 : 0;
	while (from < end && (value[from] == ' ' || value[from] == '\t'))
		from++;
	*word = value + from;
	return end - from;
}

void
forward_for(struct forward *f, const struct cidr_list *trusted, const char *value)
{
	size_t left = strlen(value);

	while (left > 0 && !f->stopped) {
		const char *word;
		size_t len = word_before(value, &left, &word);

		/* there is one more: whoever we had is not the origin */
		f->is_origin = false;
		if (!cidr_list_has(trusted, f->client) || f->hops == FORWARD_HOPS ||
		    !read_address(word, len, f->client)) {
			f->stopped = true;
			return;
		}
		f->hops++;
		f->is_origin = true;
	}
}

void
forward_last(const char *value, char *to, size_t size)
{
	size_t left = strlen(value), len;
	const char *word;

	len = word_before(value, &left, &word);
	if (len >= size)
		len = 0;
	memcpy(to, word, len);
	to[len] = '\0';
}
