/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pganswer.c - which sequences of results answer a unit, and which betray that we
 * are out of step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "base/attr.h"
#include "pg/pganswer.h"

/* a letter is one return of PQgetResult */
static PGresult *
result_of(char letter)
{
	ExecStatusType status;

	switch (letter) {
	case 'T':
		status = PGRES_TUPLES_OK;
		break;
	case 'C':
		status = PGRES_COMMAND_OK;
		break;
	case 'E':
		status = PGRES_FATAL_ERROR;
		break;
	case 'A':
		status = PGRES_PIPELINE_ABORTED;
		break;
	case 'S':
		status = PGRES_PIPELINE_SYNC;
		break;
	case 'Y':
		status = PGRES_COPY_OUT;
		break;
	case 'Q':
		status = PGRES_EMPTY_QUERY;
		break;
	default: /* '-' */
		return NULL;
	}
	return PQmakeEmptyPGresult(NULL, status);
}

static void
sequences_are_judged(void **state)
{
	static const struct {
		const char *what;
		const char *letters; /* all but the last are taken as "more" */
		bool prepares;
		enum pganswer_step last;
		bool rows; /* once whole */
	} cases[] = {
	    {"rows", "T-S", false, PGANSWER_WHOLE, true},
	    {"a command without rows", "C-S", false, PGANSWER_WHOLE, true},
	    {"an error", "E-S", false, PGANSWER_WHOLE, false},
	    {"an error at the commit", "T-E-S", false, PGANSWER_WHOLE, false},
	    {"a prepare and rows", "C-T-S", true, PGANSWER_WHOLE, true},
	    {"a prepare that fails", "E-A-S", true, PGANSWER_WHOLE, false},
	    {"a prepare, then an error", "C-E-S", true, PGANSWER_WHOLE, false},
	    {"a prepare, then an error at the commit", "C-T-E-S", true, PGANSWER_WHOLE,
		false},
	    {"nothing yet", "T-", false, PGANSWER_MORE, false},

	    {"a sync alone", "S", false, PGANSWER_MISFIT, false},
	    {"a prepare alone", "C-S", true, PGANSWER_MISFIT, false},
	    {"a NULL first", "-", false, PGANSWER_MISFIT, false},
	    {"two NULLs", "T--", false, PGANSWER_MISFIT, false},
	    {"a sync without the NULL", "TS", false, PGANSWER_MISFIT, false},
	    {"two results without a NULL", "TT", false, PGANSWER_MISFIT, false},
	    {"rows twice", "T-T", false, PGANSWER_MISFIT, false},
	    {"rows after an error", "E-T", false, PGANSWER_MISFIT, false},
	    {"aborted by nobody", "A", false, PGANSWER_MISFIT, false},
	    {"a copy", "Y", false, PGANSWER_MISFIT, false},
	    {"an empty statement", "Q", false, PGANSWER_MISFIT, false},
	};
	struct pganswer a;

	(void)state;
	memset(&a, 0, sizeof(a));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t count = strlen(cases[i].letters);
		enum pganswer_step step;

		for (size_t k = 0; k < count; k++) {
			step = pganswer_take(
			    &a, result_of(cases[i].letters[k]), cases[i].prepares);
			if (step != (k + 1 < count ? PGANSWER_MORE : cases[i].last))
				fail_msg("%s: step %zu is %d", cases[i].what, k, step);
		}
		if (cases[i].last == PGANSWER_WHOLE) {
			assert_int_equal(a.rows != NULL, cases[i].rows);
			assert_int_equal(a.err.class == PGERR_NONE, cases[i].rows);
		}
		pganswer_reset(&a);
		assert_null(a.rows);
	}
}

static void
failed_prepare_is_told_apart(void **state)
{
	struct pganswer a;

	(void)state;
	memset(&a, 0, sizeof(a));
	assert_int_equal(pganswer_take(&a, result_of('E'), true), PGANSWER_MORE);
	assert_true(a.not_prepared);
	pganswer_reset(&a);
	assert_int_equal(pganswer_take(&a, result_of('C'), true), PGANSWER_MORE);
	assert_int_equal(pganswer_take(&a, NULL, true), PGANSWER_MORE);
	assert_int_equal(pganswer_take(&a, result_of('E'), true), PGANSWER_MORE);
	assert_false(a.not_prepared);
	pganswer_reset(&a);
}

static void
error_without_a_code_leaves_the_outcome_open(void **state)
{
	struct pganswer a;

	(void)state;
	memset(&a, 0, sizeof(a));
	/* as libpq makes them when it has no memory for the rows */
	assert_int_equal(pganswer_take(&a, result_of('E'), false), PGANSWER_MORE);
	assert_int_equal(a.err.class, PGERR_LOST);
	assert_string_equal(a.err.sqlstate, "");
	pganswer_reset(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sequences_are_judged),
	    cmocka_unit_test(failed_prepare_is_told_apart),
	    cmocka_unit_test(error_without_a_code_leaves_the_outcome_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
