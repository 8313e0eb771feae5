/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgdial.c - from a connection string to a connected PGconn; see pgdial.h.
 *
 * What libpq would do by blocking is done here first: it gets each host by address
 * (hostaddr) with the name beside it, which TLS still checks.  A name with several
 * addresses becomes several hosts.  Its own connect_timeout is not honoured by
 * PQconnectPoll, hence our timer.
 *
 * libpq may change its socket within one PQconnectPoll (the next address, or no TLS
 * after all), and the number may stay the same while the socket is another.  So the
 * event is for one shot, never pending while libpq works, and made anew from PQsocket
 * after each poll.
 *
 * Left to others: whether the server is the right one (pgconn asks it), and when to try
 * again.
 */
#include "pg/pgdial.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"

#define DIAL_STAMP 0x50474449u /* PGDI */

#define HOSTS_MAX 16
#define ADDRS_MAX 48
/* keywords of one PQconnectStartParams, more than libpq knows */
#define KEYS_MAX 80
#define LIST_MAX ((size_t)ADDRS_MAX * 256)

struct host {
	struct pgdial *dial;
	/* borrowed from names; "" lets libpq choose its socket directory */
	const char *name;
	const char *port; /* borrowed from ports */
	const char *addr; /* borrowed from addrs: hostaddr as the url gives it, or "" */
	struct resolve *query; /* NULL: none open */
};

/* one attempt for libpq */
struct target {
	const struct host *host;
	char addr[INET6_ADDRSTRLEN]; /* "": a socket directory, or libpq's default */
};

struct pgdial {
	uint32_t stamp;
	struct loop *loop;   /* borrowed */
	struct resolver *rv; /* borrowed */
	pgdial_cb *cb;
	void *arg;
	int timeout_ms;
	char *app_name;
	char *password;		     /* NULL: what the url says */
	char *password_file;	     /* NULL: none */
	bool file_told;		     /* that it cannot be read */
	PQconninfoOption *info;	     /* the url taken apart */
	char *names, *addrs, *ports; /* comma lists, cut up for hosts */
	struct host hosts[HOSTS_MAX];
	size_t host_count;
	struct target targets[ADDRS_MAX];
	size_t target_count;
	size_t first;  /* where the next attempt begins; grows with each deadline */
	size_t asking; /* open queries */
	struct err resolve_err; /* the last name that failed */
	PGconn *conn;		/* while under way */
	struct event event;
	struct loop_timer *deadline;
	struct loop_defer *begin;
};

/* ---- the connection string ---------------------------------------------- */

static const char *
option(const PQconninfoOption *info, const char *keyword)
{
	for (; info->keyword != NULL; info++) {
		if (strcmp(info->keyword, keyword) == 0)
			return info->val != NULL ? info->val : "";
	}
	return "";
}

static void
info_free(PQconninfoOption *info)
{
	if (info == NULL)
		return;
	for (PQconninfoOption *o = info; o->keyword != NULL; o++) {
		if (o->val != NULL && o->dispchar[0] == '*')
			explicit_bzero(o->val, strlen(o->val));
	}
	PQconninfoFree(info);
}

/* the next element of a comma list that is cut up in place; "" after the last */
static const char *
list_next(char **list)
{
	char *element = *list, *comma;

	comma = strchr(element, ',');
	if (comma != NULL) {
		*comma = '\0';
		*list = comma + 1;
	} else {
		*list = element + strlen(element);
	}
	return element;
}

static size_t
list_count(const char *list)
{
	size_t count = 1;

	for (; *list != '\0'; list++)
		count += *list == ',';
	return count;
}

/* what the url, then libpq's environment, says */
static char *
location(const struct pgdial *d, const PQconninfoOption *defaults, const char *keyword)
{
	const char *value = option(d->info, keyword);

	return mem_strdup(value[0] != '\0' ? value : option(defaults, keyword));
}

static int
hosts_split(struct pgdial *d, struct err *err)
{
	PQconninfoOption *defaults = PQconndefaults();
	char *names, *addrs, *ports;
	size_t count, port_count;

	if (defaults == NULL)
		return err_set(err, ERR_NOMEM, "no memory for libpq's defaults");
	d->names = location(d, defaults, "host");
	d->addrs = location(d, defaults, "hostaddr");
	d->ports = location(d, defaults, "port");
	info_free(defaults);
	names = d->names;
	addrs = d->addrs;
	ports = d->ports;
	if (names == NULL || addrs == NULL || ports == NULL)
		return err_set(err, ERR_NOMEM, "no memory for the list of hosts");

	count = list_count(names[0] != '\0' ? names : addrs);
	port_count = list_count(ports);
	if (count > HOSTS_MAX)
		return err_set(err, ERR_INVALID, "more than %d hosts", HOSTS_MAX);
	if (names[0] != '\0' && addrs[0] != '\0' && list_count(addrs) != count)
		return err_set(err, ERR_INVALID, "host and hostaddr differ in length");
	if (port_count != 1 && port_count != count)
		return err_set(
		    err, ERR_INVALID, "%zu ports for %zu hosts", port_count, count);
	for (size_t i = 0; i < count; i++) {
		struct host *h = &d->hosts[i];

		h->dial = d;
		h->name = list_next(&names);
		h->addr = list_next(&addrs);
		h->port =
		    i == 0 || port_count > 1 ? list_next(&ports) : d->hosts[0].port;
		if (h->port[0] == '\0')
			h->port = "5432";
	}
	d->host_count = count;
	return 0;
}

