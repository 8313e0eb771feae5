/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_check.c - what a row of settings.c cannot say: keys that must fit each
 * other, and texts that must mean something.
 *
 * Each refusal names the key and what to do.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/seal.h"
#include "base/str.h"
#include "base/whsign.h"
#include "event/addr.h"
#include "http/guard.h"
#include "http/reqhead.h"
#include "http/weburl.h"
#include "model/backoff.h"
#include "model/listen.h"
#include "model/names.h"
#include "model/pools.h"
#include "model/rate.h"
#include "model/settings.h"
#include "proc/child.h"
#include "redis/redisurl.h"
#include "redis/sentinel.h"
#include "tls/tlsbag.h"
#include "tls/tlsclient.h"

#define KIB    1024LL
#define MIB    (1024 * KIB)
#define SECOND 1000LL
#define MINUTE (60 * SECOND)

#define HEADERS_MOST	 16 /* of an http type */
#define OPEN_FILES_LEAST 16
#define CHILDREN_MOST	 256 /* of stream types, on each worker */

static int
check_url(const char *text, struct err *err)
{
	struct weburl url;

	if (text[0] == '\0')
		return 0;
	if (weburl_parse(text, &url, err) != 0)
		return err_wrap(err, "cluster.url");
	if (strchr(text, '?') != NULL)
		return err_set(err, ERR_INVALID,
		    "cluster.url has a query: it must be as https://tasks.example.com");
	return 0;
}

/* what all listeners together are */
struct listen_sum {
	int count;
	bool tls, proxy;
};

static int
count_listener(const struct listen_item *item, void *arg, struct err *err)
{
	struct listen_sum *sum = arg;

	(void)err;
	sum->count++;
	sum->tls |= item->tls;
	/* (a unix socket is opened by whoever may) */
	sum->proxy |= item->proxy && item->addr.sa.sa_family != AF_UNIX;
	return 0;
}

static int
check_listen(const char *key, const char *list, struct listen_sum *sum, struct err *err)
{
	sum->count = 0;
	if (listen_each(list, count_listener, sum, err) != 0)
		return err_wrap(err, "%s", key);
	if (sum->count == 0)
		return err_set(err, ERR_INVALID,
		    "%s is empty: give at least one address such as 127.0.0.1:8000",
		    key);
	return 0;
}

static int
check_networks(const char *key, const char *networks, size_t *count, struct err *err)
{
	struct cidr_list list;

	if (cidr_list_parse(networks, &list, err) != 0)
		return err_wrap(err, "%s", key);
	*count = list.count;
	cidr_list_fini(&list);
	return 0;
}

/* the files themselves are looked at by who may read them: shoald -t, and the master */
static int
check_inbound(const struct settings *s, struct err *err)
{
	struct listen_sum sum = {.count = 0};
	struct tls_opts tls;
	size_t proxies = 0, ignored;

	if (check_listen("listen.applications", s->listen_applications, &sum, err) !=
		0 ||
	    check_listen("listen.developers", s->listen_developers, &sum, err) != 0 ||
	    check_networks("access.networks", s->access_networks, &ignored, err) != 0 ||
	    check_networks(
		"http.trusted_proxies", s->http_trusted_proxies, &proxies, err) != 0)
		return -1;
	if (sum.proxy && proxies == 0)
		return err_set(err, ERR_INVALID,
		    "a listener with the word proxy needs http.trusted_proxies: the "
		    "addresses that its connections come from");
	if (!settings_tls(s, &tls) && sum.tls)
		return err_set(err, ERR_INVALID,
		    "a listener with the word tls needs tls.certificates: a chain and "
		    "a key");
	if (tlsbag_check_list(s->tls_certificates, err) != 0)
		return err_wrap(err, "tls.certificates");
	if (s->tls_client_ca[0] != '\0' && s->tls_client_ca[0] != '/')
		return err_set(
		    err, ERR_INVALID, "tls.client_ca must be an absolute path");
	if (s->tls_ticket_key_file[0] != '\0' && s->tls_ticket_key_file[0] != '/')
		return err_set(
		    err, ERR_INVALID, "tls.ticket_key_file must be an absolute path");
	if (tls.clients != TLS_CLIENTS_NONE && s->tls_client_ca[0] == '\0')
		return err_set(err, ERR_INVALID,
		    "tls.client_certificates needs tls.client_ca: who has issued them");
	return 0;
}

