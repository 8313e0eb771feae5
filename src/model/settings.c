/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.c - every setting of Shoal, one row each.
 *
 * The row is the only place that knows a setting's name, default, range and
 * meaning: the loader, --help-settings, -T, the sample file and the lint check of the
 * manual read it from here.  Checks that concern more than one key, or what a text
 * means, are in settings_check.c.
 *
 * New setting?  A field in settings.h, a row here, a line in
 * man/shoald.conf.5 and in conf/shoald.conf (lint compares them).
 */
#include "model/settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/listen.h"
#include "model/names.h"
#include "model/rate.h"
#include "tls/tlsbag.h"

#define KIB    1024LL
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static const char *const handler_choices[] = {
    "builtin", "exec", "stream", "http", "pull", NULL};
/* in the order of enum launch_seccomp */
static const char *const seccomp_choices[] = {"none", "default", "no-network", NULL};
static const char *const version_choices[] = {"1.2", "1.3", NULL};
/* in the order of enum tls_clients */
static const char *const client_choices[] = {"none", "optional", "required", NULL};
static const char *const level_choices[] = {"error", "warn", "info", "debug", NULL};
/* in the order of enum log_target and log_format */
static const char *const target_choices[] = {
    "auto", "stderr", "file", "syslog", "journald", NULL};
static const char *const format_choices[] = {"text", "json", NULL};

static void *type_get(void *settings, const char *name, struct err *err);
static void *queue_get(void *settings, const char *name, struct err *err);
static int secret_file_note(void *settings, const struct conf_key *key,
    const char *family_name, const char *path, struct err *err);

static const struct conf_section sections[] = {
    {"cluster", "What all nodes of one cluster have in common.", NULL},
    {"node", "This node's processes.", NULL},
    {"listen", "Where the node listens. Two listeners, two audiences.", NULL},
    {"http", "Bounds of HTTP connections and requests.", NULL},
    {"tls", "TLS on the listeners that have the word tls.", NULL},
    {"access",
	"Who may see the inside of a node: /ready in detail, /metrics and /api/status.",
	NULL},
    {"log", "Where the log goes.", NULL},
    {"traces", "Spans of requests and tasks, for an OpenTelemetry collector.", NULL},
    {"database", "PostgreSQL, the truth.", NULL},
    {"redis", "Redis, for communication only: it may lose everything.", NULL},
    {"tasks", "Bounds and defaults of tasks.", NULL},
    {"egress", "Requests that http types send to servers.", NULL},
    {"secrets", "Secrets that applications leave with Shoal.", NULL},
    {"dev", "Only for shoald --dev, which starts its own PostgreSQL and Redis.", NULL},
    {"type:",
	"One section a task type, for example [type:thumbnail]: how tasks of that type "
	"are run.",
	type_get},
    {"queue:",
	"One section a queue, for example [queue:mail]. Queues without a section exist "
	"too.",
	queue_get},
};

#define S(member) offsetof(struct settings, member)
#define T(member) offsetof(struct type_settings, member)
#define Q(member) offsetof(struct queue_settings, member)

