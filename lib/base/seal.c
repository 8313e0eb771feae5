/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seal.c - secrets that are kept outside of this process, sealed; see seal.h.
 *
 * The cipher is OpenSSL's.  What is sealed is nonce, cipher text and tag, in that
 * order; the nonce is random, which for 96 bits is good for some four billion secrets
 * under one key.
 */
#include "base/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"

#define KEY   32
#define NONCE 12
#define TAG   16

/* one key is not used by two algorithms */
#define MAC_PURPOSE "shoal: messages, 1"

struct sealkey {
	char id[SEAL_ID_MOST + 1];
	unsigned char key[KEY];
	unsigned char mac_key[SEAL_MAC];
};

struct sealkeys {
	size_t count;
	struct sealkey at[SEAL_KEYS_MOST];
};

static bool
hmac(const unsigned char *key, size_t key_len, const void *bytes, size_t len,
    unsigned char mac[SEAL_MAC])
{
	unsigned int n = 0;

	return HMAC(EVP_sha256(), key, (int)key_len, bytes, len, mac, &n) != NULL &&
	       n == SEAL_MAC;
}

/* ---------------------------------------------------------------- the file */

static bool
is_id(const char *text)
{
	static const char known[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
	size_t len = strlen(text);

	return len > 0 && len <= SEAL_ID_MOST && strspn(text, known) == len;
}

static const struct sealkey *
find(const struct sealkeys *keys, const char *id, size_t len)
{
	for (size_t i = 0; i < keys->count; i++) {
		if (strlen(keys->at[i].id) == len &&
		    memcmp(keys->at[i].id, id, len) == 0)
			return &keys->at[i];
	}
	return NULL;
}

static int
read_line(struct sealkeys *keys, char *line, int number, struct err *err)
{
	unsigned char bytes[KEY + 3];
	char *id = str_trim(line), *code;
	size_t len = 0;

	if (*id == '\0' || *id == '#')
		return 0;
	code = id + strcspn(id, " \t");
	if (*code != '\0')
		*code++ = '\0';
	code = str_trim(code);
	if (!is_id(id) || base64_decode(code, bytes, sizeof(bytes), &len) != 0 ||
	    len != KEY) {
		explicit_bzero(bytes, sizeof(bytes));
		return err_set(err, ERR_INVALID,
		    "line %d: a key is \"<id> <base64 of 32 bytes>\", its id at most "
		    "%d "
		    "letters, digits, '-', '_' or '.'",
		    number, SEAL_ID_MOST);
	}
	if (find(keys, id, strlen(id)) != NULL || keys->count == SEAL_KEYS_MOST) {
		explicit_bzero(bytes, sizeof(bytes));
		return err_set(err, ERR_INVALID,
		    "line %d: its id is taken, or there are more than %d keys", number,
		    SEAL_KEYS_MOST);
	}
	str_copy(keys->at[keys->count].id, sizeof(keys->at[0].id), id);
	memcpy(keys->at[keys->count].key, bytes, KEY);
	explicit_bzero(bytes, sizeof(bytes));
	if (!hmac(keys->at[keys->count].key, KEY, MAC_PURPOSE, sizeof(MAC_PURPOSE) - 1,
		keys->at[keys->count].mac_key))
		return err_set(err, ERR_NOMEM, "a key");
	keys->count++;
	return 0;
}

static int
read_lines(struct sealkeys *keys, char *text, struct err *err)
{
	char *line;

	for (int number = 1; (line = strsep(&text, "\n")) != NULL; number++) {
		if (read_line(keys, line, number, err) != 0)
			return -1;
	}
	if (keys->count == 0)
		return err_set(err, ERR_INVALID,
		    "it has no key: write one with \"k1 $(openssl rand -base64 32)\"");
	return 0;
}

/* the file's text, NUL-terminated, at most size-1 bytes */
static int
read_file(const char *path, char *to, size_t size, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	size_t len = 0;
	struct stat st;
	ssize_t n = 0;
	int rc = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
		rc = err_set(err, ERR_INVALID, "%s", strerror(errno));
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, ERR_INVALID, "it is not a regular file");
	else if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
		rc = err_set(err, ERR_INVALID,
		    "others than its owner and group may reach it, or its group "
		    "write it: chmod 0640 or 0600");
	else if (st.st_size >= (off_t)size)
		rc = err_set(err, ERR_INVALID, "it is larger than %zu bytes", size - 1);
	while (rc == 0 && len + 1 < size) {
		n = read(fd, to + len, size - 1 - len);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			rc = err_set(err, ERR_INVALID, "%s", strerror(errno));
		len += n > 0 ? (size_t)n : 0;
	}
	to[len] = '\0';
	if (rc == 0 && strlen(to) != len)
		rc = err_set(err, ERR_INVALID, "it has a NUL in it");
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

struct sealkeys *
sealkeys_load(const char *path, struct err *err)
{
	struct sealkeys *keys = mem_zero(sizeof(*keys));
	char *text = mem_zero(SEAL_FILE_MOST + 1);
	int rc;

	if (keys == NULL || text == NULL)
		rc = err_set(err, ERR_NOMEM, "keys");
	else if (read_file(path, text, SEAL_FILE_MOST + 1, err) != 0 ||
		 read_lines(keys, text, err) != 0)
		rc = err_wrap(err, "%.300s", path);
	else
		rc = 0;
	mem_free_secret(text, SEAL_FILE_MOST + 1);
	if (rc == 0)
		return keys;
	sealkeys_free(keys);
	return NULL;
}

void
sealkeys_free(struct sealkeys *keys)
{
	mem_free_secret(keys, sizeof(*keys));
}

const char *
sealkeys_current(const struct sealkeys *keys)
{
	return keys->at[0].id;
}

/* ---------------------------------------------------------------- seal and open */

/* out: nonce, cipher text, tag */
static int
encrypt(const struct sealkey *key, const char *context, const void *plain, size_t len,
    unsigned char *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *cipher = out + NONCE;
	int n = 0, rest = 0, ok;

	random_bytes(out, NONCE);
	ok = ctx != NULL &&
	     EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->key, out) == 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &n, (const unsigned char *)context,
		 (int)strlen(context)) == 1 &&
	     EVP_EncryptUpdate(ctx, cipher, &n, plain, (int)len) == 1 &&
	     EVP_EncryptFinal_ex(ctx, cipher + n, &rest) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, cipher + len) == 1;
	EVP_CIPHER_CTX_free(ctx); /* wipes it */
	return ok ? 0 : -1;
}

