/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * span.h - durations and counts as people read them, in a few columns.
 */
#ifndef CLI_SPAN_H
#define CLI_SPAN_H

#include <stdint.h>

#define SPAN_SIZE 16

/* at most 6 columns: "850ms", "12.3s", "4m05s", "3h20m", "12d04h"; less than 0 is "-"
 */
char *span_text(int64_t ms, char buf[SPAN_SIZE]);
/* at most 5 columns: "123", "9.9k", "123k", "1.2M", "12G" */
char *span_count(double n, char buf[SPAN_SIZE]);
/* the same of bytes, by 1024: "512M", "1.5G" */
char *span_bytes(int64_t bytes, char buf[SPAN_SIZE]);

#endif