static int
check_headers(const char *headers, struct err *err)
{
	size_t count = 0;
	char **words;
	int rc = 0;

	if (argv_split(headers, &words, err) != 0)
		return -1;
	while (rc == 0 && words[count] != NULL)
		rc = reqhead_check(words[count++], err);
	if (rc == 0 && count > HEADERS_MOST)
		rc = err_set(
		    err, ERR_INVALID, "there may be %d headers at most", HEADERS_MOST);
	mem_free(words);
	return rc;
}

static int
check_children(const struct type_settings *t, struct err *err)
{
	if (t->hang_timeout_ms != 0 && t->hang_timeout_ms < SECOND)
		return err_set(err, ERR_INVALID,
		    "type:%s.hang_timeout must be 1s at least, or 0 to wait for ever",
		    t->type);
	if (t->recycle_memory_bytes != 0 && t->recycle_memory_bytes < MIB)
		return err_set(err, ERR_INVALID,
		    "type:%s.recycle_memory must be 1MiB at least, or 0 for no bound",
		    t->type);
	return 0;
}

static int
check_paths(
    const struct type_settings *t, const char *key, const char *paths, struct err *err)
{
	char **words;
	int rc = 0;
	size_t i;

	if (argv_split(paths, &words, err) != 0)
		return err_wrap(err, "type:%s.%s", t->type, key);
	for (i = 0; rc == 0 && words[i] != NULL; i++)
		if (words[i][0] != '/')
			rc = err_set(err, ERR_INVALID,
			    "type:%s.%s: '%.60s' is not an absolute path", t->type, key,
			    words[i]);
	if (rc == 0 && i > LAUNCH_PATHS / 2)
		rc = err_set(err, ERR_INVALID, "type:%s.%s: more than %d paths",
		    t->type, key, LAUNCH_PATHS / 2);
	mem_free(words);
	return rc;
}

/* what is known before a name is resolved; the rest is said by each request */
static int
check_reach(const struct settings *s, const struct type_settings *t, struct err *err)
{
	const struct guard_opts opts = {
	    s->egress_allow_networks, s->egress_deny_networks, s->egress_ports};
	struct guard *g = guard_create(&opts, err);
	struct weburl url;
	const char *why;
	int rc = -1;

	if (g == NULL)
		return err_wrap(err, "egress");
	if (weburl_parse(t->url, &url, err) != 0)
		goto out;
	why = url.literal ? guard_why_not_text(g, url.host) : NULL;
	if (!guard_port(g, url.port))
		err_set(err, ERR_INVALID, "port %u is not in egress.ports", url.port);
	else if (why != NULL)
		err_set(err, ERR_INVALID,
		    "%s is not allowed (%s): egress.allow_networks can allow it",
		    url.host, why);
	else
		rc = 0;
out:
	guard_free(g);
	return rc != 0 ? err_wrap(err, "type:%s.url", t->type) : 0;
}

static int
check_http(const struct settings *s, const struct type_settings *t, struct err *err)
{
	struct whsecrets secrets;

	if (t->url[0] == '\0')
		return err_set(err, ERR_INVALID,
		    "type:%s.url is missing: an http type needs a URL", t->type);
	if (whsecrets_parse(t->secret, &secrets, err) != 0)
		return err_wrap(err, "type:%s.secret", t->type);
	whsecrets_fini(&secrets);
	if (check_headers(t->headers, err) != 0)
		return err_wrap(err, "type:%s.headers", t->type);
	return check_reach(s, t, err);
}

static int
check_egress(const struct settings *s, struct err *err)
{
	const struct guard_opts opts = {
	    s->egress_allow_networks, s->egress_deny_networks, s->egress_ports};
	struct guard *g = guard_create(&opts, err);

	if (g == NULL)
		return err_wrap(err, "egress");
	guard_free(g);
	if (s->egress_ca_file[0] == '\0')
		return 0;
	if (s->egress_ca_file[0] != '/')
		return err_set(
		    err, ERR_INVALID, "egress.ca_file must be an absolute path");
	if (access(s->egress_ca_file, R_OK) != 0)
		return err_set(err, ERR_INVALID, "egress.ca_file: %s: %s",
		    s->egress_ca_file, strerror(errno));
	return 0;
}

