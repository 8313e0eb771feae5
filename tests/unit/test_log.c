/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_log.c - one whole line an event, and never in the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/log.h"
#include "slurp.h"

static char path[64];
static char text[400000];

static size_t
slurp(const char *name)
{
	return slurp_into(name, text, sizeof(text));
}

static size_t
count(const char *what)
{
	return count_in(text, what);
}

static int
open_log(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	snprintf(path, sizeof(path), "test-log-%ld", (long)getpid());
	unlink(path);
	log_identity("worker=2");
	if (log_open(path, LOG_INFO, &err) != 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	return 0;
}

static int
close_log(void **state)
{
	(void)state;
	log_close();
	log_identity("");
	unlink(path);
	return 0;
}

static void
line_has_time_level_identity_sentence_and_values(void **state)
{
	struct log_ctx ctx = {.kind = "task", .id = "17"};

	(void)state;
	errno = 77;
	log_info(&ctx, "task finished", "attempt=%d ms=%d", 1, 7);
	log_error(NULL, "redis connection lost", "");
	assert_int_equal(errno, 77);
	slurp(path);
	/* 2026-11-23T12:00:00.123Z */
	assert_true(
	    text[4] == '-' && text[10] == 'T' && text[19] == '.' && text[23] == 'Z');
	assert_int_equal(
	    strncmp(text + 24, " info  worker=2 task=17 task finished attempt=1 ms=7\n",
		53),
	    0);
	assert_non_null(strstr(text, "Z error worker=2 redis connection lost\n"));
	assert_int_equal(count("\n"), 2);
}

static void
levels_are_named_and_hold_back_what_is_below(void **state)
{
	enum log_level level = LOG_WARN;

	(void)state;
	assert_int_equal(log_level(), LOG_INFO);
	assert_false(log_enabled(LOG_DEBUG));
	log_debug(NULL, "hidden", "");
	log_set_level(LOG_DEBUG);
	log_debug(NULL, "shown", "");
	log_set_level(LOG_ERROR);
	log_warn(NULL, "hidden too", "");
	slurp(path);
	assert_int_equal(count("\n"), 1);
	assert_int_equal(count("Z debug worker=2 shown\n"), 1);
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse("Debug", &level), -1);
	assert_int_equal(log_level_parse("", &level), -1);
	assert_int_equal(level, LOG_DEBUG);
}

static void
nothing_from_outside_can_forge_a_line(void **state)
{
	struct log_ctx ctx = {.kind = "conn", .id = "a\nb"};

	(void)state;
	log_info(&ctx, "request", "path=%s", "\r\n\x1b[2J\xff\xc2\x85 \xc3\xa9");
	slurp(path);
	assert_int_equal(count("\n"), 1);
	assert_non_null(strstr(text,
	    "conn=a\\nb request path=\"\\r\\n\\x1b[2J\\xff\\xc2\\x85 \xc3\xa9\"\n"));
}

static void
long_line_is_cut_and_says_so(void **state)
{
	static char value[3 * LOG_LINE_MAX];

	(void)state;
	memset(value, 'x', sizeof(value) - 1);
	log_info(NULL, "long", "value=%s", value);
	assert_true(slurp(path) <= LOG_LINE_MAX);
	assert_int_equal(count("xxx...\n"), 1);
	memset(value, '\x01', sizeof(value) - 1);
	log_info(NULL, "long too", "value=%s", value);
	assert_true(slurp(path) <= 2 * LOG_LINE_MAX);
	assert_int_equal(count("\\x01...\n"), 1);
	value[500] = '\0';
	log_info(NULL, "escapes to a long one", "value=%s", value);
	slurp(path);
	assert_int_equal(count("\\x01...\n"), 2);
	assert_int_equal(count("\n"), 3);
}

