/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * findings.c - sentences with a weight; see findings.h.
 */
#include "model/findings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

/* full: the last of the lightest makes room for one that weighs more; false: none does
 */
static bool
make_room(struct findings *fs, enum finding_weight weight)
{
	size_t lightest = 0;

	for (size_t i = 1; i < fs->count; i++) {
		if (fs->list[i].weight <= fs->list[lightest].weight)
			lightest = i;
	}
	if (fs->list[lightest].weight >= weight)
		return false;
	fs->count--;
	memmove(&fs->list[lightest], &fs->list[lightest + 1],
	    (fs->count - lightest) * sizeof(fs->list[0]));
	return true;
}

void
findings_add(struct findings *fs, enum finding_weight weight, const char *remedy,
    const char *fmt, ...)
{
	struct finding *f;
	va_list ap;

	if (fs->count == FINDINGS_MOST) {
		fs->left_out++;
		if (!make_room(fs, weight))
			return;
	}
	f = &fs->list[fs->count++];
	f->weight = weight;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	str_copy(f->remedy, sizeof(f->remedy), remedy != NULL ? remedy : "");
}

enum finding_weight
findings_worst(const struct findings *fs)
{
	enum finding_weight worst = FINDING_FINE;

	for (size_t i = 0; i < fs->count; i++) {
		if (fs->list[i].weight > worst)
			worst = fs->list[i].weight;
	}
	return worst;
}

const char *
finding_weight_name(enum finding_weight weight)
{
	static const char *const names[] = {"fine", "warning", "fault"};

	return (size_t)weight < COUNT_OF(names) ? names[weight] : "unknown";
}

void
findings_log(const struct findings *fs, const char *sentence)
{
	for (size_t i = 0; i < fs->count; i++) {
		const struct finding *f = &fs->list[i];

		if (f->weight == FINDING_FINE)
			log_info(NULL, sentence, "found=\"%s\"", f->text);
		else
			log_warn(NULL, sentence, "found=\"%s\" remedy=\"%s\"", f->text,
			    f->remedy);
	}
}
