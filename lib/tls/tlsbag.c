/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsbag.c - reads certificates, keys and what goes with them; see tlsbag.h.
 *
 * Each file is read once and whole, up to a bound, and an error names it and says what
 * to do.  Session tickets are encrypted with keys that all who share a bag have; when
 * no file has them they are drawn here.
 */
#include "tls/tlsbag.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "tls/tlskeys.h"

#define KIB	  1024u
#define CHAIN_MAX (256 * KIB)
#define KEY_MAX	  (64 * KIB)
#define OCSP_MAX  (64 * KIB)
#define CA_MAX	  (4096 * KIB)
#define WORDS_MAX 3

/* ---------------------------------------------------------------- the list */

/* the words of one certificate, cut in place; -1: they are not one to three paths */
static int
split(char *text, char *words[WORDS_MAX], struct err *err)
{
	char *word;
	int count = 0;

	while ((word = strsep(&text, " \t")) != NULL) {
		if (*word == '\0')
			continue;
		if (count == WORDS_MAX)
			return err_set(err, ERR_INVALID,
			    "'%.60s' is one too many: a certificate is its chain, its "
			    "key and perhaps an OCSP response, and commas separate "
			    "certificates",
			    word);
		if (*word != '/')
			return err_set(
			    err, ERR_INVALID, "'%.60s' is not an absolute path", word);
		words[count++] = word;
	}
	return count;
}

typedef int take_fn(char *words[], int count, void *arg, struct err *err);

static int
each_certificate(const char *list, take_fn *take, void *arg, struct err *err)
{
	char *copy = mem_strdup(list), *rest = copy, *part;
	int taken = 0, rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "certificates");
	while (rc == 0 && (part = strsep(&rest, ",")) != NULL) {
		char *words[WORDS_MAX];
		int count = split(str_trim(part), words, err);

		if (count == 0)
			continue;
		if (count > 0 && taken++ == TLS_CERTS_MOST)
			rc = err_set(err, ERR_INVALID,
			    "there are more than %d certificates", TLS_CERTS_MOST);
		else
			rc = count < 0 ? -1 : take(words, count, arg, err);
	}
	mem_free(copy);
	return rc;
}

static int
look(char *words[], int count, void *arg, struct err *err)
{
	(void)words;
	(void)count;
	(void)arg;
	(void)err;
	return 0;
}

int
tlsbag_check_list(const char *certificates, struct err *err)
{
	return each_certificate(certificates, look, NULL, err);
}

/* ---------------------------------------------------------------- one file */

static int
check_file(int fd, bool secret, size_t most, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_set(err, ERR_INVALID, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "it is not a regular file");
	if (secret && (st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
		return err_set(err, ERR_INVALID,
		    "it holds a key, and others than its owner and group may reach it, "
		    "or its group write it: chmod 0640 or 0600");
	if (st.st_size > (off_t)most)
		return err_set(
		    err, ERR_INVALID, "it is larger than %zu KiB", most / KIB);
	if (st.st_size == 0)
		return err_set(err, ERR_INVALID, "it is empty");
	return 0;
}

static int
read_all(int fd, char *to, size_t most, size_t *len, struct err *err)
{
	size_t all = 0;

	while (all < most) {
		ssize_t n = read(fd, to + all, most - all);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return err_set(err, ERR_INVALID, "%s", strerror(errno));
		all += n > 0 ? (size_t)n : 0;
	}
	*len = all;
	return 0;
}

static int
take_file(
    const char *path, bool secret, size_t most, struct tlsbytes *out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *bytes = NULL;
	size_t len = 0;
	int rc;

	if (fd < 0)
		return err_set(err, ERR_INVALID, "%.300s: %s%s", path, strerror(errno),
		    errno == EACCES ? ": whoever starts shoald must be able to read it"
				    : "");
	rc = check_file(fd, secret, most, err);
	if (rc == 0) {
		bytes = mem_zero(most + 1);
		rc = bytes == NULL ? err_set(err, ERR_NOMEM, "file")
				   : read_all(fd, bytes, most, &len, err);
	}
	(void)close(fd);
	if (rc == 0) {
		/* (a block of its own size: most files are small) */
		out->at = mem_dup(bytes, len);
		out->len = len;
		out->path = mem_strdup(path);
		if (out->at == NULL || out->path == NULL)
			rc = err_set(err, ERR_NOMEM, "file");
	}
	mem_free_secret(bytes, most + 1);
	return rc == 0 ? 0 : err_wrap(err, "%.300s", path);
}

static int
take_certificate(char *words[], int count, void *arg, struct err *err)
{
	struct tlsbag *bag = arg;
	struct tlsbag_cert *c = &bag->certs[bag->cert_count++];

	if (take_file(words[0], count == 1, CHAIN_MAX, &c->chain, err) != 0)
		return -1;
	/* said twice is said once */
	if (count > 1 && take_file(words[1], true, KEY_MAX, &c->key, err) != 0)
		return -1;
	return count < 3 ? 0 : take_file(words[2], false, OCSP_MAX, &c->ocsp, err);
}

/* ---------------------------------------------------------------- the bag */

static int
draw_ticket_key(struct tlsbytes *out, struct err *err)
{
	out->at = mem_alloc(TLSKEY_LONG);
	if (out->at == NULL)
		return err_set(err, ERR_NOMEM, "ticket key");
	out->len = TLSKEY_LONG;
	random_bytes(out->at, out->len);
	return 0;
}

static int
fill(struct tlsbag *bag, const struct tls_opts *opts, struct err *err)
{
	if (each_certificate(opts->certificates, take_certificate, bag, err) != 0)
		return err_wrap(err, "tls.certificates");
	if (opts->client_ca[0] != '\0' &&
	    take_file(opts->client_ca, false, CA_MAX, &bag->client_ca, err) != 0)
		return err_wrap(err, "tls.client_ca");
	if (opts->ticket_key_file[0] == '\0')
		return draw_ticket_key(&bag->ticket_keys, err);
	if (take_file(opts->ticket_key_file, true, TLSKEYS_FILE_MOST, &bag->ticket_keys,
		err) != 0)
		return err_wrap(err, "tls.ticket_key_file");
	return 0;
}

struct tlsbag *
tlsbag_load(const struct tls_opts *opts, struct err *err)
{
	struct tlsbag *bag = mem_zero(sizeof(*bag));

	if (bag == NULL) {
		err_set(err, ERR_NOMEM, "certificates");
		return NULL;
	}
	bag->clients = opts->clients;
	bag->only_1_3 = opts->only_1_3;
	if (fill(bag, opts, err) != 0) {
		tlsbag_free(bag);
		return NULL;
	}
	return bag;
}

/* calls do_it on all that there may be */
static void
each_bytes(struct tlsbag *bag, void (*do_it)(struct tlsbytes *b))
{
	for (size_t i = 0; i < bag->cert_count; i++) {
		do_it(&bag->certs[i].chain);
		do_it(&bag->certs[i].key);
		do_it(&bag->certs[i].ocsp);
	}
	do_it(&bag->client_ca);
	do_it(&bag->ticket_keys);
}

static void
wipe(struct tlsbytes *b)
{
	if (b->at != NULL)
		explicit_bzero(b->at, b->len);
}

static void
drop(struct tlsbytes *b)
{
	mem_free_secret(b->at, b->len);
	mem_free(b->path);
}

void
tlsbag_wipe(struct tlsbag *bag)
{
	if (bag != NULL)
		each_bytes(bag, wipe);
}

void
tlsbag_free(struct tlsbag *bag)
{
	if (bag == NULL)
		return;
	each_bytes(bag, drop);
	mem_free(bag);
}