static void
repeated_sentence_is_folded_and_counted(void **state)
{
	int i;

	(void)state;
	/* two sentences by turns: each has its own count */
	for (i = 0; i < 1000; i++) {
		log_warn(NULL, "storm", "i=%d", i);
		log_info(NULL, "another storm", "i=%d", i);
	}
	log_info(NULL, "calm", "");
	log_close();
	slurp(path);
	/* slower than a second for 2,000 lines? then more windows, but the sum holds */
	assert_true(count("worker=2 storm i=") >= 20);
	assert_true(count("worker=2 storm i=") < 500);
	assert_true(count("worker=2 storm left_out=") >= 1);
	assert_true(count("worker=2 another storm left_out=") >= 1);
	assert_int_equal(count("calm"), 1);
	assert_non_null(strstr(text, "warn  worker=2 storm left_out=980\n"));
}

static void
many_sentences_at_once_are_all_heard(void **state)
{
	char sentence[32];
	int i, round;

	(void)state;
	for (round = 0; round < 2; round++)
		for (i = 0; i < 500; i++) {
			snprintf(sentence, sizeof(sentence), "sentence %d!", i);
			log_info(NULL, sentence, "");
		}
	slurp(path);
	assert_int_equal(count("\n"), 1000);
	assert_int_equal(count("left_out"), 0);
}

static void
full_pipe_drops_and_counts_and_recovers(void **state)
{
	static const char shout[] = "full %d!";
	struct err err = ERR_INIT;
	char sentence[32];
	unsigned long said;
	ssize_t n;
	int fd, i;

	(void)state;
	log_close();
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(log_open(path, LOG_INFO, &err), 0);
	for (i = 0; i < 5000; i++) {
		snprintf(sentence, sizeof(sentence), shout, i);
		log_info(NULL, sentence, "");
	}
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	i = (int)count("full ");
	assert_true(i < 5000);
	while (read(fd, text, sizeof(text)) > 0)
		;
	log_info(NULL, "again", "");
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "worker=2 log lines dropped count="));
	said = strtoul(strstr(text, "count=") + 6, NULL, 10);
	assert_true(said > 0 && said <= (unsigned long)(5000 - i));
	assert_int_equal(count("worker=2 again\n"), 1);
	/* nobody reads any more: no signal, no failure */
	close(fd);
	log_info(NULL, "to nobody", "");
}

static void
file_at_its_limit_drops_and_starts_a_new_line_after(void **state)
{
	struct rlimit old, small;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	log_info(NULL, "first", "");
	small = old;
	small.rlim_cur = 60;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	log_info(NULL, "second is torn", "");
	log_info(NULL, "third is lost", "");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	log_info(NULL, "fourth", "");
	slurp(path);
	assert_int_equal(count("worker=2 first\n"), 1);
	assert_int_equal(count("torn\n"), 0);
	assert_int_equal(count("log lines dropped count=2\n"), 1);
	assert_int_equal(count("worker=2 fourth\n"), 1);
	assert_int_equal(text[60], '\n');
}

static void
socket_as_standard_error_never_blocks(void **state)
{
	struct err err = ERR_INIT;
	char sentence[32];
	int pair[2], saved = dup(STDERR_FILENO), i;
	ssize_t n;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(dup2(pair[1], STDERR_FILENO) >= 0);
	assert_int_equal(log_open("-", LOG_INFO, &err), 0);
	for (i = 0; i < 20000; i++) {
		snprintf(sentence, sizeof(sentence), "line %d!", i);
		log_info(NULL, sentence, "");
	}
	n = recv(pair[0], text, sizeof(text) - 1, 0);
	close(pair[0]);
	log_info(NULL, "to nobody", "");
	close(pair[1]);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "worker=2 line 0!\n"));
}

static void
pipe_as_standard_error_keeps_its_own_flags(void **state)
{
	struct err err = ERR_INIT;
	char sentence[32];
	int pipefd[2], saved = dup(STDERR_FILENO), i, flags;

	(void)state;
	assert_int_equal(pipe(pipefd), 0);
	assert_true(dup2(pipefd[1], STDERR_FILENO) >= 0);
	assert_int_equal(log_open(NULL, LOG_INFO, &err), 0);
	for (i = 0; i < 5000; i++) {
		snprintf(sentence, sizeof(sentence), "line %d!", i);
		log_info(NULL, sentence, "");
	}
	flags = fcntl(STDERR_FILENO, F_GETFL);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	close(pipefd[0]);
	close(pipefd[1]);
	assert_int_equal(flags & O_NONBLOCK, 0);
}