/* clang-format off */
static const struct conf_key keys[] = {
	{ .section = "cluster", .name = "name", .type = CONF_STRING, .offset = S(cluster_name),
	  .def = "shoal", .min = 1, .max = 64,
	  .help = "The prefix of every key in Redis. Nodes with the same stores and the same name are one cluster. Letters, digits, '-', '_' and '.'." },
	{ .section = "cluster", .name = "hostname", .type = CONF_STRING, .offset = S(cluster_hostname),
	  .def = "localhost", .min = 1, .max = 253, .flags = CONF_RELOAD,
	  .help = "The name under which applications and developers reach the cluster. The same on every node; used in every link that is made." },
	{ .section = "cluster", .name = "url", .type = CONF_STRING, .offset = S(cluster_url), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "Where applications reach the cluster, as https://tasks.example.com: endpoints are told it, for what they answer later. The same on every node. Empty: http://, the hostname, and the port of the first listener for applications." },

	{ .section = "node", .name = "workers", .type = CONF_INT, .offset = S(node_workers),
	  .def = "0", .min = 0, .max = 64, .unit = "processes", .flags = CONF_RELOAD,
	  .help = "Worker processes. 0 starts one for each processor." },
	{ .section = "node", .name = "user", .type = CONF_STRING, .offset = S(node_user), .def = "",
	  .help = "The user that workers run as when the master is started by root. Empty: workers stay what the master is." },
	{ .section = "node", .name = "group", .type = CONF_STRING, .offset = S(node_group), .def = "",
	  .help = "The group that workers run as. Empty: the user's own group." },
	{ .section = "node", .name = "pid_file", .type = CONF_STRING, .offset = S(node_pid_file),
	  .def = SHOAL_RUNDIR "/shoald.pid", .max = 1000,
	  .help = "Holds the master's process id, locked while it lives. Empty: none (then -s cannot find the node)." },
	{ .section = "node", .name = "control_socket", .type = CONF_STRING, .offset = S(node_control_socket),
	  .def = SHOAL_RUNDIR "/shoald.sock", .max = 100,
	  .help = "The unix socket that shoald --status asks. Empty: none." },
	{ .section = "node", .name = "slots", .type = CONF_INT, .offset = S(node_slots),
	  .def = "256", .min = 1, .max = 4096, .unit = "tasks", .flags = CONF_RELOAD,
	  .help = "Tasks that one worker runs at a time, of types that cost no process of their own." },
	{ .section = "node", .name = "exec_slots", .type = CONF_INT, .offset = S(node_exec_slots),
	  .def = "4", .min = 0, .max = 128, .unit = "tasks", .flags = CONF_RELOAD,
	  .help = "Commands that one worker runs at a time, over all exec types." },
	{ .section = "node", .name = "temporary", .type = CONF_STRING, .offset = S(node_temporary), .def = "/tmp",
	  .max = 400, .flags = CONF_RELOAD,
	  .help = "Where private directories of commands are made." },
	{ .section = "node", .name = "pools", .type = CONF_STRING, .offset = S(node_pools),
	  .def = "main", .max = 1200, .flags = CONF_RELOAD,
	  .help = "The pools whose queues this node serves, separated by commas, 16 at most. A queue is in the pool main unless something else is set for it. The node takes submits for all queues, whatever it serves." },
	{ .section = "node", .name = "max_requests", .type = CONF_INT, .offset = S(node_max_requests),
	  .def = "0", .min = 0, .max = INT64_MAX, .unit = "requests", .flags = CONF_RELOAD,
	  .help = "A worker that has answered this many requests is drained and replaced. 0: never." },
	{ .section = "node", .name = "max_memory", .type = CONF_SIZE, .offset = S(node_max_memory_bytes),
	  .def = "512MiB", .min = 0, .max = 64 * GIB, .flags = CONF_RELOAD,
	  .help = "A worker whose private memory grows past this is drained and replaced. 0: never." },
	{ .section = "node", .name = "drain_delay", .type = CONF_DURATION, .offset = S(node_drain_delay_ms),
	  .def = "130s", .min = 0, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "After TERM the node goes on serving for this long while /health answers 503, so that a load balancer can take it out first. It takes no new tasks meanwhile." },
	{ .section = "node", .name = "shutdown_timeout", .type = CONF_DURATION, .offset = S(node_shutdown_timeout_ms),
	  .def = "30s", .min = 0, .max = DAY, .flags = CONF_RELOAD,
	  .help = "How long a draining worker waits for running tasks. What still runs then is given back and runs elsewhere, at no cost to its attempts." },
	{ .section = "node", .name = "start_timeout", .type = CONF_DURATION, .offset = S(node_start_timeout_ms),
	  .def = "30s", .min = SECOND, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "A worker that does not listen after this long is ended and replaced." },
	{ .section = "node", .name = "hang_timeout", .type = CONF_DURATION, .offset = S(node_hang_timeout_ms),
	  .def = "8s", .min = 2 * SECOND, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "A worker whose heartbeat stands still for this long is ended and replaced." },
	{ .section = "node", .name = "resolve_interval", .type = CONF_DURATION, .offset = S(node_resolve_interval_ms),
	  .def = "30s", .min = SECOND, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "How often the names of PostgreSQL and Redis are resolved again while connections are healthy. A connection whose address is not among the answers any more is finished in good order and made again. Every new connection resolves its names in any case." },
	{ .section = "node", .name = "core_dumps", .type = CONF_BOOL, .offset = S(node_core_dumps), .def = "no",
	  .flags = CONF_RELOAD,
	  .help = "Whether a worker that crashes leaves a core dump, as the system's limits allow. It holds payloads, keys and passwords." },

	{ .section = "listen", .name = "applications", .type = CONF_STRING, .offset = S(listen_applications),
	  .def = "0.0.0.0:80, [::]:80", .flags = CONF_RELOAD,
	  .help = "Addresses for applications (/v1), separated by commas. Words behind an address say what is spoken there, in front of HTTP: tls is TLS, by [tls]; with proxy each connection must begin with a header of the PROXY protocol, version 1 or 2, and come from http.trusted_proxies (or through a unix socket)." },
	{ .section = "listen", .name = "developers", .type = CONF_STRING, .offset = S(listen_developers),
	  .def = "0.0.0.0:8080, [::]:8080", .flags = CONF_RELOAD,
	  .help = "Addresses for developers and operators (/api, /metrics), with the same words." },
	{ .section = "listen", .name = "backlog", .type = CONF_INT, .offset = S(listen_backlog),
	  .def = "1024", .min = 16, .max = 65535, .unit = "connections",
	  .help = "Connections that the kernel keeps waiting on each listener." },

	{ .section = "http", .name = "max_body", .type = CONF_SIZE, .offset = S(http_max_body_bytes),
	  .def = "8MiB", .min = KIB, .max = 64 * MIB, .flags = CONF_RELOAD,
	  .help = "Largest request body. Longer ones are refused with 413." },
	{ .section = "http", .name = "max_header", .type = CONF_SIZE, .offset = S(http_max_header_bytes),
	  .def = "16KiB", .min = KIB, .max = MIB, .flags = CONF_RELOAD,
	  .help = "Largest request line and headers together." },
	{ .section = "http", .name = "max_headers", .type = CONF_INT, .offset = S(http_max_headers),
	  .def = "100", .min = 8, .max = 1000, .unit = "headers", .flags = CONF_RELOAD,
	  .help = "Most headers in one request." },
	{ .section = "http", .name = "max_uri", .type = CONF_SIZE, .offset = S(http_max_uri_bytes),
	  .def = "8KiB", .min = 256, .max = 64 * KIB, .flags = CONF_RELOAD,
	  .help = "Longest request URI." },
	{ .section = "http", .name = "max_connections", .type = CONF_INT, .offset = S(http_max_connections),
	  .def = "10000", .min = 1, .max = 1000000, .unit = "connections", .flags = CONF_RELOAD,
	  .help = "Connections of one worker on each audience's listeners. At the limit accepting pauses." },
	{ .section = "http", .name = "header_timeout", .type = CONF_DURATION, .offset = S(http_header_timeout_ms),
	  .def = "15s", .min = 100, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "From a request's first byte to the end of its headers." },
	{ .section = "http", .name = "body_timeout", .type = CONF_DURATION, .offset = S(http_body_timeout_ms),
	  .def = "60s", .min = 100, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "From the end of a request's headers to the end of its body." },
	{ .section = "http", .name = "write_timeout", .type = CONF_DURATION, .offset = S(http_write_timeout_ms),
	  .def = "60s", .min = 100, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "A reply of which the client takes nothing for this long is given up." },
	{ .section = "http", .name = "idle_timeout", .type = CONF_DURATION, .offset = S(http_idle_timeout_ms),
	  .def = "350s", .min = SECOND, .max = DAY, .flags = CONF_RELOAD,
	  .help = "How long an idle connection is kept. Longer than the load balancer's own idle timeout, so that it is never the node that closes first." },
	{ .section = "http", .name = "allow_chunked", .type = CONF_BOOL, .offset = S(http_allow_chunked),
	  .def = "no", .flags = CONF_RELOAD,
	  .help = "Whether requests may use Transfer-Encoding: chunked. Refused with 411 otherwise, which rules out request smuggling by it." },
	{ .section = "http", .name = "trusted_proxies", .type = CONF_STRING, .offset = S(http_trusted_proxies), .def = "",
	  .max = 4096, .flags = CONF_RELOAD,
	  .help = "Networks of balancers and proxies whose word on their clients counts, separated by commas: X-Forwarded-For (read from its end, up to the first address that is not in here), X-Forwarded-Proto and X-Forwarded-Port, and PROXY headers. From anybody else they mean nothing. Whatever is sent from here without them is the proxy's own, and sees the inside of the node by token only." },

	{ .section = "tls", .name = "certificates", .type = CONF_STRING, .offset = S(tls_certificates), .def = "",
	  .max = 65536, .flags = CONF_RELOAD,
	  .help = "Certificates, separated by commas; each is a PEM file with the server's own and its issuers, a PEM file with the key, and perhaps a file with an OCSP response (DER) to be stapled, separated by blanks. One file alone holds chain and key. Which one a client gets is decided by the name that it asks for, and is the first where none has it. Nobody but its owner and group may reach a key; it is read by the master, before workers become node.user." },
	{ .section = "tls", .name = "min_version", .type = CONF_ENUM, .offset = S(tls_min_version), .def = "1.2",
	  .choices = version_choices, .flags = CONF_RELOAD,
	  .help = "The oldest version of TLS that is spoken." },
	{ .section = "tls", .name = "client_certificates", .type = CONF_ENUM, .offset = S(tls_client_certificates), .def = "none",
	  .choices = client_choices, .flags = CONF_RELOAD,
	  .help = "Whether clients must show a certificate of client_ca: none does not ask, optional takes clients without one too, required does not. An API key is needed all the same." },
	{ .section = "tls", .name = "client_ca", .type = CONF_STRING, .offset = S(tls_client_ca), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "A PEM file with the certificate authorities that clients' certificates must come from." },
	{ .section = "tls", .name = "ticket_key_file", .type = CONF_STRING, .offset = S(tls_ticket_key_file), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "A file with the keys that session tickets are encrypted with, the same on all nodes, so that a client may resume its session on any: one key a line, the base64 of 80 or 48 random bytes (openssl rand 80 | base64 -w 0), 8 at most; the first encrypts, all decrypt. Or one key as it is. Put a new one in front each day. Empty: the workers of a node share a key that is drawn at its start and at each reload." },
	{ .section = "tls", .name = "handshake_timeout", .type = CONF_DURATION, .offset = S(tls_handshake_timeout_ms), .def = "10s",
	  .min = 100, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "From accepting a connection to the end of its PROXY header and its TLS handshake." },
	{ .section = "tls", .name = "hsts", .type = CONF_DURATION, .offset = S(tls_hsts_ms), .def = "180d",
	  .min = 0, .max = 3650 * DAY, .flags = CONF_RELOAD,
	  .help = "For how long browsers shall use only https for this host name (Strict-Transport-Security). Sent on TLS connections, and where a trusted proxy says X-Forwarded-Proto: https. 0: not sent." },

	{ .section = "access", .name = "token", .type = CONF_STRING, .offset = S(access_token),
	  .def = "", .max = 256, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "Whoever sends it as Authorization: Bearer TOKEN sees the inside of the node. Empty: no token does." },
	{ .section = "access", .name = "networks", .type = CONF_STRING, .offset = S(access_networks),
	  .def = "127.0.0.0/8, ::1/128", .flags = CONF_RELOAD,
	  .help = "Client networks that see it without a token, as addresses with prefix lengths, separated by commas." },

	{ .section = "log", .name = "file", .type = CONF_STRING, .offset = S(log_file), .def = "-",
	  .help = "A file that is appended to and opened again on USR1, or '-' for none." },
	{ .section = "log", .name = "target", .type = CONF_ENUM, .offset = S(log_target), .def = "auto",
	  .choices = target_choices,
	  .help = "Where the log goes. auto: the file if there is one, else standard error, and into the journal by its own protocol if standard error is the journal's." },
	{ .section = "log", .name = "format", .type = CONF_ENUM, .offset = S(log_format), .def = "text",
	  .choices = format_choices,
	  .help = "text: a line that begins with its time and has key=value pairs. json: an object a line. The journal gets fields of its own in any case. The access log has the same format." },
	{ .section = "log", .name = "level", .type = CONF_ENUM, .offset = S(log_level), .def = "info",
	  .choices = level_choices, .flags = CONF_RELOAD,
	  .help = "error, warn, info or debug. shoald --log-level changes it at once, until the next reload." },
	{ .section = "log", .name = "socket", .type = CONF_STRING, .offset = S(log_socket), .def = "", .max = 100,
	  .help = "Where the syslog daemon or the journal takes datagrams. Empty: /dev/log or /run/systemd/journal/socket." },
	{ .section = "log", .name = "access", .type = CONF_STRING, .offset = S(log_access), .def = "off",
	  .min = 1, .max = 1000, .flags = CONF_RELOAD,
	  .help = "A file for a line a request, opened again on USR1; '-' for standard output, or off." },

	{ .section = "traces", .name = "endpoint", .type = CONF_STRING, .offset = S(traces_endpoint), .def = "",
	  .max = 2000, .flags = CONF_RELOAD,
	  .help = "The URL that spans are posted to by OTLP/HTTP in JSON, such as http://127.0.0.1:4318/v1/traces. Empty: no spans are made." },
	{ .section = "traces", .name = "headers", .type = CONF_STRING, .offset = S(traces_headers), .def = "",
	  .max = 4096, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "Headers for the collector, as words in double quotes: \"Authorization: Bearer abc\"." },
	{ .section = "traces", .name = "sample", .type = CONF_STRING, .offset = S(traces_sample), .def = "1",
	  .min = 1, .max = 16, .flags = CONF_RELOAD,
	  .help = "Which share of the requests without a traceparent begins a trace, from 0 to 1. A request that has one is traced if that says so." },
	{ .section = "traces", .name = "service", .type = CONF_STRING, .offset = S(traces_service), .def = "shoal",
	  .min = 1, .max = 100, .flags = CONF_RELOAD,
	  .help = "The service.name of the spans." },
	{ .section = "traces", .name = "ca_file", .type = CONF_STRING, .offset = S(traces_ca_file), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "Certificates (PEM) that the collector's is checked against. Empty: the system's." },

	{ .section = "database", .name = "url", .type = CONF_STRING, .offset = S(database_url),
	  .def = "postgresql://shoal@127.0.0.1:5432/shoal", .max = 4096, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "A PostgreSQL connection URI or string as libpq takes it. PostgreSQL 9.4 or later, also through PgBouncer in transaction mode." },
	{ .section = "database", .name = "password", .type = CONF_STRING, .offset = S(database_password),
	  .def = "", .max = 1024, .flags = CONF_RELOAD | CONF_SECRET, .file_offset = S(database_password_file),
	  .help = "The password, when it is not part of the url. From password_file it is read again at each connect, so that a rotated password needs no reload." },
	{ .section = "database", .name = "migrate_url", .type = CONF_STRING, .offset = S(database_migrate_url),
	  .def = "", .max = 4096, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "A direct way to the database for changing the schema, when url leads through a pooler or to a role that may not. Empty: url." },
	{ .section = "database", .name = "migrate", .type = CONF_BOOL, .offset = S(database_migrate),
	  .def = "yes",
	  .help = "Whether a starting node brings the schema up to date by itself. If not, shoald --migrate does." },
	{ .section = "database", .name = "prepared_statements", .type = CONF_BOOL, .offset = S(database_prepared),
	  .def = "yes", .flags = CONF_RELOAD,
	  .help = "Whether statements are prepared once a connection. No for PgBouncer before 1.21 in transaction mode." },
	{ .section = "database", .name = "connections", .type = CONF_INT, .offset = S(database_connections),
	  .def = "3", .min = 3, .max = 16, .unit = "connections", .flags = CONF_RELOAD,
	  .help = "Connections of one worker: one for submits, one for claims and finishes, the others for reads. The leading worker of the cluster has two more." },
	{ .section = "database", .name = "statement_timeout", .type = CONF_DURATION, .offset = S(database_statement_timeout_ms),
	  .def = "30s", .min = SECOND, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "A connection whose oldest statement has no answer after this long is closed and made again. Connections that callers wait for take 5s at most." },

	{ .section = "redis", .name = "url", .type = CONF_STRING, .offset = S(redis_url),
	  .def = "redis://127.0.0.1:6379/0", .max = 1024, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "redis://[[user]:password@]host[:port][/number], or unix:/path. rediss:// is the same with TLS; the server's certificate must name the host. Redis 3.2.4 or later, cluster mode off." },
	{ .section = "redis", .name = "username", .type = CONF_STRING, .offset = S(redis_username),
	  .def = "", .max = 128, .flags = CONF_RELOAD,
	  .help = "An ACL user, when it is not part of the url." },
	{ .section = "redis", .name = "password", .type = CONF_STRING, .offset = S(redis_password),
	  .def = "", .max = 1024, .flags = CONF_RELOAD | CONF_SECRET, .file_offset = S(redis_password_file),
	  .help = "The password, when it is not part of the url. From password_file it is read again at each connect, so that a rotated password needs no reload." },
	{ .section = "redis", .name = "ca_file", .type = CONF_STRING, .offset = S(redis_ca_file),
	  .def = "", .max = 4096, .flags = CONF_RELOAD,
	  .help = "Certificate authorities in PEM that the servers of a rediss:// url must be vouched for by. Empty: those that the system trusts." },
	{ .section = "redis", .name = "certificate", .type = CONF_STRING, .offset = S(redis_certificate),
	  .def = "", .max = 4096, .flags = CONF_RELOAD,
	  .help = "A client certificate in PEM, with its chain, where the server asks for one." },
	{ .section = "redis", .name = "key", .type = CONF_STRING, .offset = S(redis_key),
	  .def = "", .max = 4096, .flags = CONF_RELOAD,
	  .help = "The file of the certificate's key in PEM, without a passphrase, readable by its owner and group at most." },
	{ .section = "redis", .name = "sentinels", .type = CONF_STRING, .offset = S(redis_sentinels),
	  .def = "", .max = 4096, .flags = CONF_RELOAD,
	  .help = "Redis Sentinel servers, as host, host:port or [address]:port, separated by commas; the port is 26379 unless given. They are asked where the primary is, and the host and port of redis.url are not used; its host is still a name that certificates may bear." },
	{ .section = "redis", .name = "sentinel_master", .type = CONF_STRING, .offset = S(redis_sentinel_master),
	  .def = "", .max = 256, .flags = CONF_RELOAD,
	  .help = "The name that the sentinels have for the primary." },
	{ .section = "redis", .name = "sentinel_username", .type = CONF_STRING, .offset = S(redis_sentinel_username),
	  .def = "", .max = 128, .flags = CONF_RELOAD,
	  .help = "An ACL user of the sentinels." },
	{ .section = "redis", .name = "sentinel_password", .type = CONF_STRING, .offset = S(redis_sentinel_password),
	  .def = "", .max = 1024, .flags = CONF_RELOAD | CONF_SECRET, .file_offset = S(redis_sentinel_password_file),
	  .help = "The sentinels' password, where they have one. Read again like redis.password." },

	{ .section = "tasks", .name = "max_payload", .type = CONF_SIZE, .offset = S(tasks_max_payload_bytes),
	  .def = "256KiB", .min = KIB, .max = MIB, .flags = CONF_RELOAD,
	  .help = "Largest payload of a task." },
	{ .section = "tasks", .name = "max_result", .type = CONF_SIZE, .offset = S(tasks_max_result_bytes),
	  .def = "1MiB", .min = KIB, .max = 4 * MIB, .flags = CONF_RELOAD,
	  .help = "Largest result of a task. A longer one fails its attempt for good." },
	{ .section = "tasks", .name = "max_attempts", .type = CONF_INT, .offset = S(tasks_max_attempts),
	  .def = "25", .min = 1, .max = 1000, .unit = "attempts", .flags = CONF_RELOAD,
	  .help = "Attempts of a task that says nothing else. Attempts lost to a dead worker or node do not count." },
	{ .section = "tasks", .name = "priority_aging", .type = CONF_DURATION, .offset = S(tasks_priority_aging_ms),
	  .def = "30s", .min = 0, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "How much one step of priority is worth in waiting time: a task of priority 5 that has waited this much longer goes level with one of priority 4." },
	{ .section = "tasks", .name = "keep_finished", .type = CONF_DURATION, .offset = S(tasks_keep_finished_ms),
	  .def = "7d", .min = 0, .max = 3650 * DAY, .flags = CONF_RELOAD,
	  .help = "How long tasks are kept after they succeeded, were cancelled or expired. Soon afterwards, usually within two hours, they are removed and are not found any more, like tasks that never were. At least 1min; 0 keeps them for ever. The leading node's value counts: give every node the same." },
	{ .section = "tasks", .name = "keep_failed", .type = CONF_DURATION, .offset = S(tasks_keep_failed_ms),
	  .def = "30d", .min = 0, .max = 3650 * DAY, .flags = CONF_RELOAD,
	  .help = "The same for tasks that failed. At least 1min; 0 keeps them for ever." },
	{ .section = "tasks", .name = "keep_size", .type = CONF_SIZE, .offset = S(tasks_keep_size_bytes),
	  .def = "10GiB", .min = 0, .max = 1024 * 1024 * GIB, .flags = CONF_RELOAD,
	  .help = "How large the table of tasks may get, with its indexes, by an estimate from PostgreSQL's statistics. When all tasks together take more, finished ones are removed before keep_finished is over, the oldest first, but none within 10min of its end; failed ones and those of queues with times of their own stay. 0: no limit." },

	{ .section = "egress", .name = "allow_networks", .type = CONF_STRING, .offset = S(egress_allow_networks), .def = "",
	  .max = 4096, .flags = CONF_RELOAD,
	  .help = "Networks that requests may go to although they are not reached by the whole internet, as addresses with prefix lengths, separated by commas: for servers inside your own network. Without it loopback, private, link-local and reserved addresses are refused, and so are this node's own and those of PostgreSQL and Redis." },
	{ .section = "egress", .name = "deny_networks", .type = CONF_STRING, .offset = S(egress_deny_networks), .def = "",
	  .max = 4096, .flags = CONF_RELOAD,
	  .help = "Networks that requests never go to, whatever allow_networks says." },
	{ .section = "egress", .name = "ports", .type = CONF_STRING, .offset = S(egress_ports), .def = "80, 443, 8080, 8443",
	  .max = 512, .flags = CONF_RELOAD,
	  .help = "Ports that requests may go to, separated by commas, 64 at most." },
	{ .section = "egress", .name = "ca_file", .type = CONF_STRING, .offset = S(egress_ca_file), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "A PEM file with the certificate authorities that servers' certificates must come from. Empty: those of the system." },
	{ .section = "egress", .name = "connect_timeout", .type = CONF_DURATION, .offset = S(egress_connect_timeout_ms), .def = "5s",
	  .min = 100, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "How long resolving the name, and then connecting with TLS, may take each." },
	{ .section = "egress", .name = "idle_timeout", .type = CONF_DURATION, .offset = S(egress_idle_timeout_ms), .def = "10s",
	  .min = 100, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "An answer that has begun and of which nothing comes for this long is given up." },
	{ .section = "egress", .name = "per_destination", .type = CONF_INT, .offset = S(egress_per_destination), .def = "32",
	  .min = 1, .max = 128, .unit = "requests", .flags = CONF_RELOAD,
	  .help = "Requests of one worker to one server (scheme, host and port) at a time, over all types. Also the places of an http type that does not set concurrency." },
	{ .section = "egress", .name = "breaker_faults", .type = CONF_INT, .offset = S(egress_breaker_faults), .def = "10",
	  .min = 0, .max = 1000, .unit = "faults", .flags = CONF_RELOAD,
	  .help = "After this many requests in a row that had no answer or a 5xx one, a worker leaves a type's endpoint alone for a while. Its tasks stay queued meanwhile, at no cost to their attempts. 0: never." },
	{ .section = "egress", .name = "breaker_pause", .type = CONF_DURATION, .offset = S(egress_breaker_pause_ms), .def = "10s",
	  .min = 100, .max = 5 * MINUTE, .flags = CONF_RELOAD,
	  .help = "How long, at first. Then one request goes; while that fails the pause doubles, up to 5min." },

	{ .section = "secrets", .name = "key_file", .type = CONF_STRING, .offset = S(secrets_key_file), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "A file with the keys that the secrets of applications' endpoints are encrypted with in the database, the same on all nodes: one key a line, an id and the base64 of 32 random bytes, as 'k1 ' and the output of openssl rand -base64 32. The first key encrypts, all of them decrypt. Nobody but its owner and group may reach it, and the node's user must be able to read it. Empty: applications can have no endpoints." },

	{ .section = "dev", .name = "postgres_bin", .type = CONF_STRING, .offset = S(dev_postgres_bin), .def = "",
	  .help = "The directory with initdb and postgres. Empty: the newest under /usr/lib/postgresql, then PATH." },
	{ .section = "dev", .name = "redis_server", .type = CONF_STRING, .offset = S(dev_redis_server), .def = "",
	  .help = "The redis-server to start. Empty: the one in PATH." },
	{ .section = "dev", .name = "fsync", .type = CONF_BOOL, .offset = S(dev_fsync), .def = "yes",
	  .help = "Whether the private PostgreSQL writes durably. Benchmarks leave it on." },

	{ .section = "type:", .name = "handler", .type = CONF_ENUM, .offset = T(handler), .def = "exec",
	  .choices = handler_choices, .flags = CONF_RELOAD,
	  .help = "exec runs a command for each task; stream hands tasks to children of a command that stay, as docs/stream-protocol.md tells; http posts each task to a URL. Tasks of a pull type are leased over HTTP by workers of the applications. builtin is for the types shoal.noop, shoal.echo, shoal.sleep, shoal.fail and shoal.webhook, which need no section." },
	{ .section = "type:", .name = "command", .type = CONF_STRING, .offset = T(command), .def = "",
	  .max = 4096, .flags = CONF_RELOAD,
	  .help = "The command of an exec or stream type, with an absolute path. Split at spaces, double quotes group; no shell. One of an exec type gets the payload on standard input and SHOAL_* in its environment." },
	{ .section = "type:", .name = "url", .type = CONF_STRING, .offset = T(url), .def = "",
	  .max = 2048, .flags = CONF_RELOAD,
	  .help = "Where tasks of an http type are posted to, https:// or http://. The payload is the body; a 2xx answer's body is the result. Where it may lead is said in [egress]." },
	{ .section = "type:", .name = "secret", .type = CONF_STRING, .offset = T(secret), .def = "",
	  .max = 256, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "Signs the requests of an http type as Standard Webhooks does: whsec_ and the base64 of 24 to 64 random bytes. With two, separated by a space, each request has both signatures, so that receivers can go from one to the other. Empty: requests are not signed." },
	{ .section = "type:", .name = "headers", .type = CONF_STRING, .offset = T(headers), .def = "",
	  .max = 8192, .flags = CONF_RELOAD | CONF_SECRET,
	  .help = "Headers added to the requests of an http type, split as the command is: \"Authorization: Bearer abc\" \"X-Stage: test\". 16 at most." },
	{ .section = "type:", .name = "timeout", .type = CONF_DURATION, .offset = T(timeout_ms), .def = "0",
	  .min = 0, .max = 7 * DAY, .flags = CONF_RELOAD,
	  .help = "How long one attempt may take, 100ms at least. Then its process group gets TERM, and KILL after the grace; a request is dropped; of a stream type the child is told to cancel it, and replaced if it does not answer within the grace; a lease is not extended past it. A task may ask for less. 0: 15min, 30s for http types, and none for pull types." },
	{ .section = "type:", .name = "grace", .type = CONF_DURATION, .offset = T(grace_ms), .def = "10s",
	  .min = 0, .max = HOUR, .flags = CONF_RELOAD,
	  .help = "The time between TERM and KILL, or between cancel and the end of a stream type's child." },
	{ .section = "type:", .name = "concurrency", .type = CONF_INT, .offset = T(concurrency), .def = "0",
	  .min = 0, .max = 4096, .unit = "tasks", .flags = CONF_RELOAD,
	  .help = "Tasks of this type at a time on each worker. 0: as many as node.exec_slots allows; of an http type, egress.per_destination; of a stream type, as many as node.slots allows while they are short, and as many as its children work off in a moment when they are long." },
	{ .section = "type:", .name = "limit", .type = CONF_INT, .offset = T(limit), .def = "0",
	  .min = 0, .max = LIMIT_MAX, .unit = "tasks", .flags = CONF_RELOAD,
	  .help = "Tasks of this type at a time in the whole cluster; never more. 0: no limit. The word of the node that started last counts: give every node the same." },
	{ .section = "type:", .name = "rate", .type = CONF_STRING, .offset = T(rate), .def = "",
	  .max = 40, .flags = CONF_RELOAD,
	  .help = "Tasks of this type that start in a period in the whole cluster, for example 100/1s. The period is from 1s to 1d. Empty: no limit. As for limit, the node that started last decides." },
	{ .section = "type:", .name = "max_attempts", .type = CONF_INT, .offset = T(max_attempts), .def = "0",
	  .min = 0, .max = 1000, .unit = "attempts", .flags = CONF_RELOAD,
	  .help = "Attempts of a task that says nothing else. 0: tasks.max_attempts." },
	{ .section = "type:", .name = "backoff", .type = CONF_STRING, .offset = T(backoff), .def = "",
	  .max = 255, .flags = CONF_RELOAD,
	  .help = "How long a task rests after a failed attempt, unless it says so itself: polynomial; exponential base=10s factor=2 cap=1h jitter=20%; fixed delay=1min jitter=20%; or a list of seconds, [5,60,600], whose last repeats. Jitter takes off up to that share. Empty: polynomial, n^4 + 15 s and up to 10 (n + 1) s." },
	{ .section = "type:", .name = "max_output", .type = CONF_SIZE, .offset = T(max_output_bytes), .def = "1MiB",
	  .min = KIB, .max = 4 * MIB, .flags = CONF_RELOAD,
	  .help = "How much of standard output, or of an answer, is taken as the result. More fails the attempt for good." },
	{ .section = "type:", .name = "directory", .type = CONF_STRING, .offset = T(directory), .def = "",
	  .max = 1000, .flags = CONF_RELOAD,
	  .help = "The command's working directory. Empty: a new one for each attempt, the command's alone, below node.temporary; TMPDIR and HOME name it, and it is removed with all that is in it when the attempt has ended." },
	{ .section = "type:", .name = "environment", .type = CONF_STRING, .offset = T(environment), .def = "",
	  .max = 16384, .flags = CONF_RELOAD,
	  .help = "NAME=VALUE words for the command's environment, split as the command is. Nothing is inherited but PATH=/usr/local/bin:/usr/bin:/bin." },
	{ .section = "type:", .name = "user", .type = CONF_STRING, .offset = T(user), .def = "",
	  .max = 64, .flags = CONF_RELOAD,
	  .help = "The user that the command runs as, without supplementary groups. Needs a node that is started as root; of its processes only master and spawner stay root then. Empty: the node's own." },
	{ .section = "type:", .name = "group", .type = CONF_STRING, .offset = T(group), .def = "",
	  .max = 64, .flags = CONF_RELOAD,
	  .help = "The group that the command runs as. Needs a user. Empty: the user's." },
	{ .section = "type:", .name = "max_cpu", .type = CONF_DURATION, .offset = T(max_cpu_ms), .def = "0",
	  .min = 0, .max = 7 * DAY, .flags = CONF_RELOAD,
	  .help = "Processor time that one process of the command may use, in whole seconds; then it is killed. 0: no limit." },
	{ .section = "type:", .name = "max_memory", .type = CONF_SIZE, .offset = T(max_memory_bytes), .def = "0",
	  .min = 0, .max = 1024 * GIB, .flags = CONF_RELOAD,
	  .help = "Address space of one process of the command; what asks for more gets none. 0: no limit." },
	{ .section = "type:", .name = "max_file_size", .type = CONF_SIZE, .offset = T(max_file_size_bytes), .def = "0",
	  .min = 0, .max = 1024 * GIB, .flags = CONF_RELOAD,
	  .help = "Largest file that the command may write; then it gets XFSZ. 0: no limit." },
	{ .section = "type:", .name = "max_processes", .type = CONF_INT, .offset = T(max_processes), .def = "0",
	  .min = 0, .max = 65536, .unit = "processes", .flags = CONF_RELOAD,
	  .help = "Processes and threads that the command's user may have at once, over everything that runs as that user: give the type a user of its own. root is not bound by it. 0: no limit." },
	{ .section = "type:", .name = "max_open_files", .type = CONF_INT, .offset = T(max_open_files), .def = "0",
	  .min = 0, .max = 1048576, .unit = "files", .flags = CONF_RELOAD,
	  .help = "Descriptors that one process of the command may have open, at least 16. 0: no limit." },
	{ .section = "type:", .name = "group_memory", .type = CONF_SIZE, .offset = T(group_memory_bytes), .def = "0",
	  .min = 0, .max = 1024 * GIB, .flags = CONF_RELOAD,
	  .help = "Memory that all processes of one command may have together, without swap; when they want more all of them are killed. 1MiB at least. Like group_processes and group_cpu it is kept by a control group of version 2 for each command, which needs a node that has such groups to itself: a systemd service with Delegate=yes. A node that cannot keep it does not start. 0: no limit." },
	{ .section = "type:", .name = "group_processes", .type = CONF_INT, .offset = T(group_processes), .def = "0",
	  .min = 0, .max = 65536, .unit = "processes", .flags = CONF_RELOAD,
	  .help = "Processes and threads that one command may have at once, whoever it runs as. 0: no limit." },
	{ .section = "type:", .name = "group_cpu", .type = CONF_INT, .offset = T(group_cpu_percent), .def = "0",
	  .min = 0, .max = 100000, .unit = "percent", .flags = CONF_RELOAD,
	  .help = "How much of one processor all processes of one command may use together: 150 is one and a half. 0: no limit." },
	{ .section = "type:", .name = "nice", .type = CONF_INT, .offset = T(nice), .def = "0",
	  .min = -20, .max = 19, .unit = "steps", .flags = CONF_RELOAD,
	  .help = "Added to the command's niceness: 19 runs when nobody else wants to. Less than 0 needs root." },
	{ .section = "type:", .name = "allow_read", .type = CONF_STRING, .offset = T(allow_read), .def = "",
	  .max = 4096, .flags = CONF_RELOAD,
	  .help = "Files and directories that the command may read and execute, split as the command is. With this or allow_write set it sees these, the system's programs and libraries and its private directory, and nothing else (Landlock). Both empty: whatever its user may." },
	{ .section = "type:", .name = "allow_write", .type = CONF_STRING, .offset = T(allow_write), .def = "",
	  .max = 4096, .flags = CONF_RELOAD,
	  .help = "Files and directories that the command may read and write, split as the command is; see allow_read." },
	{ .section = "type:", .name = "seccomp", .type = CONF_ENUM, .offset = T(seccomp), .def = "none",
	  .choices = seccomp_choices, .flags = CONF_RELOAD,
	  .help = "System calls that fail for the command. default: administration, tracing, name spaces, keys and the like. no-network: these, and sockets that are not local. none: nothing beyond what its user may not." },
	{ .section = "type:", .name = "children", .type = CONF_INT, .offset = T(children), .def = "1",
	  .min = 1, .max = 64, .unit = "processes", .flags = CONF_RELOAD,
	  .help = "Children of a stream type on each worker. Each says how many tasks it takes at a time." },
	{ .section = "type:", .name = "recycle_tasks", .type = CONF_INT, .offset = T(recycle_tasks), .def = "0",
	  .min = 0, .max = INT64_MAX, .unit = "tasks", .flags = CONF_RELOAD,
	  .help = "A child of a stream type that was given this many tasks finishes them and is replaced. 0: never." },
	{ .section = "type:", .name = "recycle_memory", .type = CONF_SIZE, .offset = T(recycle_memory_bytes), .def = "0",
	  .min = 0, .max = 64 * GIB, .flags = CONF_RELOAD,
	  .help = "A child of a stream type whose resident memory grows past this finishes its tasks and is replaced. 0: never." },
	{ .section = "type:", .name = "hang_timeout", .type = CONF_DURATION, .offset = T(hang_timeout_ms), .def = "30s",
	  .min = 0, .max = DAY, .flags = CONF_RELOAD,
	  .help = "A child of a stream type of which nothing is heard for this long, not even an answer to a ping, is killed and replaced. From 1s on; 0: never." },

	{ .section = "queue:", .name = "priority", .type = CONF_INT, .offset = Q(priority), .def = "5",
	  .min = 0, .max = 9, .flags = CONF_RELOAD,
	  .help = "The priority of tasks that say nothing else. 0 goes first, 5 is normal." },
	{ .section = "queue:", .name = "pool", .type = CONF_STRING, .offset = Q(pool), .def = "",
	  .max = 64, .flags = CONF_RELOAD,
	  .help = "The pool of the queues of this name, of all applications: only nodes that have it among their node.pools run their tasks. What an application has set for its queue goes first. The word of the node that started last counts: give every node the same. Empty: this node says nothing; a queue of which nobody has said anything is in main." },
};
/* clang-format on */

