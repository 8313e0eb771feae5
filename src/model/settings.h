/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.h - everything that can be configured, one struct field and one table row
 * each.
 *
 * The rows, with defaults, ranges and help, are in settings.c.  Durations are
 * milliseconds, sizes bytes.
 */
#ifndef MODEL_SETTINGS_H
#define MODEL_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/conf.h"

enum handler_kind {
	HANDLER_BUILTIN = 0,
	HANDLER_EXEC,
	HANDLER_STREAM,
	HANDLER_HTTP,
	HANDLER_PULL,
	HANDLER_KIND_COUNT
};

/* one [type:NAME] */
struct type_settings {
	TAILQ_ENTRY(type_settings) link;
	char *type;  /* NAME */
	int handler; /* enum handler_kind */
	char *command;
	char *url;	    /* HTTP: where it is posted to */
	char *secret;	    /* HTTP: as base/whsign.h reads it; "": not signed */
	char *headers;	    /* HTTP: "Name: value" words, split like a command */
	int64_t timeout_ms; /* once loaded never 0 */
	int64_t grace_ms;
	int64_t concurrency;  /* at a time on each worker; 0: what the slots allow */
	int64_t limit;	      /* at a time in the cluster; 0: none */
	char *rate;	      /* model/rate.h; "": none */
	int64_t max_attempts; /* 0: tasks.max_attempts */
	char *backoff;	      /* as model/backoff.h reads it; "": the default rule */
	int64_t max_output_bytes;
	char *directory;   /* "": a private one */
	char *environment; /* NAME=VALUE words, split like a command */
	char *user, *group;
	/* what a command may use up; 0: no limit of ours */
	int64_t max_cpu_ms, max_memory_bytes, max_file_size_bytes;
	int64_t max_processes, max_open_files;
	/* what all processes of a command together may; 0: no limit, all: no group */
	int64_t group_memory_bytes, group_processes, group_cpu_percent;
	int64_t nice;
	int seccomp;			/* enum launch_seccomp */
	char *allow_read, *allow_write; /* words; both empty: no Landlock */
	/* of stream types */
	int64_t children;			     /* on each worker */
	int64_t recycle_tasks, recycle_memory_bytes; /* of one child; 0: never */
	int64_t hang_timeout_ms;		     /* 0: none */
};

/* one [queue:NAME] */
struct queue_settings {
	TAILQ_ENTRY(queue_settings) link;
	char *queue; /* NAME */
	int64_t priority;
	char *pool; /* "": says nothing */
};

/* a file that a secret was read from, for those who look at its rights */
struct secret_file {
	TAILQ_ENTRY(secret_file) link;
	char *key; /* "database.password" */
	char *path;
};

TAILQ_HEAD(secret_file_list, secret_file);
TAILQ_HEAD(type_list, type_settings);
TAILQ_HEAD(queue_list, queue_settings);

