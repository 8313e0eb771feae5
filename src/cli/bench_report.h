/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_report.h - what a measurement found, for people and for programs.
 */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include "cli/bench.h"

/* both to standard output */
void bench_report_text(const struct bench_opts *o, const struct bench_result *r);
void bench_report_json(const struct bench_opts *o, const struct bench_result *r);

#endif