static int
check_log(const struct settings *s, struct err *err)
{
	if (s->log_target == LOG_TO_FILE && str_eq(s->log_file, "-"))
		return err_set(
		    err, ERR_INVALID, "log.target is file: log.file must say which");
	if (s->log_socket[0] != '\0' && s->log_socket[0] != '/')
		return err_set(
		    err, ERR_INVALID, "log.socket must be an absolute path, or empty");
	if (s->log_access[0] != '/' && !str_eq(s->log_access, "-") &&
	    !str_eq(s->log_access, "off"))
		return err_set(err, ERR_INVALID,
		    "log.access must be an absolute path, '-' or off");
	return 0;
}

double
traces_share(const char *text)
{
	double share = 0, place = 0.1;

	if ((text[0] != '0' && text[0] != '1') || (text[1] != '\0' && text[1] != '.'))
		return -1;
	share = text[0] - '0';
	for (const char *p = text + 1 + (text[1] == '.'); *p != '\0'; p++) {
		if (*p < '0' || *p > '9')
			return -1;
		share += (*p - '0') * place;
		place /= 10;
	}
	return share > 1 ? -1 : share;
}

static int
check_traces(const struct settings *s, struct err *err)
{
	struct weburl url;

	if (traces_share(s->traces_sample) < 0)
		return err_set(err, ERR_INVALID,
		    "traces.sample must be a number from 0 to 1, such as 0.05");
	if (s->traces_endpoint[0] == '\0')
		return 0;
	if (weburl_parse(s->traces_endpoint, &url, err) != 0)
		return err_wrap(err, "traces.endpoint");
	if (check_headers(s->traces_headers, err) != 0)
		return err_wrap(err, "traces.headers");
	if (s->traces_ca_file[0] == '\0')
		return 0;
	if (s->traces_ca_file[0] != '/')
		return err_set(
		    err, ERR_INVALID, "traces.ca_file must be an absolute path");
	if (access(s->traces_ca_file, R_OK) != 0)
		return err_set(err, ERR_INVALID, "traces.ca_file: %s: %s",
		    s->traces_ca_file, strerror(errno));
	return 0;
}

static int
check_secrets(const struct settings *s, struct err *err)
{
	struct sealkeys *sk;

	if (s->secrets_key_file[0] == '\0')
		return 0;
	if (s->secrets_key_file[0] != '/')
		return err_set(
		    err, ERR_INVALID, "secrets.key_file must be an absolute path");
	sk = sealkeys_load(s->secrets_key_file, err);
	if (sk == NULL)
		return err_wrap(err, "secrets.key_file");
	sealkeys_free(sk);
	return 0;
}

/* less could not even begin */
static int
check_group(const struct type_settings *t, struct err *err)
{
	if (t->group_memory_bytes > 0 && t->group_memory_bytes < MIB)
		return err_set(err, ERR_INVALID,
		    "type:%s.group_memory must be 1MiB at least, or 0 for no limit",
		    t->type);
	if ((t->group_memory_bytes > 0 || t->group_processes > 0 ||
		t->group_cpu_percent > 0) &&
	    t->handler != HANDLER_EXEC && t->handler != HANDLER_STREAM)
		return err_set(err, ERR_INVALID,
		    "type:%s.group_memory, group_processes and group_cpu are for exec "
		    "and stream types; this one is %s",
		    t->type, handler_kind_name(t->handler));
	return 0;
}

/* keys that only one kind of type has */
static int
check_strangers(const struct type_settings *t, struct err *err)
{
	const struct {
		const char *name, *value, *whose;
		unsigned kinds;
	} keys_of[] = {
	    {"command", t->command, "exec and stream",
		1U << HANDLER_EXEC | 1U << HANDLER_STREAM},
	    {"url", t->url, "http", 1U << HANDLER_HTTP},
	    {"secret", t->secret, "http", 1U << HANDLER_HTTP},
	    {"headers", t->headers, "http", 1U << HANDLER_HTTP},
	};

	for (size_t i = 0; i < COUNT_OF(keys_of); i++) {
		if (keys_of[i].value[0] != '\0' &&
		    (keys_of[i].kinds & 1U << t->handler) == 0)
			return err_set(err, ERR_INVALID,
			    "type:%s.%s is for %s types; this one is %s", t->type,
			    keys_of[i].name, keys_of[i].whose,
			    handler_kind_name(t->handler));
	}
	return 0;
}