const struct conf_schema settings_schema = {
    .sections = sections,
    .section_count = COUNT_OF(sections),
    .keys = keys,
    .key_count = COUNT_OF(keys),
    .env_prefix = "SHOALD_",
    .secret_file = secret_file_note,
};

const char *
handler_kind_name(enum handler_kind kind)
{
	if ((int)kind < 0 || kind >= COUNT_OF(handler_choices) - 1)
		return "unknown";
	return handler_choices[kind];
}

static void *
type_get(void *settings, const char *name, struct err *err)
{
	struct settings *s = settings;
	struct type_settings *t;

	TAILQ_FOREACH (t, &s->types, link) {
		if (str_eq(t->type, name))
			return t;
	}
	if (name_check("task type", name, strlen(name), err) != 0)
		return NULL;
	t = mem_zero(sizeof(*t));
	if (t == NULL || (t->type = mem_strdup(name)) == NULL) {
		mem_free(t);
		err_set(err, ERR_NOMEM, "section type:%s", name);
		return NULL;
	}
	if (conf_section_defaults(&settings_schema, "type:", t, err) != 0) {
		conf_section_fini(&settings_schema, "type:", t);
		mem_free(t->type);
		mem_free(t);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&s->types, t, link);
	return t;
}

static void *
queue_get(void *settings, const char *name, struct err *err)
{
	struct settings *s = settings;
	struct queue_settings *q;

	TAILQ_FOREACH (q, &s->queues, link) {
		if (str_eq(q->queue, name))
			return q;
	}
	if (name_check("queue", name, strlen(name), err) != 0)
		return NULL;
	q = mem_zero(sizeof(*q));
	if (q == NULL || (q->queue = mem_strdup(name)) == NULL) {
		mem_free(q);
		err_set(err, ERR_NOMEM, "section queue:%s", name);
		return NULL;
	}
	if (conf_section_defaults(&settings_schema, "queue:", q, err) != 0) {
		conf_section_fini(&settings_schema, "queue:", q);
		mem_free(q->queue);
		mem_free(q);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&s->queues, q, link);
	return q;
}

