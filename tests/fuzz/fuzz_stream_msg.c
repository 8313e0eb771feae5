/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_stream_msg.c - any bytes from a child, in any pieces: lines are refused with a
 * reason, or what they say can be read to its end and lies within them.
 */
#include "fuzz.h"

#include <string.h>

#include "base/linebuf.h"
#include "base/mem.h"
#include "handlers/stream_msg.h"

#define LINE_MAX_BYTES 65536
#define MESSAGE_MOST   4096

static void
check_span(const struct jspan *span, const char *line, size_t len)
{
	if (span->kind != 0)
		FUZZ_CHECK(span->at >= line && span->len <= len &&
			   span->at + span->len <= line + len);
}

static void
check_text(const struct jspan *string)
{
	size_t len;
	char *text;

	if (string->kind == 0)
		return;
	text = stream_msg_text(string, MESSAGE_MOST, &len, NULL);
	FUZZ_CHECK((text != NULL) == (string->kind == JSON_STRING));
	FUZZ_CHECK(text == NULL || (len <= MESSAGE_MOST && strlen(text) == len));
	mem_free(text);
}

static bool
hear(const char *line, size_t len, void *arg)
{
	struct stream_msg m;
	struct stream_error e;
	struct err err = ERR_INIT;
	struct uuid id;

	(void)arg;
	FUZZ_CHECK(len <= LINE_MAX_BYTES);
	if (stream_msg_parse(line, len, &m, &err) != 0) {
		FUZZ_CHECK(err.code == ERR_INVALID && err.text[0] != '\0');
		(void)stream_msg_guess(line, len, &id);
		return true;
	}
	check_span(&m.result, line, len);
	check_span(&m.progress, line, len);
	check_text(&m.log);
	if (m.kind == STREAM_MSG_HELLO)
		FUZZ_CHECK(m.version == 1 && m.concurrency >= 1 &&
			   m.concurrency <= STREAM_CONCURRENCY_MOST);
	if (m.error.kind == 0)
		return true;
	if (stream_msg_error(&m, &e, &err) != 0) {
		FUZZ_CHECK(err.code == ERR_INVALID);
		return true;
	}
	FUZZ_CHECK(e.code[0] != '\0' && strlen(e.code) < STREAM_CODE_SIZE);
	FUZZ_CHECK(e.retry_ms >= -1 && e.message_len <= STREAM_MESSAGE_MOST);
	mem_free(e.message);
	return true;
}

/* the first byte says how large the pieces are */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct linebuf lb;
	size_t step = len > 0 ? 1 + bytes[0] : 1, at = 0;
	int rc = 0;

	linebuf_init(&lb, LINE_MAX_BYTES);
	for (; at < len && rc == 0; at += step)
		rc = linebuf_feed(&lb, (const char *)bytes + at,
		    len - at < step ? len - at : step, hear, NULL, NULL);
	if (rc == 0)
		linebuf_end(&lb, hear, NULL);
	linebuf_fini(&lb);
	return 0;
}