static void
reopen_follows_rotation_and_keeps_the_old_on_failure(void **state)
{
	struct err err = ERR_INIT;
	char rotated[80];

	(void)state;
	snprintf(rotated, sizeof(rotated), "%s.1", path);
	log_info(NULL, "before", "");
	assert_int_equal(rename(path, rotated), 0);
	log_info(NULL, "still", "");
	/* something that cannot be opened for writing */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(log_reopen(&err), -1);
	log_info(NULL, "kept", "");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(log_reopen(&err), 0);
	log_info(NULL, "after", "");
	slurp(rotated);
	unlink(rotated);
	assert_int_equal(count("\n"), 3);
	assert_int_equal(count("kept\n"), 1);
	slurp(path);
	assert_int_equal(count("\n"), 1);
	assert_int_equal(count("after\n"), 1);
	assert_int_equal(log_open("/nowhere/at/all", LOG_DEBUG, &err), -1);
	assert_int_equal(err.code, ERR_IO);
	assert_int_equal(log_level(), LOG_INFO);
	log_info(NULL, "and after", "");
	slurp(path);
	assert_int_equal(count("and after\n"), 1);
}

static void
new_identity_forgets_what_the_parent_counted(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 100; i++)
		log_info(NULL, "mine to say", "");
	log_identity(
	    "worker=3 a name that is too long for the room that a line keeps for it");
	log_info(NULL, "hello", "");
	log_close();
	slurp(path);
	assert_int_equal(count("left_out"), 0);
	assert_int_equal(count("worker=3"), 1);
}

/* ---- values keep their bounds ------------------------------------------------ */

static void
a_value_ends_where_the_format_says(void **state)
{
	struct log_ctx ctx = {.kind = "task", .id = "17", .trace = "t1", .span = "s1"};

	(void)state;
	log_info(&ctx, "all kinds",
	    "reason=\"%.8s\" n=%05d left=%zu big=%llu hex=%08x at=%s.%s ms=%.1f "
	    "pid=%*d who=%s c=%c pct=\"5%%\" bare",
	    "a\" b=\"c\\ and more", -42, (size_t)7, 1ULL << 63, 0xbeefU, "x", "y", 2.25,
	    3, 9, "two words", 'z');
	log_info(NULL, "ends in a backslash", "reason=\"%s\" code=%d", "c:\\", 3);
	log_info(NULL, "was escaped before", "reason=\"%s\"", "column \\\"x\\\"");
	slurp(path);
	assert_non_null(strstr(text,
	    "worker=2 task=17 all kinds reason=\"a\\\" b=\\\"c\\\\\" n=-0042 left=7 "
	    "big=9223372036854775808 hex=0000beef at=x.y ms=2.2 pid=  9 "
	    "who=\"two words\" c=z pct=\"5%\" bare trace=t1 span=s1\n"));
	assert_non_null(strstr(text, "reason=\"c:\\\\\" code=3\n"));
	assert_non_null(strstr(text, "reason=\"column \\\"x\\\"\"\n"));
}

static void
start_json(void)
{
	struct log_opts opts = {
	    .target = LOG_TO_AUTO, .format = LOG_JSON, .file = path, .socket = ""};
	struct err err = ERR_INIT;

	log_identity("node=ab12 worker=2");
	assert_int_equal(log_start(&opts, LOG_INFO, &err), 0);
}