static void
secret_file_free(struct secret_file *f)
{
	mem_free(f->key);
	mem_free(f->path);
	mem_free(f);
}

/* a later source wins, as it does for the secret itself */
static int
secret_file_note(void *settings, const struct conf_key *key, const char *family_name,
    const char *path, struct err *err)
{
	struct settings *s = settings;
	struct secret_file *f = mem_zero(sizeof(*f)), *old, *next;
	char name[256];

	snprintf(name, sizeof(name), "%s%s.%s", key->section,
	    family_name != NULL ? family_name : "", key->name);
	if (f == NULL || (f->key = mem_strdup(name)) == NULL ||
	    (f->path = mem_strdup(path)) == NULL) {
		if (f != NULL)
			secret_file_free(f);
		return err_set(err, ERR_NOMEM, "%s", name);
	}
	for (old = TAILQ_FIRST(&s->secret_files); old != NULL; old = next) {
		next = TAILQ_NEXT(old, link);
		if (!str_eq(old->key, name))
			continue;
		TAILQ_REMOVE(&s->secret_files, old, link);
		secret_file_free(old);
	}
	TAILQ_INSERT_TAIL(&s->secret_files, f, link);
	return 0;
}

struct settings *
settings_create(struct err *err)
{
	struct settings *s = mem_zero(sizeof(*s));

	if (s == NULL) {
		err_set(err, ERR_NOMEM, "settings");
		return NULL;
	}
	TAILQ_INIT(&s->types);
	TAILQ_INIT(&s->queues);
	TAILQ_INIT(&s->secret_files);
	if (conf_defaults(&settings_schema, s, err) != 0) {
		settings_free(s);
		return NULL;
	}
	return s;
}

