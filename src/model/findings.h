/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * findings.h - what was found when a store or a setting was looked at: sentences with
 * a weight, and what to do about each.
 *
 * Those who judge add, those who asked read: a starting node logs what is not fine,
 * a command shows all.
 */
#ifndef MODEL_FINDINGS_H
#define MODEL_FINDINGS_H

#include <stddef.h>

#include "base/attr.h"

#define FINDINGS_MOST 24

enum finding_weight {
	FINDING_FINE = 0, /* as it should be; remedy is "" */
	FINDING_WARNING,  /* works, until something happens */
	FINDING_FAULT,	  /* does not work */
};

struct finding {
	enum finding_weight weight;
	char text[280]; /* lower-case sentence without a full stop */
	char
	    remedy[280]; /* the same, in the imperative; "" if there is nothing to do */
};

struct findings {
	struct finding list[FINDINGS_MOST];
	size_t count;
	size_t left_out; /* beyond FINDINGS_MOST: the lightest */
};

/* remedy is borrowed for the call; NULL: none */
void findings_add(struct findings *fs, enum finding_weight weight, const char *remedy,
    const char *fmt, ...) ATTR_PRINTF(4, 5);
/* the heaviest weight that was found; FINDING_FINE when nothing was */
enum finding_weight findings_worst(const struct findings *fs);
/* a static word: "fine", "warning", "fault" */
const char *finding_weight_name(enum finding_weight weight);
/* each warning and fault as one warning of the log, under this sentence; fine ones at
 * level info */
void findings_log(const struct findings *fs, const char *sentence);

#endif