/* of types whose tasks are run by a command */
static int
check_environment(const struct type_settings *t, struct err *err)
{
	int rc = 0;
	char **argv;

	if (argv_split(t->environment, &argv, err) != 0)
		return err_wrap(err, "type:%s.environment", t->type);
	for (size_t i = 0; argv[i] != NULL && rc == 0; i++) {
		if (strchr(argv[i], '=') == NULL || argv[i][0] == '=')
			rc = err_set(err, ERR_INVALID,
			    "type:%s.environment: '%.60s' is not NAME=VALUE", t->type,
			    argv[i]);
	}
	mem_free(argv);
	return rc;
}

static int
check_command(const struct type_settings *t, struct err *err)
{
	char **argv;
	bool empty, absolute;

	if (argv_split(t->command, &argv, err) != 0)
		return err_wrap(err, "type:%s.command", t->type);
	empty = argv[0] == NULL;
	absolute = !empty && argv[0][0] == '/';
	mem_free(argv);
	if (empty)
		return err_set(err, ERR_INVALID,
		    "type:%s.command is missing: a type that is %s needs a command",
		    t->type, handler_kind_name(t->handler));
	if (!absolute)
		return err_set(err, ERR_INVALID,
		    "type:%s.command must begin with an absolute path", t->type);
	if (t->directory[0] != '\0' && t->directory[0] != '/')
		return err_set(err, ERR_INVALID,
		    "type:%s.directory must be an absolute path, or empty for a "
		    "private one",
		    t->type);
	if (t->group[0] != '\0' && t->user[0] == '\0')
		return err_set(err, ERR_INVALID,
		    "type:%s.group needs type:%s.user beside it", t->type, t->type);
	if (t->max_open_files != 0 && t->max_open_files < OPEN_FILES_LEAST)
		return err_set(err, ERR_INVALID,
		    "type:%s.max_open_files must be %d at least, or 0 for no limit",
		    t->type, OPEN_FILES_LEAST);
	if (check_paths(t, "allow_read", t->allow_read, err) != 0 ||
	    check_paths(t, "allow_write", t->allow_write, err) != 0)
		return -1;
	return check_environment(t, err);
}

static int
check_type(const struct settings *s, const struct type_settings *t, struct err *err)
{
	struct backoff backoff;
	struct rate rate;

	if (t->backoff[0] != '\0' &&
	    backoff_parse_setting(t->backoff, &backoff, err) != 0)
		return err_wrap(err, "type:%s.backoff", t->type);
	if (rate_parse(t->rate, &rate, err) != 0)
		return err_wrap(err, "type:%s.rate", t->type);
	if (t->timeout_ms < 100 && t->handler != HANDLER_PULL)
		return err_set(err, ERR_INVALID,
		    "type:%s.timeout must be 100ms at least", t->type);
	if (check_strangers(t, err) != 0 || check_group(t, err) != 0)
		return -1;
	if (t->handler == HANDLER_BUILTIN)
		return 0;
	if (str_starts(t->type, "shoal."))
		return err_set(err, ERR_INVALID,
		    "type:%s: names that begin with shoal. are built in", t->type);
	if (t->handler == HANDLER_PULL && t->concurrency > 0)
		return err_set(err, ERR_INVALID,
		    "type:%s.concurrency is for what workers of the node run; for a "
		    "pull type use limit",
		    t->type);
	if (t->handler == HANDLER_PULL)
		return 0;
	if (t->handler == HANDLER_HTTP)
		return check_http(s, t, err);
	if (t->handler != HANDLER_EXEC && t->handler != HANDLER_STREAM)
		return err_set(err, ERR_INVALID,
		    "type:%s.handler %s is not known to this release", t->type,
		    handler_kind_name(t->handler));
	if (check_command(t, err) != 0)
		return -1;
	return t->handler == HANDLER_STREAM ? check_children(t, err) : 0;
}

static int
check_keep(const char *name, int64_t ms, struct err *err)
{
	if (ms != 0 && ms < MINUTE)
		return err_set(err, ERR_INVALID,
		    "%s must be 1min at least, or 0 to keep them for ever", name);
	return 0;
}

static int
check_pools(const struct settings *s, struct err *err)
{
	const struct queue_settings *q;
	struct pools *pools = pools_create();
	int numbers[POOLS_SERVED], rc;

	if (pools == NULL)
		return err_set(err, ERR_NOMEM, "node.pools");
	rc = pools_parse(pools, s->node_pools, numbers, err);
	pools_free(pools);
	if (rc < 0)
		return err_wrap(err, "node.pools");
	TAILQ_FOREACH (q, &s->queues, link) {
		if (q->pool[0] != '\0' &&
		    name_check("pool", q->pool, strlen(q->pool), err) != 0)
			return err_wrap(err, "queue:%s.pool", q->queue);
	}
	return 0;
}

