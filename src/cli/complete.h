/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * complete.h - what may come next on a command line of shoal.
 *
 * Read from the descriptors of the commands, so that a shell's completion knows each
 * command and option as soon as it exists.
 */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

#include "base/strbuf.h"

/*
 * words: behind "shoal", the last one is the one to complete and may be empty.  Appends
 * a line for each candidate that begins with it: the word, a tab, a sentence.  Nothing
 * where anything may come: a value, an id, a name.
 */
void complete_words(int count, char *const words[], struct strbuf *out);

#endif
