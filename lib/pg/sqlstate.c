/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sqlstate.c - what the caller of a failed unit can do about it.
 *
 * One table from SQLSTATE to class.  A row names a whole code or the two characters of
 * a family; whole codes come first and win.  What is in no row is our bug.  The classes
 * speak of a unit whose end the server has confirmed; without that the outcome is
 * PGERR_LOST whatever the code says, and pgconn.c sees to it.
 */
#include <string.h>

#include "pg/pgconn.h"

static const struct {
	const char *code; /* five characters, or two for the family */
	enum pgerr_class class;
} rows[] = {
    /* the transaction was chosen to give way */
    {"40001", PGERR_RETRY}, /* serialization_failure */
    {"40P01", PGERR_RETRY}, /* deadlock_detected */
    /* the session lost, or never had, our prepared statements; pgconn stops using them
     */
    {"26000", PGERR_RETRY}, /* invalid_sql_statement_name */
    {"42P05", PGERR_RETRY}, /* duplicate_prepared_statement */
    {"40003", PGERR_LOST},  /* statement_completion_unknown */
    {"40002", PGERR_DATA},  /* transaction_integrity_constraint_violation */
    /* this server, or this session on it, is the wrong one now */
    {"25006",
	PGERR_RECONNECT}, /* read_only_sql_transaction: a standby, after a failover */
    {"25P03", PGERR_RECONNECT}, /* idle_in_transaction_session_timeout */
    {"57P01", PGERR_RECONNECT}, /* admin_shutdown */
    {"57P02", PGERR_RECONNECT}, /* crash_shutdown */
    {"57P03", PGERR_RECONNECT}, /* cannot_connect_now */
    {"57P04", PGERR_RECONNECT}, /* database_dropped */
    {"57P05", PGERR_RECONNECT}, /* idle_session_timeout */
    /* someone else holds it, or it took too long */
    {"55P03", PGERR_BUSY},   /* lock_not_available */
    {"55006", PGERR_BUSY},   /* object_in_use */
    {"57014", PGERR_BUSY},   /* query_canceled: statement_timeout */
    {"3F000", PGERR_SCHEMA}, /* invalid_schema_name */
    {"44000", PGERR_DATA},   /* with_check_option_violation */
    /* families */
    {"08",
	PGERR_LOST}, /* connection exception: also what PgBouncer says of its server */
    {"22", PGERR_DATA},	  /* data exception */
    {"23", PGERR_DATA},	  /* integrity constraint violation */
    {"42", PGERR_SCHEMA}, /* syntax error or access rule violation */
    {"53", PGERR_BUSY},	  /* insufficient resources: disk, memory, connections */
    {"54", PGERR_DATA},	  /* program limit exceeded: a value too large or too deep */
};

enum pgerr_class
sqlstate_class(const char *sqlstate)
{
	if (strlen(sqlstate) != 5)
		return PGERR_BUG;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (strncmp(sqlstate, rows[i].code, strlen(rows[i].code)) == 0)
			return rows[i].class;
	}
	return PGERR_BUG;
}

const char *pgerr_class_name(enum pgerr_class class)
{
	static const char *const names[] = {
	    [PGERR_NONE] = "none",
	    [PGERR_LOST] = "lost",
	    [PGERR_RETRY] = "retry",
	    [PGERR_RECONNECT] = "reconnect",
	    [PGERR_BUSY] = "busy",
	    [PGERR_DATA] = "data",
	    [PGERR_SCHEMA] = "schema",
	    [PGERR_BUG] = "bug",
	};

	return (size_t) class < COUNT_OF(names) ? names[class] : "unknown";
}
