/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * self_signed.h - certificates for tests, each its own authority, made by OpenSSL.
 */
#ifndef TESTS_SELF_SIGNED_H
#define TESTS_SELF_SIGNED_H

/*
 * Writes a certificate, valid from and to so many seconds from now, and its key (mode
 * 0600).  san such as "DNS:localhost,IP:127.0.0.1"; NULL: none.  key_path NULL: the key
 * is written nowhere.
 */
void self_signed(const char *cert_path, const char *key_path, const char *name,
    const char *san, long from_s, long to_s);

#endif
