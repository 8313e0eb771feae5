/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream child (docs/stream-protocol.md): counts the words of {"text": "..."}.
 *
 *     cc -O2 -o wordcount wordcount.c $(pkg-config --cflags --libs json-c)
 *
 *     [type:wordcount]
 *     handler = stream
 *     command = /srv/app/wordcount
 */
#include <stdio.h>
#include <string.h>

#include <json.h>

static void
count(json_object *task)
{
	const char *id = json_object_get_string(json_object_object_get(task, "id")), *at;
	json_object *payload, *text = NULL;
	int words = 0;

	payload = json_object_object_get(task, "payload");
	if (json_object_is_type(payload, json_type_object))
		text = json_object_object_get(payload, "text");
	if (!json_object_is_type(text, json_type_string)) {
		printf("{\"id\":\"%s\",\"error\":{\"code\":\"bad_text\",\"message\":"
		       "\"the payload needs a text\"},\"retry\":false}\n", id);
		return;
	}
	for (at = json_object_get_string(text); *at != '\0'; words++) {
		at += strspn(at, " \t\n\r\f\v");
		if (*at == '\0')
			break;
		at += strcspn(at, " \t\n\r\f\v");
	}
	printf("{\"id\":\"%s\",\"result\":{\"words\":%d}}\n", id, words);
}

int
main(void)
{
	char *line = NULL;
	size_t size = 0;

	setvbuf(stdout, NULL, _IOLBF, 65536); /* or answers would wait in the buffer */
	while (getline(&line, &size, stdin) > 0) {
		json_object *message = json_tokener_parse(line), *of = NULL;

		if (json_object_object_get_ex(message, "task", &of))
			count(of);
		else if (json_object_object_get_ex(message, "ping", &of))
			printf("{\"pong\":%s}\n", json_object_to_json_string(of));
		else if (json_object_object_get_ex(message, "hello", &of))
			puts("{\"hello\":{\"version\":1,\"concurrency\":64}}");
		json_object_put(message); /* drain: the input ends behind it */
	}
	return 0;
}
