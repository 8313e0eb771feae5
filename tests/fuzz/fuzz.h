/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h - makes a fuzz target an ordinary program.
 *
 * A target defines LLVMFuzzerTestOneInput and includes this file once.  Compiled with
 * -DLIBFUZZER it leaves main to that library; otherwise it runs each file that is
 * named, or standard input, which is what AFL and the replay in `make check` want.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_INPUT_MAX ((size_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* unlike assert it is there in every build */
#define FUZZ_CHECK(what)                                                               \
	do {                                                                           \
		if (!(what)) {                                                         \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__,   \
			    #what);                                                    \
			abort();                                                       \
		}                                                                      \
	} while (0)

#ifndef LIBFUZZER
static int
run_file(FILE *file, const char *name)
{
	/* a block of exactly that size, so that a read too far is seen */
	uint8_t *all = malloc(FUZZ_INPUT_MAX), *exact;
	size_t len;

	if (file == NULL || all == NULL) {
		perror(name);
		free(all);
		return 1;
	}
	len = fread(all, 1, FUZZ_INPUT_MAX, file);
	exact = realloc(all, len > 0 ? len : 1);
	if (exact == NULL)
		exact = all;
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return 0;
}

int
main(int argc, char **argv)
{
	int i, rc = 0;

	if (argc < 2)
		return run_file(stdin, "standard input");
	for (i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");

		rc |= run_file(file, argv[i]);
		if (file != NULL)
			fclose(file);
	}
	return rc;
}
#endif

#endif
