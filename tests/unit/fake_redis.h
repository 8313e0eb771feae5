/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_redis.h - a Redis server made of scripts, on the loop of the test itself.
 *
 * It answers the sign-in by itself and hands every other command to the test, which
 * sends whatever bytes it likes, whole or one at a time, or closes.
 */
#ifndef TESTS_FAKE_REDIS_H
#define TESTS_FAKE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/loop.h"

struct redisReply;
struct fake_redis;
struct fake_peer; /* one accepted connection */

/* cmd is an array of strings; false: the fake answers as a friendly Redis would */
typedef bool fake_redis_cb(
    struct fake_redis *f, struct fake_peer *p, const struct redisReply *cmd, void *arg);

struct fake_redis *fake_redis_open(struct loop *l, fake_redis_cb *cb, void *arg);
void fake_redis_close(struct fake_redis *f);
uint16_t fake_redis_port(const struct fake_redis *f);
unsigned fake_redis_accepted(const struct fake_redis *f); /* ever */
struct fake_peer *fake_redis_peer(struct fake_redis *f);  /* the latest, or NULL */
/* stops accepting, or starts again on the same port */
void fake_redis_refuse(struct fake_redis *f, bool refuse);

void fake_peer_send(struct fake_peer *p, const char *bytes, size_t len);
void fake_peer_say(struct fake_peer *p, const char *text);
/* from now on, one byte a turn of the loop */
void fake_peer_dribble(struct fake_peer *p);
void fake_peer_hang_up(struct fake_peer *p); /* after what was said is sent */
void fake_peer_reset(struct fake_peer *p);   /* at once, with a TCP reset */
/* commands that came in with one read, at most */
unsigned fake_peer_burst(const struct fake_peer *p);

#endif