void
settings_free(struct settings *s)
{
	struct type_settings *t;
	struct queue_settings *q;
	struct secret_file *f;

	if (s == NULL)
		return;
	while ((f = TAILQ_FIRST(&s->secret_files)) != NULL) {
		TAILQ_REMOVE(&s->secret_files, f, link);
		secret_file_free(f);
	}
	while ((t = TAILQ_FIRST(&s->types)) != NULL) {
		TAILQ_REMOVE(&s->types, t, link);
		conf_section_fini(&settings_schema, "type:", t);
		mem_free(t->type);
		mem_free(t);
	}
	while ((q = TAILQ_FIRST(&s->queues)) != NULL) {
		TAILQ_REMOVE(&s->queues, q, link);
		conf_section_fini(&settings_schema, "queue:", q);
		mem_free(q->queue);
		mem_free(q);
	}
	conf_fini(&settings_schema, s);
	mem_free(s);
}

static const char *
env_get(char *const env[], const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; env != NULL && env[i] != NULL; i++) {
		if (strncmp(env[i], name, len) == 0 && env[i][len] == '=')
			return env[i] + len + 1;
	}
	return NULL;
}

static void
fill_in(struct settings *s)
{
	struct type_settings *t;

	TAILQ_FOREACH (t, &s->types, link) {
		if (t->timeout_ms == 0 && t->handler != HANDLER_PULL)
			t->timeout_ms =
			    t->handler == HANDLER_HTTP ? 30 * SECOND : 15 * MINUTE;
	}
}