static void
json_is_one_object_a_line_whatever_is_said(void **state)
{
	struct log_ctx ctx = {.kind = "task", .id = "1\"7", .trace = "t1"};

	(void)state;
	start_json();
	log_info(&ctx, "task failed", "attempt=%d ms=%.1f code=%s reason=\"%s\" 7up", 2,
	    0.5, "x", "\x1b\n\"\\\xff\xc2\x85\xc3\xa9");
	log_identity("node=ab12 master");
	log_warn(NULL, "no values", " ");
	log_info(NULL, "said twice", "node=%s nod=%d", "ab12", 1);
	slurp(path);
	assert_int_equal(count("\n"), 3);
	assert_non_null(strstr(text, "\"said twice\",\"nod\":1}\n"));
	assert_non_null(strstr(text,
	    "Z\",\"level\":\"info\",\"node\":\"ab12\",\"worker\":2,"
	    "\"message\":\"task failed\",\"task\":\"1\\\"7\",\"attempt\":2,\"ms\":0.5,"
	    "\"code\":\"x\",\"reason\":"
	    "\"\\u001b\\n\\\"\\\\\xef\xbf\xbd\\u0085\xc3\xa9\","
	    "\"words\":\"7up\",\"trace\":\"t1\"}\n"));
	assert_non_null(
	    strstr(text, "\"level\":\"warn\",\"node\":\"ab12\",\"process\":\"master\","
			 "\"message\":\"no values\"}\n"));
}

static void
json_that_is_too_long_is_cut_and_still_json(void **state)
{
	static char value[3 * LOG_LINE_MAX];
	const char *end;

	(void)state;
	start_json();
	for (size_t len = LOG_LINE_MAX - 40; len < LOG_LINE_MAX + 40; len++) {
		memset(value, len % 2 == 0 ? 'x' : '\x01', len);
		value[len] = '\0';
		log_identity("node=ab12 worker=2"); /* nothing is folded */
		log_info(NULL, "long", "value=%s after=%d", value, 3);
	}
	slurp(path);
	assert_int_equal(count("\n"), 80);
	assert_int_equal(count("{\"time\""), 80);
	assert_int_equal(count("}\n"), 80);
	assert_true(count("...\",\"cut\":true}\n") > 30);
	for (const char *at = text; *at != '\0'; at = end + 1) {
		end = strchr(at, '\n');
		assert_non_null(end);
		assert_true(end - at < LOG_JSON_MAX);
	}
}

/* ---- daemons ----------------------------------------------------------------- */

static struct sockaddr_un at;

