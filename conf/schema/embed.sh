#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Prints the numbered schema steps given as arguments as a C table: src/store/migrate.c includes it.
set -eu
echo '/* made by conf/schema/embed.sh */'
for file in "$@"; do
	name=$(basename "$file" .sql)
	number=$(echo "$name" | sed 's/^0*\([0-9]*\)-.*/\1/')
	printf '{ %s, "%s",\n' "$number" "$name"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e 's/^/"/' -e 's/$/\\n"/' "$file"
	printf '},\n'
done