/* ---- an attempt ----------------------------------------------------------- */

static void
halt(struct pgdial *d)
{
	loop_defer_stop(d->begin);
	loop_timer_stop(d->deadline);
	for (size_t i = 0; i < d->host_count; i++) {
		resolve_cancel(d->hosts[i].query);
		d->hosts[i].query = NULL;
	}
	d->asking = 0;
	event_del(&d->event);
	if (d->conn != NULL) {
		PQfinish(d->conn);
		d->conn = NULL;
	}
}

/* the last thing that a step does: the callback may free the dial */
static void
fail(struct pgdial *d, const struct err *err)
{
	struct err why = *err;

	halt(d);
	d->cb(NULL, &why, d->arg);
}

static void
fail_by_libpq(struct pgdial *d)
{
	struct err err;
	char text[400], clean[440];

	str_copy(text, sizeof(text), PQerrorMessage(d->conn));
	for (char *c = text; *c != '\0'; c++) {
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	}
	str_trim(text);
	str_printable(clean, sizeof(clean), text, strlen(text));
	err_set(&err, ERR_IO, "%s", clean);
	fail(d, &err);
}

static void socket_ready(evutil_socket_t fd, short what, void *arg);

static void
poll_step(struct pgdial *d, PostgresPollingStatusType status)
{
	PGconn *conn;
	short want;

	switch (status) {
	case PGRES_POLLING_READING:
		want = EV_READ;
		break;
	case PGRES_POLLING_WRITING:
		want = EV_WRITE;
		break;
	case PGRES_POLLING_OK:
		conn = d->conn;
		d->conn = NULL;
		halt(d);
		d->cb(conn, NULL, d->arg);
		return;
	default:
		fail_by_libpq(d);
		return;
	}
	if (event_assign(&d->event, loop_base(d->loop), PQsocket(d->conn), want,
		socket_ready, d) != 0 ||
	    event_add(&d->event, NULL) != 0) {
		struct err err;

		err_set(&err, ERR_NOMEM, "no memory to watch a socket");
		fail(d, &err);
	}
}

static void
socket_ready(evutil_socket_t fd, short what, void *arg)
{
	struct pgdial *d = arg;

	(void)fd;
	(void)what;
	STAMP_CHECK(d, DIAL_STAMP);
	poll_step(d, PQconnectPoll(d->conn));
}

struct params {
	const char *keys[KEYS_MAX];
	const char *values[KEYS_MAX];
	int count;
};

/* a later pair of the same keyword wins */
static void
param(struct params *ps, const char *key, const char *value)
{
	for (int i = 0; i < ps->count; i++) {
		if (strcmp(ps->keys[i], key) == 0) {
			ps->values[i] = value;
			return;
		}
	}
	if (ps->count == KEYS_MAX - 1)
		return;
	ps->keys[ps->count] = key;
	ps->values[ps->count] = value;
	ps->count++;
}

/* what the url may overrule */
static const char *const preferences[][2] = {
    /* a peer that vanished is noticed within half a minute */
    {"keepalives_idle", "15"},
    {"keepalives_interval", "5"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "10000"},
    /* Kerberos calls may block */
    {"gssencmode", "disable"},
};

/* such as a collation that is older than the system's; libpq would print it */
static void
on_notice(void *arg, const PGresult *res)
{
	const struct pgdial *d = arg;
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	char clean[400];

	if (text == NULL)
		return;
	str_printable(clean, sizeof(clean), text, strlen(text));
	log_debug(NULL, "postgresql notice while connecting", "as=\"%s\" text=\"%s\"",
	    d->app_name, clean);
}