static int
load_sources(struct settings *s, const char *path, char *const env[],
    char *const options[], struct err *err)
{
	const char *text = env_get(env, "SHOALD_CONFIG");

	if (path != NULL) {
		if (conf_load_file(&settings_schema, s, path, err) != 0)
			return -1;
	} else if (text != NULL) {
		if (conf_load_text(&settings_schema, s, text, "SHOALD_CONFIG", err) !=
		    0)
			return -1;
	}
	if (conf_load_env(&settings_schema, s, env, err) != 0)
		return -1;
	for (size_t i = 0; options != NULL && options[i] != NULL; i++) {
		if (conf_set_option(&settings_schema, s, options[i], err) != 0)
			return err_wrap(err, "-o");
	}
	fill_in(s);
	return settings_check(s, err);
}

struct settings *
settings_load(
    const char *path, char *const env[], char *const options[], struct err *err)
{
	struct settings *s = settings_create(err);

	if (s == NULL)
		return NULL;
	if (load_sources(s, path, env, options, err) != 0) {
		settings_free(s);
		return NULL;
	}
	return s;
}

void
settings_dump(const struct settings *s, struct strbuf *out)
{
	const struct type_settings *t;
	const struct queue_settings *q;

	conf_dump(&settings_schema, s, out);
	TAILQ_FOREACH (t, &s->types, link)
		conf_dump_section(&settings_schema, "type:", t->type, t, out);
	TAILQ_FOREACH (q, &s->queues, link)
		conf_dump_section(&settings_schema, "queue:", q->queue, q, out);
}

