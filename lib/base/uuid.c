/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uuid.c - 128-bit ids as RFC 9562 writes them.
 *
 * Version 7 ids begin with the time, so that an index receives them at its right
 * end.  Nothing may rely on their order for correctness: the time is a guess, and
 * each process counts for itself.  But what one process makes in one millisecond
 * goes up, so that tasks sent together are started in the order they were sent.
 */
#include "base/uuid.h"

#include <string.h>

#include "base/str.h"

/* a counter in front of the random bits (RFC 9562, section 6.2, method 1); it begins
 * in its lower half, which leaves 131,072 ids before it is drawn anew */
#define COUNTER_BITS 18

void
uuid_v7(int64_t unix_ms, struct uuid *id)
{
	static int64_t counted_ms = -1;
	static uint32_t counter;
	int i;

	if (unix_ms != counted_ms || ++counter >> COUNTER_BITS != 0) {
		counted_ms = unix_ms;
		counter = (uint32_t)random_below(1U << (COUNTER_BITS - 1));
	}
	random_bytes(id->b, sizeof(id->b));
	for (i = 0; i < 6; i++)
		id->b[i] = (uint8_t)((uint64_t)unix_ms >> (40 - 8 * i));
	id->b[6] = (uint8_t)(0x70 | (counter >> 14));
	id->b[7] = (uint8_t)(counter >> 6);
	id->b[8] = (uint8_t)(0x80 | (counter & 0x3f));
}

char *
uuid_format(const struct uuid *id, char buf[UUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char *to = buf;

	for (size_t i = 0; i < sizeof(id->b); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[id->b[i] >> 4];
		*to++ = digits[id->b[i] & 0x0f];
	}
	*to = '\0';
	return buf;
}

int
uuid_parse(const char *text, size_t len, struct uuid *id)
{
	struct uuid read;
	size_t i, digits = 0;

	if (len != UUID_TEXT_SIZE - 1)
		return -1;
	for (i = 0; i < len; i++) {
		int digit;

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return -1;
			continue;
		}
		digit = str_hex_digit(text[i]);
		if (digit < 0)
			return -1;
		if (digits % 2 == 0)
			read.b[digits / 2] = (uint8_t)(digit << 4);
		else
			read.b[digits / 2] |= (uint8_t)digit;
		digits++;
	}
	*id = read;
	return 0;
}

int
uuid_cmp(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

bool
uuid_eq(const struct uuid *a, const struct uuid *b)
{
	return uuid_cmp(a, b) == 0;
}