/* the files are read here as a worker will read them, so that a reload refuses bad ones
 */
static int
check_redis_tls(const struct settings *s, bool tls, struct err *err)
{
	const struct tlsclient_opts opts = {
	    .ca_file = s->redis_ca_file,
	    .certificate = s->redis_certificate,
	    .key = s->redis_key,
	};
	const struct {
		const char *name, *path;
	} files[] = {
	    {"ca_file", s->redis_ca_file},
	    {"certificate", s->redis_certificate},
	    {"key", s->redis_key},
	};
	struct tlsclient *t;

	for (size_t i = 0; i < COUNT_OF(files); i++) {
		if (files[i].path[0] == '\0')
			continue;
		if (!tls)
			return err_set(err, ERR_INVALID,
			    "redis.%s is for TLS, and redis.url does not begin with "
			    "rediss://",
			    files[i].name);
		if (files[i].path[0] != '/')
			return err_set(err, ERR_INVALID,
			    "redis.%s must be an absolute path", files[i].name);
	}
	if (!tls)
		return 0;
	t = tlsclient_create(&opts, err);
	if (t == NULL)
		return err_wrap(err, "redis");
	tlsclient_free(t);
	return 0;
}

static int
check_redis(const struct settings *s, struct err *err)
{
	struct sentinel_host hosts[SENTINEL_HOSTS_MOST];
	struct redisurl url;
	bool tls, is_socket;

	if (redisurl_parse(s->redis_url, &url, err) != 0)
		return err_wrap(err, "redis.url");
	tls = url.tls;
	is_socket = str_starts(url.host, "unix:");
	explicit_bzero(&url, sizeof(url));
	if ((s->redis_sentinels[0] != '\0') != (s->redis_sentinel_master[0] != '\0'))
		return err_set(err, ERR_INVALID,
		    "redis.sentinels and redis.sentinel_master belong together: give "
		    "both or none");
	if (s->redis_sentinels[0] != '\0' &&
	    sentinel_hosts_parse(s->redis_sentinels, hosts, err) < 0)
		return err_wrap(err, "redis.sentinels");
	if (s->redis_sentinels[0] != '\0' && is_socket)
		return err_set(err, ERR_INVALID,
		    "redis.sentinels lead to a primary by address, and redis.url is a "
		    "socket's path: write redis://host/0, whose host is not used");
	return check_redis_tls(s, tls, err);
}

int
settings_check(const struct settings *s, struct err *err)
{
	const struct type_settings *t;
	int64_t children = 0;

	for (const char *p = s->cluster_name; *p != '\0'; p++) {
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456"
			   "789-_.",
			*p) == NULL)
			return err_set(err, ERR_INVALID,
			    "cluster.name '%s' has a character that is not a letter, a "
			    "digit, '-', '_' or '.'",
			    s->cluster_name);
	}
	if (check_inbound(s, err) != 0)
		return -1;
	if (check_url(s->cluster_url, err) != 0)
		return -1;
	if (s->node_temporary[0] != '/')
		return err_set(
		    err, ERR_INVALID, "node.temporary must be an absolute path");
	if (s->tasks_max_payload_bytes + 64 * KIB > s->http_max_body_bytes)
		return err_set(err, ERR_INVALID,
		    "http.max_body must exceed tasks.max_payload by 64KiB, or no such "
		    "task could be sent");
	if (check_log(s, err) != 0 || check_traces(s, err) != 0)
		return -1;
	if (check_egress(s, err) != 0)
		return -1;
	if (check_secrets(s, err) != 0 || check_redis(s, err) != 0)
		return -1;
	if (check_keep("tasks.keep_finished", s->tasks_keep_finished_ms, err) != 0 ||
	    check_keep("tasks.keep_failed", s->tasks_keep_failed_ms, err) != 0 ||
	    check_pools(s, err) != 0)
		return -1;
	TAILQ_FOREACH (t, &s->types, link) {
		if (check_type(s, t, err) != 0)
			return -1;
		children += t->handler == HANDLER_STREAM ? t->children : 0;
	}
	if (children > CHILDREN_MOST)
		return err_set(err, ERR_INVALID,
		    "stream types have %lld children on each worker, and %d are "
		    "allowed: "
		    "lower their children, or let each take more tasks at a time",
		    (long long)children, CHILDREN_MOST);
	return 0;
}
