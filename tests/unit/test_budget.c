/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_budget.c - what is judged of PostgreSQL, Redis and the ways to them before
 * anybody relies on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "broker/judge.h"
#include "store/budget.h"
#include "store/pgurl.h"

/* the finding whose text has this in it; NULL: none */
static const struct finding *
find(const struct findings *found, const char *part)
{
	for (size_t i = 0; i < found->count; i++) {
		if (strstr(found->list[i].text, part) != NULL)
			return &found->list[i];
	}
	return NULL;
}

static void
findings_have_a_bound_and_a_worst(void **state)
{
	struct findings found = {.count = 0};

	(void)state;
	assert_int_equal(findings_worst(&found), FINDING_FINE);
	for (int i = 0; i < FINDINGS_MOST + 3; i++)
		findings_add(&found, i == 5 ? FINDING_WARNING : FINDING_FINE, NULL,
		    "number %d", i);
	assert_int_equal(found.count, FINDINGS_MOST);
	assert_int_equal(found.left_out, 3);
	assert_int_equal(findings_worst(&found), FINDING_WARNING);
	assert_string_equal(found.list[5].remedy, "");
	assert_string_equal(finding_weight_name(FINDING_FAULT), "fault");
}

static struct budget_facts
good_facts(void)
{
	return (struct budget_facts){
	    .server_version = 150004,
	    .max_connections = 100,
	    .reserved = 3,
	    .others = 5,
	    .nodes = 3,
	    .workers = 4,
	    .connections = 3,
	};
}

static void
the_budget_is_nodes_times_workers_times_connections(void **state)
{
	struct budget_facts f = good_facts();
	struct findings found = {.count = 0};
	char text[BUDGET_TEXT_SIZE];
	struct budget b;

	(void)state;
	budget_count(&f, &b);
	assert_int_equal(b.a_worker, 4);
	assert_int_equal(b.a_node, 16);
	assert_int_equal(b.nodes, 48);
	assert_int_equal(b.all, 48 + 2 + 5);
	assert_int_equal(b.room, 97);
	assert_true(b.fits);
	assert_string_equal(budget_text(&f, text),
	    "connections at the most: 3 nodes x 4 workers x 4 = 48, the leader 2, "
	    "others now 5, together 55 of 97 (max_connections 100 - 3 reserved)");
	budget_judge(&f, &found);
	assert_int_equal(findings_worst(&found), FINDING_FINE);

	/* to the last connection, and one more */
	f.others = 47;
	budget_count(&f, &b);
	assert_true(b.fits);
	f.others = 48;
	budget_count(&f, &b);
	assert_false(b.fits);
	found.count = 0;
	budget_judge(&f, &found);
	assert_int_equal(find(&found, "too few")->weight, FINDING_WARNING);
	assert_non_null(strstr(find(&found, "too few")->remedy, "max_connections"));
}

static void
a_database_that_loses_or_refuses_is_told(void **state)
{
	static const struct {
		const char *part;
		enum finding_weight weight;
		size_t offset;
	} cases[] = {
	    {"read-only", FINDING_FAULT, offsetof(struct budget_facts, read_only)},
	    {"fsync is off", FINDING_WARNING, offsetof(struct budget_facts, fsync_off)},
	    {"synchronous_commit is off", FINDING_WARNING,
		offsetof(struct budget_facts, commit_off)},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct budget_facts f = good_facts();
		struct findings found = {.count = 0};

		*(bool *)(void *)((char *)&f + cases[i].offset) = true;
		budget_judge(&f, &found);
		assert_non_null(find(&found, cases[i].part));
		assert_int_equal(find(&found, cases[i].part)->weight, cases[i].weight);
		assert_true(find(&found, cases[i].part)->remedy[0] != '\0');
	}
}

static void
a_standby_that_may_lag_is_told_unless_it_may_not(void **state)
{
	struct budget_facts f = good_facts();
	struct findings found = {.count = 0};

	(void)state;
	f.standbys = 1;
	budget_judge(&f, &found);
	assert_non_null(find(&found, "1 standby follows asynchronously"));
	found.count = 0;
	f.synchronous_standbys = true;
	budget_judge(&f, &found);
	assert_int_equal(findings_worst(&found), FINDING_FINE);
	f.server_version = 90308;
	budget_judge(&f, &found);
	assert_int_equal(findings_worst(&found), FINDING_FAULT);
}

