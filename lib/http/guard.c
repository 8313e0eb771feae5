/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.c - which addresses requests may go to; see guard.h.
 *
 * The table names every block of the special-purpose registries of IANA that is not
 * reached by the whole internet.  IPv6 is read the other way round as well: outside
 * 2000::/3 nothing is global, so what the table does not know there is refused too.
 */
#include "http/guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cidr.h"
#include "base/mem.h"
#include "base/str.h"

#define PORTS_MOST 64

static const struct {
	const char *network, *why;
} blocks[] = {
    {"0.0.0.0/8", "this network"},
    {"10.0.0.0/8", "private"},
    {"100.64.0.0/10", "shared by carriers"},
    {"127.0.0.0/8", "loopback"},
    {"169.254.0.0/16", "link-local, cloud metadata"},
    {"172.16.0.0/12", "private"},
    {"192.0.0.0/24", "protocol assignments"},
    {"192.0.2.0/24", "documentation"},
    {"192.88.99.0/24", "6to4 relays"},
    {"192.168.0.0/16", "private"},
    {"198.18.0.0/15", "benchmarks"},
    {"198.51.100.0/24", "documentation"},
    {"203.0.113.0/24", "documentation"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
    {"::/96", "unspecified, loopback or IPv4 in IPv6"},
    {"64:ff9b:1::/48", "local NAT64"},
    {"100::/64", "discard"},
    {"2001::/23", "protocol assignments, Teredo"},
    {"2001:db8::/32", "documentation"},
    {"2002::/16", "6to4"},
    {"3fff::/20", "documentation"},
    {"5f00::/16", "segment routing"},
    {"fc00::/7", "private"},
    {"fe80::/10", "link-local"},
    {"fec0::/10", "site-local"},
    {"ff00::/8", "multicast"},
};

/* the first 96 bits of addresses that have an IPv4 address as their last 32 */
static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};

struct guard {
	struct cidr_list allow, deny;
	struct cidr block[COUNT_OF(blocks)];
	struct cidr global; /* outside it nothing of IPv6 is */
	uint16_t ports[PORTS_MOST];
	size_t port_count;
	struct cidr node[GUARD_OWN_MOST]; /* this node's interfaces */
	size_t node_count;
	struct cidr own[GUARD_OWN_MOST];
	size_t own_count;
};

static int
read_ports(struct guard *g, const char *text, struct err *err)
{
	char *copy = mem_strdup(text), *rest = copy, *word;
	int64_t port;
	int rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "list of ports");
	while (rc == 0 && (word = strsep(&rest, ",")) != NULL) {
		word = str_trim(word);
		if (*word == '\0')
			continue;
		if (str_to_i64(word, &port) != 0 || port < 1 || port > 65535)
			rc = err_set(err, ERR_INVALID,
			    "'%.20s' is no port number from 1 to 65535", word);
		else if (g->port_count == PORTS_MOST)
			rc =
			    err_set(err, ERR_INVALID, "more than %d ports", PORTS_MOST);
		else
			g->ports[g->port_count++] = (uint16_t)port;
	}
	mem_free(copy);
	return rc;
}

/* false: neither IPv4 nor IPv6 */
static bool
take_sockaddr(const struct sockaddr *sa, struct cidr *c)
{
	memset(c, 0, sizeof(*c));
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in4 = (const void *)sa;

		memcpy(c->addr, &in4->sin_addr, 4);
		c->bits = 32;
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		memcpy(c->addr, &in6->sin6_addr, 16);
		c->v6 = true;
		c->bits = 128;
		return true;
	}
	return false;
}

struct guard *
guard_create(const struct guard_opts *opts, struct err *err)
{
	struct guard *g = mem_zero(sizeof(*g));

	if (g == NULL) {
		err_set(err, ERR_NOMEM, "guard");
		return NULL;
	}
	if (cidr_list_parse(opts->allow, &g->allow, err) != 0) {
		err_wrap(err, "allow_networks");
		goto fail;
	}
	if (cidr_list_parse(opts->deny, &g->deny, err) != 0) {
		err_wrap(err, "deny_networks");
		goto fail;
	}
	if (read_ports(g, opts->ports, err) != 0) {
		err_wrap(err, "ports");
		goto fail;
	}
	for (size_t i = 0; i < COUNT_OF(blocks); i++) {
		if (cidr_parse(blocks[i].network, &g->block[i], err) != 0)
			goto fail;
	}
	if (cidr_parse("2000::/3", &g->global, err) != 0)
		goto fail;
	return g;
fail:
	guard_free(g);
	return NULL;
}

