/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attr.h - the few compiler attributes that we use, by name.
 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define ATTR_CHECK	       __attribute__((warn_unused_result))
#define ATTR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ATTR_NORETURN	       __attribute__((noreturn))

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(ptr, type, member)                                                \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * A type stamp is the first field of every object that travels through a void
 * pointer.  STAMP_CHECK aborts on a stray pointer; the free function wipes it.
 */
#define STAMP_CHECK(obj, value)                                                        \
	do {                                                                           \
		if ((obj) == NULL || (obj)->stamp != (value))                          \
			stamp_failed(__FILE__, __LINE__, #value);                      \
	} while (0)

ATTR_NORETURN void stamp_failed(const char *file, int line, const char *what);

#endif
