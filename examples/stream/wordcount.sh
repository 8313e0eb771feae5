#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A stream child (docs/stream-protocol.md): counts the words of {"text": "..."}.  Needs jq.
#
#     [type:wordcount]
#     handler = stream
#     command = /bin/sh /srv/app/wordcount.sh
#
# Each line from the node begins with the member that says what it is.
while IFS= read -r line; do
	case $line in
	'{"task":'*)
		printf '%s\n' "$line" | jq -c '.task | {id} + (
			if (.payload | type) == "object" and (.payload.text | type) == "string" then
				{result: {words: ([.payload.text | scan("[^ \t\n\r\f\u000b]+")] | length)}}
			else
				{error: {code: "bad_text", message: "the payload needs a text"}, retry: false}
			end)' || exit 1
		;;
	'{"ping":'*)
		printf '{"pong":%s\n' "${line#*:}"
		;;
	'{"hello":'*)
		echo '{"hello":{"version":1,"concurrency":4}}'
		;;
	'{"drain":'*)
		exit 0
		;;
	esac # {"cancel":: the task is done before its cancel would be read
done