static void
connect_targets(struct pgdial *d)
{
	struct params ps = {.count = 0};
	struct strbuf names, addrs, ports;
	struct err err;

	strbuf_init(&names, LIST_MAX);
	strbuf_init(&addrs, LIST_MAX);
	strbuf_init(&ports, LIST_MAX);
	for (size_t i = 0; i < d->target_count; i++) {
		const struct target *t = &d->targets[(d->first + i) % d->target_count];

		if (i > 0) {
			strbuf_putc(&names, ',');
			strbuf_putc(&addrs, ',');
			strbuf_putc(&ports, ',');
		}
		strbuf_puts(&names, t->host->name);
		strbuf_puts(&addrs, t->addr);
		strbuf_puts(&ports, t->host->port);
	}

	for (size_t i = 0; i < COUNT_OF(preferences); i++)
		param(&ps, preferences[i][0], preferences[i][1]);
	param(&ps, "application_name", d->app_name);
	/* a list is a primary and its standbys: let libpq walk past the latter */
	if (d->target_count > 1)
		param(&ps, "target_session_attrs", "read-write");
	for (const PQconninfoOption *o = d->info; o->keyword != NULL; o++) {
		if (o->val != NULL && o->val[0] != '\0')
			param(&ps, o->keyword, o->val);
	}
	if (d->password != NULL && d->password[0] != '\0')
		param(&ps, "password", d->password);
	param(&ps, "client_encoding", "UTF8");
	param(&ps, "host", names.data);
	param(&ps, "hostaddr", addrs.data);
	param(&ps, "port", ports.data);
	ps.keys[ps.count] = NULL;
	ps.values[ps.count] = NULL;

	if (!strbuf_failed(&names) && !strbuf_failed(&addrs) && !strbuf_failed(&ports))
		d->conn = PQconnectStartParams(ps.keys, ps.values, 0);
	PQsetNoticeReceiver(d->conn, on_notice, d);
	strbuf_fini(&names);
	strbuf_fini(&addrs);
	strbuf_fini(&ports);
	if (d->conn == NULL) {
		err_set(&err, ERR_NOMEM, "no memory for a connection");
		fail(d, &err);
	} else if (PQstatus(d->conn) == CONNECTION_BAD) {
		fail_by_libpq(d);
	} else {
		/* libpq: behave as if the first poll had asked to write */
		poll_step(d, PGRES_POLLING_WRITING);
	}
}

/* ---- names ---------------------------------------------------------------- */

/* keeps the url's order, though names are answered in any */
static void
target_add(struct pgdial *d, const struct host *h, const char *addr)
{
	size_t at = d->target_count;

	if (d->target_count == ADDRS_MAX)
		return;
	for (; at > 0 && d->targets[at - 1].host > h; at--)
		d->targets[at] = d->targets[at - 1];
	d->targets[at].host = h;
	str_copy(d->targets[at].addr, sizeof(d->targets[at].addr), addr);
	d->target_count++;
}

/* once the last name is answered */
static void
names_done(struct pgdial *d)
{
	if (d->asking > 0)
		return;
	if (d->target_count == 0)
		fail(d, &d->resolve_err);
	else
		connect_targets(d);
}

static void
name_resolved(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct host *h = arg;
	struct pgdial *d = h->dial;
	char text[INET6_ADDRSTRLEN];
	const void *bytes;

	STAMP_CHECK(d, DIAL_STAMP);
	h->query = NULL;
	d->asking--;
	if (err != NULL) {
		d->resolve_err = *err;
		err_wrap(&d->resolve_err, "resolving %s", h->name);
	}
	for (size_t i = 0; err == NULL && i < count; i++) {
		if (addrs[i].sa.sa_family == AF_INET)
			bytes = &((const struct sockaddr_in *)(const void *)&addrs[i])
				     ->sin_addr;
		else if (addrs[i].sa.sa_family == AF_INET6)
			bytes = &((const struct sockaddr_in6 *)(const void *)&addrs[i])
				     ->sin6_addr;
		else
			continue;
		if (inet_ntop(addrs[i].sa.sa_family, bytes, text, sizeof(text)) != NULL)
			target_add(d, h, text);
	}
	names_done(d);
}

static bool
is_numeric(const char *text)
{
	struct in6_addr a;

	return inet_pton(AF_INET, text, &a) == 1 || inet_pton(AF_INET6, text, &a) == 1;
}

static void
ask_names(void *arg)
{
	struct pgdial *d = arg;

	STAMP_CHECK(d, DIAL_STAMP);
	err_set(&d->resolve_err, ERR_IO, "no address for any host");
	for (size_t i = 0; i < d->host_count; i++) {
		struct host *h = &d->hosts[i];

		if (h->addr[0] != '\0') {
			target_add(d, h, h->addr);
		} else if (h->name[0] == '\0' || h->name[0] == '/' ||
			   h->name[0] == '@') {
			target_add(
			    d, h, ""); /* a unix socket, here or in the abstract */
		} else if (is_numeric(h->name)) {
			target_add(d, h, h->name);
		} else {
			/* half the time: with one dead name the others can still be
			 * tried */
			h->query = resolve_start(d->rv, h->name, 0, d->timeout_ms / 2,
			    name_resolved, h, &d->resolve_err);
			if (h->query != NULL)
				d->asking++;
		}
	}
	names_done(d);
}