bool
settings_tls(const struct settings *s, struct tls_opts *opts)
{
	*opts = (struct tls_opts){
	    .certificates = s->tls_certificates,
	    .clients = (enum tls_clients)s->tls_client_certificates,
	    .client_ca = s->tls_client_ca,
	    .ticket_key_file = s->tls_ticket_key_file,
	    .only_1_3 = s->tls_min_version == 1,
	};
	return s->tls_certificates[strspn(s->tls_certificates, " \t,")] != '\0';
}

int
settings_worker_count(const struct settings *s)
{
	long n;

	if (s->node_workers > 0)
		return (int)s->node_workers;
	n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 64 ? 64 : (int)n;
}

static int
take_first(const struct listen_item *item, void *arg, struct err *err)
{
	(void)err;
	*(struct listen_item *)arg = *item;
	return -1; /* the others are not asked for */
}

char *
settings_url(const struct settings *s, char buf[SETTINGS_URL_SIZE])
{
	size_t first = strcspn(s->listen_applications, ",");
	const char *port = memrchr(s->listen_applications, ':', first);
	struct listen_item item = {.tls = false};
	int len;

	/* an empty list, which settings_check does not let pass, has no first */
	if (listen_each(s->listen_applications, take_first, &item, NULL) == 0)
		item.tls = false;
	if (s->cluster_url[0] != '\0')
		len = snprintf(buf, SETTINGS_URL_SIZE, "%s", s->cluster_url);
	else
		len = snprintf(buf, SETTINGS_URL_SIZE, "%s://%s",
		    item.tls ? "https" : "http", s->cluster_hostname);
	/* (a listener at a path has no port) */
	if (s->cluster_url[0] == '\0' && port != NULL) {
		const char *usual = item.tls ? "443" : "80";
		size_t digits = strspn(port + 1, "0123456789");

		if (digits > 0 &&
		    (digits != strlen(usual) || strncmp(port + 1, usual, digits) != 0))
			len += snprintf(buf + len, SETTINGS_URL_SIZE - (size_t)len,
			    ":%.*s", (int)digits, port + 1);
	}
	while (len > 0 && buf[len - 1] == '/')
		buf[--len] = '\0';
	return buf;
}