void
guard_free(struct guard *g)
{
	if (g == NULL)
		return;
	cidr_list_fini(&g->allow);
	cidr_list_fini(&g->deny);
	mem_free(g);
}

int
guard_add_interfaces(struct guard *g, struct err *err)
{
	struct ifaddrs *list, *i;

	g->node_count = 0;
	if (getifaddrs(&list) != 0)
		return err_errno(
		    err, errno, "this node's own addresses cannot be read");
	for (i = list; i != NULL && g->node_count < GUARD_OWN_MOST; i = i->ifa_next) {
		if (i->ifa_addr != NULL &&
		    take_sockaddr(i->ifa_addr, &g->node[g->node_count]))
			g->node_count++;
	}
	freeifaddrs(list);
	return 0;
}

int
guard_set_own(struct guard *g, const struct addr *addrs, size_t count, struct err *err)
{
	if (count > GUARD_OWN_MOST)
		return err_set(
		    err, ERR_LIMIT, "more than %d addresses", GUARD_OWN_MOST);
	g->own_count = 0;
	for (size_t i = 0; i < count; i++) {
		if (take_sockaddr(&addrs[i].sa, &g->own[g->own_count]))
			g->own_count++;
	}
	return 0;
}

static bool
is_one_of(const struct cidr *list, size_t count, const struct cidr *a)
{
	for (size_t i = 0; i < count; i++) {
		if (cidr_has(&list[i], a->addr, a->v6))
			return true;
	}
	return false;
}

static const char *
judge(const struct guard *g, const struct cidr *a)
{
	if (cidr_list_has_bytes(&g->deny, a->addr, a->v6))
		return "denied by deny_networks";
	if (cidr_list_has_bytes(&g->allow, a->addr, a->v6))
		return NULL;
	if (is_one_of(g->node, g->node_count, a))
		return "this node";
	if (is_one_of(g->own, g->own_count, a))
		return "one of the stores";
	for (size_t i = 0; i < COUNT_OF(blocks); i++) {
		if (cidr_has(&g->block[i], a->addr, a->v6))
			return blocks[i].why;
	}
	if (a->v6 && !cidr_has(&g->global, a->addr, true))
		return "not global";
	return NULL;
}

static const char *
judge_either(const struct guard *g, const struct cidr *a)
{
	struct cidr inner = {.bits = 32};

	if (a->v6 && memcmp(a->addr, mapped, sizeof(mapped)) == 0) {
		memcpy(inner.addr, a->addr + 12, 4);
		return judge(g, &inner);
	}
	if (a->v6 && memcmp(a->addr, nat64, sizeof(nat64)) == 0) {
		/* the network as such may be denied or allowed, too */
		if (cidr_list_has_bytes(&g->deny, a->addr, true))
			return "denied by deny_networks";
		if (cidr_list_has_bytes(&g->allow, a->addr, true))
			return NULL;
		memcpy(inner.addr, a->addr + 12, 4);
		return judge(g, &inner);
	}
	return judge(g, a);
}

const char *
guard_why_not(const struct guard *g, const struct addr *a)
{
	struct cidr c;

	if (!take_sockaddr(&a->sa, &c))
		return "no internet address";
	return judge_either(g, &c);
}

const char *
guard_why_not_text(const struct guard *g, const char *address)
{
	struct cidr c;

	if (strchr(address, '/') != NULL || cidr_parse(address, &c, NULL) != 0)
		return "no internet address";
	return judge_either(g, &c);
}

bool
guard_port(const struct guard *g, uint16_t port)
{
	for (size_t i = 0; i < g->port_count; i++) {
		if (g->ports[i] == port)
			return true;
	}
	return false;
}