static void
too_late(void *arg)
{
	struct pgdial *d = arg;
	struct err err;

	STAMP_CHECK(d, DIAL_STAMP);
	d->first++;
	err_set(&err, ERR_TIMEOUT, "no connection within %d ms", d->timeout_ms);
	fail(d, &err);
}

/* ---- life ----------------------------------------------------------------- */

static bool
copy_given(char **to, const char *text)
{
	if (text != NULL && text[0] != '\0')
		*to = mem_strdup(text);
	return text == NULL || text[0] == '\0' || *to != NULL;
}

struct pgdial *
pgdial_create(struct loop *l, struct resolver *rv, const struct pgdial_opts *opts,
    struct err *err)
{
	struct pgdial *d;
	struct strbuf app;
	char *why = NULL;

	d = mem_zero(sizeof(*d));
	if (d == NULL) {
		err_set(err, ERR_NOMEM, "no memory for a connection");
		return NULL;
	}
	d->stamp = DIAL_STAMP;
	d->loop = l;
	d->rv = rv;
	d->cb = opts->cb;
	d->arg = opts->arg;
	d->timeout_ms = opts->timeout_ms;
	/* so that event_del is always allowed */
	if (event_assign(&d->event, loop_base(l), -1, 0, socket_ready, d) != 0)
		goto nomem;
	d->deadline = loop_timer_create(l, too_late, d);
	d->begin = loop_defer_create(l, ask_names, d);
	strbuf_init(&app, 64);
	strbuf_printf(&app, "shoal %s", opts->name);
	d->app_name = strbuf_take(&app, NULL);
	strbuf_fini(&app);
	if (d->deadline == NULL || d->begin == NULL || d->app_name == NULL)
		goto nomem;
	if (!copy_given(&d->password, opts->password) ||
	    !copy_given(&d->password_file, opts->password_file))
		goto nomem;
	d->info = PQconninfoParse(opts->url, &why);
	if (d->info == NULL) {
		/* libpq's text may quote the url, and with it a password */
		err_set(
		    err, ERR_INVALID, "the postgresql url is not a connection string");
		PQfreemem(why);
		goto fail;
	}
	if (option(d->info, "service")[0] != '\0') {
		err_set(err, ERR_INVALID,
		    "the postgresql url names a service: write out what it stands for");
		goto fail;
	}
	if (hosts_split(d, err) != 0) {
		err_wrap(err, "postgresql url");
		goto fail;
	}
	return d;
nomem:
	err_set(err, ERR_NOMEM, "no memory for a connection");
fail:
	pgdial_free(d);
	return NULL;
}

void
pgdial_free(struct pgdial *d)
{
	if (d == NULL)
		return;
	STAMP_CHECK(d, DIAL_STAMP);
	if (d->deadline != NULL && d->begin != NULL)
		halt(d);
	loop_timer_free(d->deadline);
	loop_defer_free(d->begin);
	info_free(d->info);
	if (d->password != NULL)
		mem_free_secret(d->password, strlen(d->password));
	mem_free(d->password_file);
	mem_free(d->app_name);
	mem_free(d->names);
	mem_free(d->addrs);
	mem_free(d->ports);
	d->stamp = 0;
	mem_free(d);
}

/* a file that cannot be read leaves the password as it is, which may still be right */
static void
refresh_password(struct pgdial *d)
{
	struct err err = ERR_INIT;

	if (d->password_file == NULL)
		return;
	if (conf_refresh_secret(d->password_file, &d->password, &err) == 0) {
		d->file_told = false;
	} else if (!d->file_told) {
		d->file_told = true;
		log_warn(NULL,
		    "the password's file cannot be read again: a new one needs a "
		    "reload",
		    "as=\"%s\" reason=\"%s\"", d->app_name, err.text);
	}
}

void
pgdial_start(struct pgdial *d)
{
	STAMP_CHECK(d, DIAL_STAMP);
	halt(d);
	refresh_password(d);
	d->target_count = 0;
	loop_timer_start_ms(d->deadline, d->timeout_ms);
	loop_defer_start(d->begin);
}

void
pgdial_stop(struct pgdial *d)
{
	STAMP_CHECK(d, DIAL_STAMP);
	halt(d);
}

int
pgdial_watch(const struct pgdial *d, struct moved *m, struct err *err)
{
	for (size_t i = 0; i < d->host_count; i++) {
		const struct host *h = &d->hosts[i];
		const char *name = h->addr[0] != '\0' ? h->addr : h->name;

		if (name[0] != '\0' && name[0] != '/' && name[0] != '@' &&
		    moved_add(m, name, err) != 0)
			return -1;
	}
	return 0;
}