struct settings {
	/* [cluster] */
	char *cluster_name;
	char *cluster_hostname;
	char *cluster_url; /* "": settings_url guesses */
	/* [node] */
	int64_t node_workers; /* 0: one a core */
	char *node_user, *node_group;
	char *node_pid_file, *node_control_socket;
	char *node_temporary; /* where private directories are made */
	int64_t node_slots, node_exec_slots;
	char *node_pools; /* that it serves: model/pools.h */
	int64_t node_max_requests, node_max_memory_bytes;
	int64_t node_drain_delay_ms, node_shutdown_timeout_ms;
	int64_t node_start_timeout_ms, node_hang_timeout_ms;
	int64_t node_resolve_interval_ms; /* of names in use, again */
	bool node_core_dumps;
	/* [listen] */
	char *listen_applications, *listen_developers;
	int64_t listen_backlog;
	/* [http] */
	int64_t http_max_body_bytes, http_max_header_bytes, http_max_headers,
	    http_max_uri_bytes;
	int64_t http_max_connections;
	int64_t http_header_timeout_ms, http_body_timeout_ms, http_write_timeout_ms;
	int64_t http_idle_timeout_ms;
	bool http_allow_chunked;
	char *http_trusted_proxies; /* networks */
	/* [tls] */
	char *tls_certificates; /* tls/tlsbag.h */
	int tls_min_version;	/* 0: 1.2, 1: 1.3 */
	char *tls_client_ca;
	int tls_client_certificates; /* enum tls_clients */
	char *tls_ticket_key_file;
	int64_t tls_handshake_timeout_ms, tls_hsts_ms;
	/* [access] who sees the node's inside: /ready in detail, /metrics, /api/status
	 */
	char *access_token;
	char *access_networks;
	/* [log] */
	char *log_file;
	int log_target; /* enum log_target */
	int log_format; /* enum log_format */
	int log_level;	/* enum log_level */
	char *log_socket;
	char *log_access; /* a path, "-" or "off" */
	/* [traces] */
	char *traces_endpoint; /* "": off */
	char *traces_headers;  /* "Name: value" words, split like a command */
	char *traces_sample;   /* traces_share reads it */
	char *traces_service;
	char *traces_ca_file;
	/* [database] */
	char *database_url, *database_password, *database_migrate_url;
	char *database_password_file; /* where database_password is from; "": nowhere */
	bool database_migrate, database_prepared;
	int64_t database_connections, database_statement_timeout_ms;
	/* [redis] */
	char *redis_url, *redis_username, *redis_password;
	char *redis_password_file; /* as database_password_file */
	char *redis_ca_file, *redis_certificate, *redis_key;
	char *redis_sentinels, *redis_sentinel_master; /* "": none */
	char *redis_sentinel_username, *redis_sentinel_password;
	char *redis_sentinel_password_file;
	/* [tasks] */
	int64_t tasks_max_payload_bytes, tasks_max_result_bytes, tasks_max_attempts;
	int64_t tasks_priority_aging_ms;
	int64_t tasks_keep_finished_ms, tasks_keep_failed_ms; /* 0: for ever */
	int64_t tasks_keep_size_bytes;			      /* 0: any */
	/* [egress] */
	char *egress_allow_networks, *egress_deny_networks, *egress_ports;
	char *egress_ca_file;
	int64_t egress_connect_timeout_ms, egress_idle_timeout_ms;
	int64_t egress_per_destination;
	int64_t egress_breaker_faults, egress_breaker_pause_ms;
	/* [secrets] */
	char *secrets_key_file; /* base/seal.h; "": none */
	/* [dev] */
	char *dev_postgres_bin, *dev_redis_server;
	bool dev_fsync;

	struct type_list types;
	struct queue_list queues;
	struct secret_file_list secret_files;
};

extern const struct conf_schema settings_schema;

/* defaults only */
struct settings *settings_create(struct err *err) ATTR_CHECK;
void settings_free(struct settings *s); /* NULL is fine */
/*
 * All sources in order: defaults; the file (path NULL: SHOALD_CONFIG from env as the
 * whole file if set, else no file); env; options (NULL-terminated, may be NULL).  Then
 * the checks across keys.
 */
struct settings *settings_load(const char *path, char *const env[],
    char *const options[], struct err *err) ATTR_CHECK;
/* the checks across keys alone: addresses parse, a type has a command, limits fit each
 * other */
int settings_check(const struct settings *s, struct err *err) ATTR_CHECK;
/* "type:" families included; secrets masked */
void settings_dump(const struct settings *s, struct strbuf *out);
const char *handler_kind_name(enum handler_kind kind);
struct tls_opts;
/* what [tls] says of files, borrowed; false: there are no certificates */
bool settings_tls(const struct settings *s, struct tls_opts *opts);
/* a number from 0 to 1, as a decimal fraction; -1: it is none */
double traces_share(const char *text);
/* node_workers, or the number of processors when that is 0 */
int settings_worker_count(const struct settings *s);
/* where applications reach the cluster, without a slash at the end; returns buf */
#define SETTINGS_URL_SIZE 1100
char *settings_url(const struct settings *s, char buf[SETTINGS_URL_SIZE]);

#endif