static int
decrypt(const struct sealkey *key, const char *context, const unsigned char *sealed,
    size_t len, unsigned char *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t inner = len - NONCE - TAG;
	unsigned char tag[TAG];
	int n = 0, rest = 0, ok;

	memcpy(tag, sealed + NONCE + inner, TAG);
	ok = ctx != NULL &&
	     EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->key, sealed) == 1 &&
	     EVP_DecryptUpdate(ctx, NULL, &n, (const unsigned char *)context,
		 (int)strlen(context)) == 1 &&
	     EVP_DecryptUpdate(ctx, out, &n, sealed + NONCE, (int)inner) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 &&
	     EVP_DecryptFinal_ex(ctx, out + n, &rest) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : -1;
}

int
seal_put(const struct sealkeys *keys, const char *context, const void *plain,
    size_t len, struct strbuf *out, struct err *err)
{
	unsigned char sealed[NONCE + SEAL_PLAIN_MOST + TAG];
	char text[(sizeof(sealed) + 2) / 3 * 4 + 1];

	if (len > SEAL_PLAIN_MOST)
		return err_set(
		    err, ERR_LIMIT, "a secret has at most %d bytes", SEAL_PLAIN_MOST);
	if (encrypt(&keys->at[0], context, plain, len, sealed) != 0)
		return err_set(err, ERR_NOMEM, "the secret could not be sealed");
	EVP_EncodeBlock((unsigned char *)text, sealed, (int)(NONCE + len + TAG));
	strbuf_printf(out, "%s:%s", keys->at[0].id, text);
	return strbuf_failed(out) ? err_set(err, ERR_NOMEM, "a sealed secret") : 0;
}

int
seal_open(const struct sealkeys *keys, const char *context, const char *text,
    char **plain, size_t *len, struct err *err)
{
	unsigned char sealed[NONCE + SEAL_PLAIN_MOST + TAG + 3];
	size_t id_len = strcspn(text, ":"), n = 0;
	const struct sealkey *key;
	char *out;

	if (text[id_len] != ':' ||
	    base64_decode(text + id_len + 1, sealed, sizeof(sealed), &n) != 0 ||
	    n < NONCE + TAG || n > NONCE + SEAL_PLAIN_MOST + TAG)
		return err_set(err, ERR_INVALID, "this is no sealed secret");
	key = find(keys, text, id_len);
	if (key == NULL)
		return err_set(err, ERR_NOT_FOUND,
		    "the key '%.*s' that it was sealed with is not in the key file",
		    (int)(id_len < SEAL_ID_MOST ? id_len : SEAL_ID_MOST), text);
	out = mem_zero(n - NONCE - TAG + 1);
	if (out == NULL)
		return err_set(err, ERR_NOMEM, "a secret");
	if (decrypt(key, context, sealed, n, (unsigned char *)out) != 0) {
		mem_free_secret(out, n - NONCE - TAG + 1);
		return err_set(err, ERR_INVALID,
		    "the secret does not open: it was changed, or belongs elsewhere, "
		    "or the key '%s' is another one",
		    key->id);
	}
	*plain = out;
	*len = n - NONCE - TAG;
	return 0;
}

bool
seal_mac(const struct sealkeys *keys, size_t n, const void *bytes, size_t len,
    unsigned char mac[SEAL_MAC])
{
	return n < keys->count &&
	       hmac(keys->at[n].mac_key, sizeof(keys->at[n].mac_key), bytes, len, mac);
}
