/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace.c - traceparent and tracestate, read and written; see trace.h.
 *
 * The rules are those of W3C Trace Context, level 2: lower-case hexadecimal digits
 * only, ids of zeros are none, version ff is none, version 00 has exactly 55
 * characters, and of a higher one the first 55 are read as those of 00.  Of the flags
 * the two that have a meaning (sampled, random) are kept.
 *
 * shoal.trace_of_option (0016-trace.sql) keeps the same rules for submits from SQL.
 */
#include "model/trace.h"

#include <stdint.h>
#include <string.h>

#include "base/str.h"

/* where the parts of a traceparent stand */
#define AT_SPAN	     36
#define AT_FLAGS     53
#define TRACE_DIGITS 32
#define SPAN_DIGITS  16

#define STATE_MEMBERS 32
#define STATE_KEY     256
#define STATE_VALUE   256

static void
trim(const char **text, size_t *len)
{
	while (*len > 0 && (**text == ' ' || **text == '\t')) {
		(*text)++;
		(*len)--;
	}
	while (*len > 0 && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t'))
		(*len)--;
}

static bool
is_hex(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!((text[i] >= '0' && text[i] <= '9') ||
			(text[i] >= 'a' && text[i] <= 'f')))
			return false;
	}
	return true;
}

static bool
is_id(const char *text, size_t len)
{
	size_t zeros = 0;

	while (zeros < len && text[zeros] == '0')
		zeros++;
	return zeros < len && is_hex(text, len);
}

static bool
parent_is_valid(const char *text, size_t len)
{
	if (len < TRACE_PARENT_LEN || !is_hex(text, 2) || memcmp(text, "ff", 2) == 0)
		return false;
	if (len > TRACE_PARENT_LEN &&
	    (memcmp(text, "00", 2) == 0 || text[TRACE_PARENT_LEN] != '-'))
		return false;
	return text[TRACE_ID_AT - 1] == '-' &&
	       is_id(text + TRACE_ID_AT, TRACE_DIGITS) && text[AT_SPAN - 1] == '-' &&
	       is_id(text + AT_SPAN, SPAN_DIGITS) && text[AT_FLAGS - 1] == '-' &&
	       is_hex(text + AT_FLAGS, 2);
}

static bool
is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_-*/@", c) != NULL);
}

/* key=value, without white space around it */
static bool
member_is_valid(const char *text, size_t len)
{
	const char *sign = memchr(text, '=', len);
	size_t key = sign != NULL ? (size_t)(sign - text) : 0, value;

	if (key == 0 || key > STATE_KEY || strchr("_-*/@", text[0]) != NULL)
		return false;
	for (size_t i = 0; i < key; i++) {
		if (!is_key_char(text[i]))
			return false;
	}
	value = len - key - 1;
	if (value == 0 || value > STATE_VALUE)
		return false;
	for (size_t i = key + 1; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~' || text[i] == '=')
			return false;
	}
	return true;
}

/* its members, without the white space and the empty ones between them; 0: no valid
 * list, or too long */
static size_t
copy_state(const char *text, size_t len, char to[TRACE_STATE_MOST + 1])
{
	size_t out = 0, members = 0, n, all;
	const char *comma, *member;

	while (len > 0) {
		comma = memchr(text, ',', len);
		all = comma != NULL ? (size_t)(comma - text) : len;
		member = text;
		n = all;
		trim(&member, &n);
		if (n > 0) {
			if (++members > STATE_MEMBERS || !member_is_valid(member, n) ||
			    out + (out > 0) + n > TRACE_STATE_MOST)
				return 0;
			if (out > 0)
				to[out++] = ',';
			memcpy(to + out, member, n);
			out += n;
		}
		if (comma == NULL)
			break;
		text += all + 1;
		len -= all + 1;
	}
	to[out] = '\0';
	return out;
}

size_t
trace_make(const char *parent, size_t parent_len, const char *state, size_t state_len,
    char to[TRACE_TEXT_SIZE])
{
	size_t len;

	trim(&parent, &parent_len);
	if (!parent_is_valid(parent, parent_len))
		return 0;
	memcpy(to, parent, TRACE_PARENT_LEN);
	memcpy(to, "00", 2);
	to[AT_FLAGS] = '0';
	to[AT_FLAGS + 1] = (char)('0' + (str_hex_digit(parent[AT_FLAGS + 1]) & 3));
	to[TRACE_PARENT_LEN] = '\0';
	if (state == NULL ||
	    (len = copy_state(state, state_len, to + TRACE_PARENT_LEN + 1)) == 0)
		return TRACE_PARENT_LEN;
	to[TRACE_PARENT_LEN] = ' ';
	return TRACE_PARENT_LEN + 1 + len;
}

bool
trace_check(const char *text, size_t len)
{
	if (len < TRACE_PARENT_LEN || len >= TRACE_TEXT_SIZE ||
	    !parent_is_valid(text, TRACE_PARENT_LEN))
		return false;
	if (len == TRACE_PARENT_LEN)
		return true;
	if (text[TRACE_PARENT_LEN] != ' ' || len == TRACE_PARENT_LEN + 1)
		return false;
	for (size_t i = TRACE_PARENT_LEN + 1; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return false; /* it goes into headers as it is */
	}
	return true;
}

char *
trace_id(const char *trace, char buf[TRACE_ID_SIZE])
{
	memcpy(buf, trace + TRACE_ID_AT, TRACE_DIGITS);
	buf[TRACE_DIGITS] = '\0';
	return buf;
}

char *
trace_parent(const char *trace, const struct uuid *task, int attempt,
    char buf[TRACE_PARENT_SIZE])
{
	char span[TRACE_SPAN_SIZE];

	memcpy(buf, trace, TRACE_PARENT_LEN);
	memcpy(buf + AT_SPAN, trace_span(task, attempt, span), SPAN_DIGITS);
	buf[TRACE_PARENT_LEN] = '\0';
	return buf;
}

const char *
trace_state(const char *trace)
{
	return trace[TRACE_PARENT_LEN] == ' ' ? trace + TRACE_PARENT_LEN + 1 : NULL;
}

/* bits that depend on all bits of n (the finalizer of SplitMix64) */
static uint64_t
mixed(uint64_t n)
{
	n ^= n >> 30;
	n *= 0xbf58476d1ce4e5b9;
	n ^= n >> 27;
	n *= 0x94d049bb133111eb;
	return n ^ n >> 31;
}

char *
trace_span(const struct uuid *task, int attempt, char buf[TRACE_SPAN_SIZE])
{
	uint64_t high = 0, low = 0, span;
	uint8_t bytes[8];

	for (int i = 0; i < 8; i++) {
		high = high << 8 | task->b[i];
		low = low << 8 | task->b[8 + i];
	}
	span = mixed(mixed(mixed(high) + low) + (uint64_t)attempt);
	if (span == 0)
		span = 1; /* zeros are no span */
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(span >> (56 - 8 * i));
	str_hex(buf, bytes, sizeof(bytes));
	return buf;
}

char *
trace_wait_span(const struct uuid *task, int attempt, char buf[TRACE_SPAN_SIZE])
{
	/* no attempt has such a number */
	return trace_span(task, -attempt, buf);
}

char *
trace_own_span(const char *trace, char buf[TRACE_SPAN_SIZE])
{
	memcpy(buf, trace + AT_SPAN, SPAN_DIGITS);
	buf[SPAN_DIGITS] = '\0';
	return buf;
}

bool
trace_is_sampled(const char *trace)
{
	return (str_hex_digit(trace[AT_FLAGS + 1]) & 1) != 0;
}