static int
listen_as_daemon(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	at.sun_family = AF_UNIX;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s.sock", path);
	unlink(at.sun_path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void
receive(int fd)
{
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	assert_true(n > 0);
	text[n] = '\0';
}

static void
syslog_gets_what_its_daemons_read(void **state)
{
	int fd = listen_as_daemon();
	struct log_opts opts = {
	    .target = LOG_TO_SYSLOG, .file = "-", .socket = at.sun_path};
	struct err err = ERR_INIT;
	char want[200];

	(void)state;
	assert_int_equal(log_start(&opts, LOG_INFO, &err), 0);
	log_warn(NULL, "redis connection lost", "reason=\"%s\"", "a\nb");
	receive(fd);
	snprintf(want, sizeof(want),
	    "<28>shoald[%ld]: worker=2 redis connection lost reason=\"a\\nb\"",
	    (long)getpid());
	assert_string_equal(text, want);
	opts.format = LOG_JSON;
	assert_int_equal(log_start(&opts, LOG_INFO, &err), 0);
	log_error(NULL, "x", "n=%d", 1);
	receive(fd);
	assert_int_equal(strncmp(text, "<27>shoald[", 11), 0);
	assert_non_null(strstr(text, "]: {\"time\":\""));
	assert_non_null(strstr(text, ",\"message\":\"x\",\"n\":1}"));
	close(fd);
	unlink(at.sun_path);
}

static void
journal_gets_fields_and_a_daemon_may_come_back(void **state)
{
	int fd = listen_as_daemon(), i;
	struct log_opts opts = {
	    .target = LOG_TO_JOURNALD, .file = "-", .socket = at.sun_path};
	struct log_ctx ctx = {.kind = "task", .id = "17"};
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(log_start(&opts, LOG_INFO, &err), 0);
	log_info(&ctx, "task failed", "attempt=%d reason=\"%s\"", 2, "a\nPRIORITY=0");
	receive(fd);
	assert_string_equal(text,
	    "PRIORITY=6\nSYSLOG_IDENTIFIER=shoald\n"
	    "MESSAGE=worker=2 task=17 task failed attempt=2 reason=\"a\\nPRIORITY=0\"\n"
	    "SHOAL_WORKER=2\nSHOAL_TASK=17\nSHOAL_ATTEMPT=2\n"
	    "SHOAL_REASON=a\\nPRIORITY=0\n");
	/* full: nobody reads */
	for (i = 0; i < 5000; i++) {
		log_identity("worker=2");
		log_info(NULL, "flood", "i=%d", i);
	}
	assert_int_equal(log_dropped(), 1);
	close(fd);
	unlink(at.sun_path);
	log_info(NULL, "to nobody", "");
	fd = listen_as_daemon();
	log_info(NULL, "again", "");
	receive(fd);
	assert_non_null(strstr(text, "MESSAGE=worker=2 log lines dropped count=2\n"));
	receive(fd);
	assert_non_null(strstr(text, "MESSAGE=worker=2 again\n"));
	close(fd);
	unlink(at.sun_path);
	opts.target = LOG_TO_SYSLOG;
	assert_int_equal(log_start(&opts, LOG_INFO, &err), -1);
	assert_non_null(strstr(err.text, "log.socket"));
	opts.target = LOG_TO_FILE;
	assert_int_equal(log_start(&opts, LOG_INFO, &err), -1);
	assert_non_null(strstr(err.text, "log.file"));
}

static void
standard_error_of_the_journal_is_known(void **state)
{
	int fd = listen_as_daemon();
	struct log_opts opts = {
	    .target = LOG_TO_AUTO, .file = "-", .socket = at.sun_path};
	struct err err = ERR_INIT;
	char stream[64];
	struct stat st;

	(void)state;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
	    (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	assert_int_equal(log_start(&opts, LOG_INFO, &err), 0);
	log_info(NULL, "hello", "");
	receive(fd);
	assert_non_null(strstr(text, "\nMESSAGE=worker=2 hello\n"));
	/* that of somebody who has redirected it since */
	setenv("JOURNAL_STREAM", "1:2", 1);
	opts.file = path;
	assert_int_equal(log_start(&opts, LOG_INFO, &err), 0);
	unsetenv("JOURNAL_STREAM");
	log_info(NULL, "into the file", "");
	slurp(path);
	assert_int_equal(count("into the file\n"), 1);
	close(fd);
	unlink(at.sun_path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		line_has_time_level_identity_sentence_and_values, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		levels_are_named_and_hold_back_what_is_below, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		nothing_from_outside_can_forge_a_line, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		long_line_is_cut_and_says_so, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		repeated_sentence_is_folded_and_counted, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		many_sentences_at_once_are_all_heard, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		full_pipe_drops_and_counts_and_recovers, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		file_at_its_limit_drops_and_starts_a_new_line_after, open_log,
		close_log),
	    cmocka_unit_test_setup_teardown(
		socket_as_standard_error_never_blocks, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		pipe_as_standard_error_keeps_its_own_flags, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		reopen_follows_rotation_and_keeps_the_old_on_failure, open_log,
		close_log),
	    cmocka_unit_test_setup_teardown(
		new_identity_forgets_what_the_parent_counted, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		a_value_ends_where_the_format_says, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		json_is_one_object_a_line_whatever_is_said, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		json_that_is_too_long_is_cut_and_still_json, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		syslog_gets_what_its_daemons_read, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		journal_gets_fields_and_a_daemon_may_come_back, open_log, close_log),
	    cmocka_unit_test_setup_teardown(
		standard_error_of_the_journal_is_known, open_log, close_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