static void
ways_to_postgresql(void **state)
{
	static const struct {
		const char *url;
		enum pgurl_way way;
	} cases[] = {
	    {"postgresql://u@127.0.0.1:5432/d", PGURL_LOCAL},
	    {"postgresql://u@localhost/d", PGURL_LOCAL},
	    {"postgresql://u@[::1]/d", PGURL_LOCAL},
	    {"host=/run/postgresql dbname=d", PGURL_LOCAL},
	    {"dbname=d", PGURL_LOCAL},
	    {"host=db hostaddr=127.0.0.1", PGURL_LOCAL},
	    {"postgresql://u@db.example/d", PGURL_PLAIN},
	    {"postgresql://u@10.0.0.1/d?sslmode=prefer", PGURL_PLAIN},
	    {"postgresql://u@127.0.0.1,db2/d", PGURL_PLAIN}, /* one of them is enough */
	    {"host=localhost hostaddr=10.0.0.1", PGURL_PLAIN},
	    {"postgresql://u@db/d?sslmode=require", PGURL_UNCHECKED},
	    {"postgresql://u@db/d?sslmode=require&sslrootcert=/ca", PGURL_UNNAMED},
	    {"postgresql://u@db/d?sslmode=verify-ca", PGURL_UNNAMED},
	    {"postgresql://u@db,db2:5433/d?sslmode=verify-full", PGURL_VERIFIED},
	    {"postgresql://u@db/d?nonsense=1", PGURL_UNKNOWN},
	};

	(void)state;
	unsetenv("PGSSLMODE");
	unsetenv("PGHOST");
	unsetenv("PGHOSTADDR");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct findings found = {.count = 0};

		if (pgurl_way(cases[i].url) != cases[i].way)
			fail_msg("%s: %d", cases[i].url, (int)pgurl_way(cases[i].url));
		pgurl_judge("database.url", cases[i].url, &found);
		assert_int_equal(found.count, 1);
		if (cases[i].way == PGURL_UNKNOWN)
			assert_int_equal(findings_worst(&found), FINDING_FAULT);
		else
			assert_int_equal(findings_worst(&found) == FINDING_FINE,
			    cases[i].way == PGURL_LOCAL ||
				cases[i].way == PGURL_VERIFIED);
	}
	setenv("PGSSLMODE", "verify-full", 1);
	assert_int_equal(pgurl_way("postgresql://u@db/d"), PGURL_VERIFIED);
	unsetenv("PGSSLMODE");
}

static const char info[] = "# Server\r\nredis_version:7.0.15\r\nloading:0\r\n\r\n"
			   "# Clients\r\nconnected_clients:12\r\nmaxclients:100\r\n"
			   "# Memory\r\nmaxmemory:1048576\r\nmaxmemory_human:1.00M\r\n"
			   "maxmemory_policy:noeviction\r\n"
			   "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"
			   "slave0:ip=10.0.0.2,port=6379,state=online\r\n"
			   "# Cluster\r\ncluster_enabled:0";

static void
what_redis_says_is_understood(void **state)
{
	struct redis_facts f = {.version = 0};
	const struct redis_need need = {.workers = 12, .connections = 4};
	struct findings found = {.count = 0};

	(void)state;
	redis_facts_info(&f, info, strlen(info));
	assert_int_equal(f.version, 70015);
	assert_string_equal(f.role, "master");
	assert_string_equal(f.maxmemory_policy, "noeviction");
	assert_int_equal(f.maxmemory_bytes, 1048576);
	assert_int_equal(f.maxclients, 100);
	assert_int_equal(f.connected_clients, 12);
	assert_int_equal(f.replicas, 1);
	assert_false(f.cluster_enabled);
	redis_judge(&f, &need, &found);
	assert_int_equal(findings_worst(&found), FINDING_FINE);
	assert_non_null(find(&found, "12 workers x 4 = 48 of maxclients 100"));
}

static void
nothing_said_is_nothing_judged(void **state)
{
	struct redis_facts f = {.version = 0};
	const struct redis_need need = {0, 0};
	struct findings found = {.count = 0};

	(void)state;
	redis_facts_info(&f, "", 0);
	redis_facts_info(&f, "redis_version:abc\nmaxclients:-3\nrole\n:\n", 40);
	redis_judge(&f, &need, &found);
	assert_int_equal(found.count, 0);
}

static void
a_redis_that_is_not_for_us_is_told(void **state)
{
	static const struct {
		const char *info, *part;
		enum finding_weight weight;
	} cases[] = {
	    {"redis_version:3.2.3", "3.2.3: too old", FINDING_FAULT},
	    {"role:slave", "replica", FINDING_FAULT},
	    {"cluster_enabled:1", "cluster mode", FINDING_FAULT},
	    {"loading:1", "loading", FINDING_WARNING},
	    {"maxmemory_policy:volatile-lru", "volatile-lru", FINDING_WARNING},
	    {"maxclients:20", "40 of maxclients 20", FINDING_WARNING},
	};
	const struct redis_need need = {.workers = 10, .connections = 4};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct redis_facts f = {.version = 0};
		struct findings found = {.count = 0};

		redis_facts_info(&f, cases[i].info, strlen(cases[i].info));
		redis_judge(&f, &need, &found);
		assert_non_null(find(&found, cases[i].part));
		assert_int_equal(find(&found, cases[i].part)->weight, cases[i].weight);
	}
}

static void
ways_to_redis(void **state)
{
	static const struct {
		const char *url;
		enum finding_weight weight;
	} cases[] = {
	    {"redis://127.0.0.1:6379/0", FINDING_FINE},
	    {"unix:/run/redis.sock", FINDING_FINE},
	    {"redis://cache.internal:6379/0", FINDING_WARNING},
	    {"rediss://cache.internal:6380/0", FINDING_FINE},
	    {"http://cache.internal", FINDING_FAULT},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct findings found = {.count = 0};

		redis_url_judge(cases[i].url, &found);
		assert_int_equal(found.count, 1);
		assert_int_equal(found.list[0].weight, cases[i].weight);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(findings_have_a_bound_and_a_worst),
	    cmocka_unit_test(the_budget_is_nodes_times_workers_times_connections),
	    cmocka_unit_test(a_database_that_loses_or_refuses_is_told),
	    cmocka_unit_test(a_standby_that_may_lag_is_told_unless_it_may_not),
	    cmocka_unit_test(ways_to_postgresql),
	    cmocka_unit_test(what_redis_says_is_understood),
	    cmocka_unit_test(nothing_said_is_nothing_judged),
	    cmocka_unit_test(a_redis_that_is_not_for_us_is_told),
	    cmocka_unit_test(ways_to_redis),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
