-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0014-submits: the length of a queue holds for all workers together; a submit from SQL is judged like one over HTTP; what
-- schedules did and groups have, by pages; weights of applications.
--
-- Submits to a queue with a max_length come through submit_each.  Whoever counts such a queue holds its lock to the end
-- of the transaction, so that no two find room for the same last place.

-- the latest node's setting, for tasks that are made by SQL
ALTER TABLE shoal.cluster ADD COLUMN max_payload_bytes int NOT NULL DEFAULT 1048576;

-- ---------------------------------------------------------------------- requests

-- As in 0006, with the queues of p_bounded, which have a max_length as their callers know: each task that is made in
-- one of them needs a place.  SH005: there is none.
DROP FUNCTION shoal.submit_each(int[], text[], text[], text[], int[], text[], int);

CREATE FUNCTION shoal.submit_each(p_apps int[], p_keys text[], p_prints text[], p_groups text[],
	p_counts int[], p_specs text[], p_aging_ms int, p_bounded int[])
RETURNS TABLE (request int, id uuid, state smallint, run_at timestamptz, outcome smallint, replayed boolean,
	code text, message text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET lock_timeout = '10s' AS $$
#variable_conflict use_column
DECLARE
	at int := 0;
	found_key record;
	grp record;
	moved shoal.task_group;
	ids uuid[];
	states smallint[];
	times timestamptz[];
	outcomes smallint[];
	m record;
	queues int[];
	rooms int[];
	rooms_before int[];
	place int;
BEGIN
	-- all locks at once, in one order for everybody
	PERFORM shoal.lock_keys(ARRAY(
		SELECT shoal.lock_name('i', a, k) FROM unnest(p_apps, p_keys) AS r (a, k) WHERE k IS NOT NULL
		UNION ALL
		SELECT shoal.lock_name('q', 0, b::text) FROM unnest(p_bounded) b
		UNION ALL
		SELECT l.name FROM (
			SELECT shoal.lock_name('u', p_apps[r.n], s.spec->>'unique_key') AS name
			  FROM (SELECT n, sum(p_counts[n]) OVER (ORDER BY n) AS last
			          FROM generate_series(1, array_length(p_counts, 1)) n) r
			  JOIN (SELECT o.spec::json AS spec, o.n FROM unnest(p_specs) WITH ORDINALITY AS o (spec, n)) s
			    ON s.n > r.last - p_counts[r.n] AND s.n <= r.last
			UNION ALL
			SELECT shoal.lock_name('k', p_apps[r.n], s.spec->>'concurrency_key')
			  FROM (SELECT n, sum(p_counts[n]) OVER (ORDER BY n) AS last
			          FROM generate_series(1, array_length(p_counts, 1)) n) r
			  JOIN (SELECT o.spec::json AS spec, o.n FROM unnest(p_specs) WITH ORDINALITY AS o (spec, n)) s
			    ON s.n > r.last - p_counts[r.n] AND s.n <= r.last) l
		 WHERE l.name IS NOT NULL));
	IF p_bounded <> '{}' THEN
		SELECT array_agg(q.id), array_agg(q.max_length) INTO queues, rooms
		  FROM shoal.queue q WHERE q.id = ANY (p_bounded) AND q.max_length IS NOT NULL;
		SELECT array_agg(u.id), array_agg(u.most - l.waiting::int) INTO queues, rooms
		  FROM unnest(queues, rooms) AS u (id, most)
		  JOIN shoal.queue_lengths(queues, rooms) l ON l.queue_id = u.id;
	END IF;
	FOR r IN 1 .. coalesce(array_length(p_apps, 1), 0) LOOP
		ids := '{}';
		states := '{}';
		times := '{}';
		outcomes := '{}';
		replayed := false;
		code := NULL;
		message := NULL;
		found_key := NULL;
		rooms_before := rooms;
		IF p_keys[r] IS NOT NULL THEN
			SELECT i.* INTO found_key FROM shoal.idempotency i
			 WHERE i.app_id = p_apps[r] AND i.key = p_keys[r]
			   AND i.at > now() - interval '24 hours';
			IF FOUND THEN
				IF found_key.print = p_prints[r] THEN
					ids := found_key.ids;
					states := found_key.states;
					times := found_key.run_at;
					replayed := true;
				ELSE
					code := 'SH003';
					message := 'its Idempotency-Key belongs to another request';
				END IF;
			END IF;
		END IF;
		IF NOT replayed AND code IS NULL THEN
			BEGIN
				IF p_groups[r] IS NOT NULL THEN
					SELECT * INTO grp FROM json_to_record(p_groups[r]::json) AS x (id uuid,
						add boolean, open boolean, metadata json, on_completion json,
						on_success json, on_failure json);
					IF grp.add THEN
						UPDATE shoal.task_group g
						   SET total = g.total + p_counts[r],
						       open = coalesce(grp.open, g.open)
						 WHERE g.app_id = p_apps[r] AND g.id = grp.id AND g.open
						RETURNING g.* INTO moved;
						IF NOT FOUND THEN
							RAISE EXCEPTION 'there is no such group, or it is closed'
								USING ERRCODE = 'SH004';
						END IF;
					ELSE
						INSERT INTO shoal.task_group (app_id, id, open, total, on_completion,
							on_success, on_failure, metadata)
						VALUES (p_apps[r], grp.id, coalesce(grp.open, false), p_counts[r],
							grp.on_completion::text, grp.on_success::text,
							grp.on_failure::text, grp.metadata::text)
						RETURNING * INTO moved;
					END IF;
				END IF;
				FOR k IN at + 1 .. at + p_counts[r] LOOP
					place := NULL;
					IF queues IS NOT NULL THEN
						place := (SELECT n FROM generate_series(1, array_length(queues, 1)) n
							   WHERE queues[n] = (p_specs[k]::json->>'queue_id')::int);
						-- what may be another's already is looked for first
						IF rooms[place] <= 0 AND (p_specs[k]::json->>'unique_key') IS NULL THEN
							PERFORM shoal.refuse_full();
						END IF;
					END IF;
					SELECT t.* INTO m
					  FROM shoal.make_task(p_apps[r], p_specs[k]::json, p_aging_ms) t;
					IF place IS NOT NULL AND m.outcome = 0 THEN
						IF rooms[place] <= 0 THEN
							PERFORM shoal.refuse_full();
						END IF;
						rooms[place] := rooms[place] - 1;
					END IF;
					ids := ids || m.id;
					states := states || m.state;
					times := times || m.run_at;
					outcomes := outcomes || m.outcome;
				END LOOP;
				IF p_groups[r] IS NOT NULL THEN
					PERFORM shoal.group_moved(moved, p_aging_ms);
				END IF;
				IF p_keys[r] IS NOT NULL THEN
					DELETE FROM shoal.idempotency i
					 WHERE i.app_id = p_apps[r] AND i.key = p_keys[r];
					INSERT INTO shoal.idempotency (app_id, key, print, ids, states, run_at)
					VALUES (p_apps[r], p_keys[r], p_prints[r], ids, states, times);
				END IF;
			EXCEPTION WHEN OTHERS THEN
				-- trouble of the server's, and deadlocks, are for the whole batch
				IF substr(SQLSTATE, 1, 2) NOT IN ('SH', '22', '23', '54') THEN
					RAISE;
				END IF;
				code := SQLSTATE;
				message := SQLERRM;
				ids := '{}';
				rooms := rooms_before;
			END;
		END IF;
		at := at + p_counts[r];
		request := r;
		IF ids = '{}' THEN
			RETURN QUERY SELECT r, NULL::uuid, NULL::smallint, NULL::timestamptz, NULL::smallint,
				replayed, code, message;
		ELSE
			RETURN QUERY SELECT r, ids[n], states[n], times[n], coalesce(outcomes[n], 0::smallint),
				replayed, code, message FROM generate_series(1, array_length(ids, 1)) n;
		END IF;
	END LOOP;
END $$;

CREATE FUNCTION shoal.refuse_full() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the queue is full: as many tasks wait in it as its max_length allows' USING ERRCODE = 'SH005';
END $$;

-- ---------------------------------------------------------------------- submitting from SQL
--
-- The rules are those of src/api/task_request.c, task_options.c and src/model/backoff.c: whoever changes one there
-- changes it here.  An option that is null is one that was not given.

DROP FUNCTION shoal.duration_ms(text, text);
DROP FUNCTION shoal.whole(text, text, int, int);
DROP FUNCTION shoal.instant_us(text, text);

CREATE FUNCTION shoal.refuse_option(p_what text, p_rule text, p_value json) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RAISE EXCEPTION 'shoal.submit: % %, not %', p_what, p_rule,
		CASE WHEN length(p_value::text) > 100 THEN left(p_value::text, 100) || '...' ELSE p_value::text END
		USING ERRCODE = '22023';
END $$;

-- the text of a JSON string; NULL of everything else
CREATE FUNCTION shoal.text_of(p_value json) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN json_typeof(p_value) = 'string' THEN json_build_array(p_value)->>0 END
$$;

-- Milliseconds of a number of seconds, or of a duration as ISO 8601 writes it; NULL of everything else.  Weeks, days,
-- hours, minutes and seconds, in this order, each with digits of its own.
CREATE FUNCTION shoal.duration_ms(p_value json) RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	said text := shoal.text_of(p_value);
	part text[];
BEGIN
	IF json_typeof(p_value) = 'number' THEN
		RETURN floor((p_value::text)::double precision * 1000 + 0.5);
	END IF;
	part := regexp_matches(said,
		'^P(?=.)(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=.)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:[.,]\d{1,3}0*)?)S)?)?$');
	RETURN floor((coalesce(part[1], '0')::double precision * 604800 + coalesce(part[2], '0')::double precision * 86400
		+ coalesce(part[3], '0')::double precision * 3600 + coalesce(part[4], '0')::double precision * 60
		+ replace(coalesce(part[5], '0'), ',', '.')::double precision) * 1000 + 0.5)
		+ CASE WHEN part IS NULL THEN NULL ELSE 0 END;
EXCEPTION WHEN numeric_value_out_of_range THEN
	RETURN 'infinity';
END $$;

CREATE FUNCTION shoal.option_ms(p_what text, p_value json, p_least bigint, p_most bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	ms double precision := shoal.duration_ms(p_value);
BEGIN
	IF p_value IS NOT NULL AND coalesce(ms NOT BETWEEN p_least AND p_most, true) THEN
		PERFORM shoal.refuse_option(p_what, format(
			'must be seconds, or a duration such as "PT5M", from %s to %s seconds',
			p_least / 1000.0::double precision, p_most / 1000), p_value);
	END IF;
	RETURN ms;
END $$;

CREATE FUNCTION shoal.option_whole(p_what text, p_value json, p_least int, p_most int) RETURNS int
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF p_value IS NOT NULL AND (json_typeof(p_value) <> 'number' OR p_value::text !~ '^[0-9]{1,9}$'
	                            OR p_value::text::int NOT BETWEEN p_least AND p_most) THEN
		PERFORM shoal.refuse_option(p_what, format('must be a whole number from %s to %s', p_least, p_most),
			p_value);
	END IF;
	RETURN p_value::text::int;
END $$;

-- microseconds since 1970; NULL of what is no time with its offset
CREATE FUNCTION shoal.instant_us(p_value json) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
	said text := shoal.text_of(p_value);
	us bigint;
BEGIN
	IF said !~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$' THEN
		RETURN NULL;
	END IF;
	us := (extract(epoch FROM said::timestamptz) * 1000000)::bigint;
	RETURN CASE WHEN us >= 0 THEN us END;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END $$;

CREATE FUNCTION shoal.option_instant(p_what text, p_value json) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
	us bigint := shoal.instant_us(p_value);
BEGIN
	IF p_value IS NOT NULL AND us IS NULL THEN
		PERFORM shoal.refuse_option(p_what, 'must be a time with its offset, such as "2030-01-31T09:30:00Z"', p_value);
	END IF;
	RETURN us;
END $$;

CREATE FUNCTION shoal.option_word(p_what text, p_value json, p_words text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF p_value IS NOT NULL AND coalesce(shoal.text_of(p_value) <> ALL (p_words), true) THEN
		PERFORM shoal.refuse_option(p_what, 'must be "' || array_to_string(p_words, '" or "') || '"', p_value);
	END IF;
	RETURN shoal.text_of(p_value);
END $$;

CREATE FUNCTION shoal.option_key(p_what text, p_value json) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF p_value IS NOT NULL
	   AND coalesce(octet_length(shoal.text_of(p_value)) NOT BETWEEN 1 AND 255, true) THEN
		PERFORM shoal.refuse_option(p_what, 'must be a string of 1 to 255 bytes', p_value);
	END IF;
	RETURN shoal.text_of(p_value);
END $$;

CREATE FUNCTION shoal.check_backoff(p_rule json) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	year CONSTANT bigint := 366 * 86400000::bigint;
	kind text;
	knows text[];
	base double precision := 10000;
	cap double precision := 3600000;
	said record;
	n double precision;
	given text[] := '{}';
BEGIN
	IF p_rule IS NULL THEN
		RETURN NULL;
	ELSIF json_typeof(p_rule) = 'array' THEN
		IF json_array_length(p_rule) NOT BETWEEN 1 AND 16 THEN
			PERFORM shoal.refuse_option('backoff', 'as a list must have 1 to 16 delays', p_rule);
		END IF;
		PERFORM shoal.option_ms('each delay of backoff', d.value, 0, year)
		   FROM json_array_elements(p_rule) AS d (value);
		RETURN p_rule;
	ELSIF json_typeof(p_rule) <> 'object' THEN
		PERFORM shoal.refuse_option('backoff', 'must be an object with a "kind", or a list of delays', p_rule);
	END IF;
	kind := shoal.option_word('the kind of backoff', coalesce(p_rule->'kind', 'null'),
		'{polynomial,exponential,fixed}');
	knows := CASE kind WHEN 'exponential' THEN '{kind,base,factor,cap,jitter}' WHEN 'fixed' THEN '{kind,delay,jitter}'
		ELSE '{kind}' END;
	FOR said IN SELECT o.key, o.value FROM json_each(p_rule) AS o (key, value) LOOP
		IF said.key <> ALL (knows) OR said.key = ANY (given) THEN
			PERFORM shoal.refuse_option('backoff', 'of this kind knows ' || array_to_string(knows, ', ')
				|| ', each once', p_rule);
		END IF;
		given := given || said.key;
		CASE said.key
		WHEN 'kind' THEN
		WHEN 'base' THEN
			base := shoal.option_ms('base of backoff', said.value, 1, year);
		WHEN 'cap' THEN
			cap := shoal.option_ms('cap of backoff', said.value, 1, year);
		WHEN 'delay' THEN
			PERFORM shoal.option_ms('delay of backoff', said.value, 0, year);
		ELSE
			n := CASE WHEN json_typeof(said.value) = 'number' THEN said.value::text::double precision END;
			IF coalesce(CASE said.key WHEN 'factor' THEN n NOT BETWEEN 1 AND 100
			                          ELSE n NOT BETWEEN 0 AND 1 END, true) THEN
				PERFORM shoal.refuse_option(said.key || ' of backoff', 'must be a number from '
					|| CASE said.key WHEN 'factor' THEN '1 to 100' ELSE '0 to 1' END, said.value);
			END IF;
		END CASE;
	END LOOP;
	IF kind = 'fixed' AND 'delay' <> ALL (given) THEN
		PERFORM shoal.refuse_option('backoff', 'of the kind "fixed" needs a delay', p_rule);
	ELSIF kind = 'exponential' AND base > cap THEN
		PERFORM shoal.refuse_option('base of backoff', 'must not be above its cap', p_rule);
	END IF;
	RETURN p_rule;
END $$;

-- JSON that every reader of a task can read: no NUL, no half of a surrogate pair, and no deeper than over HTTP
CREATE FUNCTION shoal.check_json(p_what text, p_value json, p_depth int) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	brackets text;
BEGIN
	IF p_value::text ~ '\\u' THEN
		BEGIN
			PERFORM p_value::text::jsonb;
		EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
			RAISE EXCEPTION 'shoal.submit: % has an escape that stands for no character: %', p_what, SQLERRM
				USING ERRCODE = '22023';
		END;
	END IF;
	IF octet_length(p_value::text) > 2 * p_depth THEN
		brackets := translate(regexp_replace(regexp_replace(p_value::text, '"(\\.|[^"\\])*"', '', 'g'),
			'[^][{}]', '', 'g'), '{}[]', '()()');
		FOR i IN 1 .. p_depth LOOP
			EXIT WHEN brackets = '';
			brackets := replace(brackets, '()', '');
		END LOOP;
		IF brackets <> '' THEN
			RAISE EXCEPTION 'shoal.submit: % is deeper than % levels', p_what, p_depth USING ERRCODE = '22023';
		END IF;
	END IF;
	RETURN p_value;
END $$;

-- Does the queue take a task of this priority now?
CREATE FUNCTION shoal.check_shed(p_app int, p_queue text, p_priority int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT 1 FROM shoal.queue q
	            WHERE q.app_id = p_app AND q.name = p_queue AND q.shed_ppm > 0
	              AND coalesce(p_priority, q.priority, 5) > coalesce(q.shed_below, -1)
	              AND random() * 1000000 < q.shed_ppm) THEN
		RAISE EXCEPTION 'shoal.submit: the queue "%" takes only a share of such tasks now; try again later, or with a higher priority',
			p_queue USING ERRCODE = 'SH006';
	END IF;
END $$;

-- Is there room for one more, beside p_made that this caller has just made?  Nothing is locked, since a caller's
-- transaction may stay open for long: what others have not committed is not counted.
CREATE FUNCTION shoal.check_room(p_app int, p_queue text, p_made int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	q shoal.queue;
BEGIN
	SELECT * INTO q FROM shoal.queue u WHERE u.app_id = p_app AND u.name = p_queue AND u.max_length IS NOT NULL;
	IF FOUND AND (SELECT l.waiting FROM shoal.queue_lengths(ARRAY[q.id], ARRAY[q.max_length + p_made]) l)
	             >= q.max_length + p_made THEN
		RAISE EXCEPTION 'shoal.submit: the queue "%" is full: as many tasks wait in it as its max_length allows', p_queue
			USING ERRCODE = 'SH005';
	END IF;
END $$;

CREATE OR REPLACE FUNCTION shoal.submit(application text, type text, payload json DEFAULT NULL,
	options json DEFAULT '{}')
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	year CONSTANT bigint := 366 * 86400000::bigint;
	now_us CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
	app int;
	name text;
	queue text;
	o json := options;
	c shoal.cluster;
	at_us bigint;
	deadline_us bigint;
	conflict text;
	until text;
	parents json;
	priority int;
	made record;
	spec json;
BEGIN
	SELECT * INTO c FROM shoal.cluster;
	SELECT a.id INTO app FROM shoal.application a WHERE a.name = application;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'shoal.submit: there is no application "%"', application USING ERRCODE = '22023';
	END IF;
	PERFORM shoal.check_name('type', type);
	IF o IS NULL OR json_typeof(o) <> 'object' THEN
		RAISE EXCEPTION 'shoal.submit: options must be an object' USING ERRCODE = '22023';
	END IF;
	IF octet_length(payload::text) > c.max_payload_bytes THEN
		RAISE EXCEPTION 'shoal.submit: payload has % bytes, and % are the most', octet_length(payload::text),
			c.max_payload_bytes USING ERRCODE = '22023';
	END IF;
	FOR name IN SELECT json_object_keys(o) LOOP
		IF name NOT IN ('queue', 'priority', 'run_at', 'delay', 'timeout', 'max_attempts', 'backoff', 'deadline',
			'retry_until', 'unique_key', 'unique_until', 'unique_for', 'on_conflict', 'concurrency_key',
			'concurrency_limit', 'after', 'after_failure', 'metadata') THEN
			RAISE EXCEPTION 'shoal.submit: there is no option "%"', left(name, 100) USING ERRCODE = '22023';
		END IF;
	END LOOP;
	IF (SELECT count(*) <> count(DISTINCT k) FROM json_object_keys(o) k) THEN
		RAISE EXCEPTION 'shoal.submit: an option is said twice' USING ERRCODE = '22023';
	END IF;
	-- null is not given
	o := (SELECT coalesce(('{' || string_agg(to_json(e.key) || ':' || e.value, ',') || '}')::json, '{}')
	        FROM json_each(o) AS e (key, value) WHERE json_typeof(e.value) <> 'null');
	IF (o->'run_at') IS NOT NULL AND (o->'delay') IS NOT NULL THEN
		RAISE EXCEPTION 'shoal.submit: run_at and delay exclude each other' USING ERRCODE = '22023';
	END IF;
	IF (o->'unique_for') IS NOT NULL AND (o->'unique_until') IS NOT NULL THEN
		RAISE EXCEPTION 'shoal.submit: unique_for and unique_until exclude each other' USING ERRCODE = '22023';
	END IF;
	FOR name, until IN VALUES ('unique_until', 'unique_key'), ('unique_for', 'unique_key'),
		('on_conflict', 'unique_key'), ('concurrency_limit', 'concurrency_key'), ('after_failure', 'after') LOOP
		IF (o->name) IS NOT NULL AND (o->until) IS NULL THEN
			RAISE EXCEPTION 'shoal.submit: % goes with %, which is missing', name, until USING ERRCODE = '22023';
		END IF;
	END LOOP;
	IF (o->'metadata') IS NOT NULL AND (json_typeof(o->'metadata') <> 'object'
	                                  OR octet_length((o->'metadata')::text) > 16384) THEN
		RAISE EXCEPTION 'shoal.submit: metadata must be an object of up to 16384 bytes' USING ERRCODE = '22023';
	END IF;
	at_us := shoal.option_instant('run_at', o->'run_at');
	IF at_us > now_us + year * 1000 THEN
		RAISE EXCEPTION 'shoal.submit: run_at is more than 366 days away' USING ERRCODE = '22023';
	END IF;
	deadline_us := CASE WHEN shoal.duration_ms(o->'deadline') BETWEEN 0 AND year
		THEN now_us + shoal.duration_ms(o->'deadline')::bigint * 1000
		ELSE shoal.instant_us(o->'deadline') END;
	IF (o->'deadline') IS NOT NULL AND deadline_us IS NULL THEN
		PERFORM shoal.refuse_option('deadline', 'must be a time with its offset, or a duration of at most 366 days',
			o->'deadline');
	ELSIF deadline_us > now_us + 2 * year * 1000 THEN
		RAISE EXCEPTION 'shoal.submit: deadline is more than 732 days away' USING ERRCODE = '22023';
	END IF;
	conflict := shoal.option_word('on_conflict', o->'on_conflict', '{existing,reject,replace,postpone}');
	until := shoal.option_word('unique_until', o->'unique_until', '{start,finish}');
	parents := o->'after';
	IF parents IS NOT NULL THEN
		IF json_typeof(parents) <> 'array' OR json_array_length(parents) > 100 THEN
			PERFORM shoal.refuse_option('after', 'must be a list of up to 100 ids', parents);
		END IF;
		IF EXISTS (SELECT 1 FROM json_array_elements(parents) AS p (value)
		            WHERE coalesce(shoal.text_of(p.value)
				!~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$', true)) THEN
			PERFORM shoal.refuse_option('after', 'must be a list of ids of tasks', parents);
		END IF;
		IF json_array_length(parents) = 0 THEN
			parents := NULL;
		END IF;
	END IF;
	queue := shoal.check_name('queue', CASE WHEN (o->'queue') IS NULL THEN 'default' ELSE shoal.text_of(o->'queue') END);
	priority := shoal.option_whole('priority', o->'priority', 0, 9);
	SELECT row_to_json(r) INTO spec FROM (SELECT
		type AS type,
		queue AS queue,
		shoal.check_json('payload', coalesce(payload, 'null'), 31) AS payload,
		shoal.check_json('metadata', o->'metadata', 31) AS metadata,
		priority AS priority,
		shoal.option_whole('max_attempts', o->'max_attempts', 1, 1000) AS max_attempts,
		shoal.option_ms('timeout', o->'timeout', 1, 7 * 86400000) AS timeout_ms,
		-- what is past is due now: an older date must not buy a better place in the queue
		CASE WHEN at_us > now_us THEN at_us END AS run_at_us,
		shoal.option_ms('delay', o->'delay', 0, year) AS delay_ms,
		deadline_us AS deadline_us,
		shoal.option_instant('retry_until', o->'retry_until') AS retry_until_us,
		shoal.check_backoff(o->'backoff') AS backoff,
		shoal.option_key('unique_key', o->'unique_key') AS unique_key,
		CASE WHEN (o->'unique_for') IS NOT NULL THEN 2
		     WHEN coalesce(until, CASE WHEN conflict IN ('replace', 'postpone')
		                               THEN 'start' ELSE 'finish' END) = 'start' THEN 0
		     ELSE 1 END AS unique_scope,
		shoal.option_ms('unique_for', o->'unique_for', 1, year) AS unique_ms,
		CASE conflict WHEN 'reject' THEN 1 WHEN 'replace' THEN 2 WHEN 'postpone' THEN 3 ELSE 0 END
			AS on_conflict,
		shoal.option_key('concurrency_key', o->'concurrency_key') AS concurrency_key,
		shoal.option_whole('concurrency_limit', o->'concurrency_limit', 1, 10000) AS concurrency_limit,
		parents AS after,
		shoal.option_word('after_failure', o->'after_failure', '{cancel,run}') = 'run' AS run_anyway) r;
	PERFORM shoal.check_shed(app, queue, priority);
	-- what may be another's already is looked for first
	IF (o->'unique_key') IS NULL THEN
		PERFORM shoal.check_room(app, queue, 0);
	END IF;
	SELECT m.id, m.outcome INTO made FROM shoal.make_task(app, spec, c.aging_ms) m;
	IF (o->'unique_key') IS NOT NULL AND made.outcome = 0 THEN
		PERFORM shoal.check_room(app, queue, 1);
	END IF;
	RETURN made.id;
END $$;

-- ---------------------------------------------------------------------- reads

-- The tasks of a group below p_below, newest first, in the columns of list_tasks.  One row without an id: there is no
-- such group.
CREATE FUNCTION shoal.group_tasks(p_app int, p_group uuid, p_below uuid, p_limit int)
RETURNS TABLE (id uuid, type text, queue text, state smallint, priority smallint, attempt int,
	max_attempts smallint, failures smallint, run_at timestamptz, started_at timestamptz,
	finished_at timestamptz, owner uuid, error_code text, error_message text, metadata text, mark boolean)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
	IF NOT EXISTS (SELECT 1 FROM shoal.task_group g WHERE g.app_id = p_app AND g.id = p_group) THEN
		mark := false;
		RETURN NEXT;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT h.id, y.name, q.name, h.state, h.priority, h.attempt, h.max_attempts, h.failures, h.run_at,
	       h.started_at, h.finished_at, h.owner, h.error_code, h.error_message, h.metadata, false
	  FROM (SELECT t.* FROM shoal.task t
		 WHERE t.group_id = p_group AND t.id < p_below AND t.app_id = p_app
		 ORDER BY t.group_id DESC, t.id DESC LIMIT p_limit) h
	  JOIN shoal.queue q ON q.id = h.queue_id
	  JOIN shoal.task_type y ON y.id = h.type_id
	 ORDER BY h.id DESC;
END $$;

-- What a schedule did at its instants before p_below_us, newest first; one row without an instant: there is no such
-- schedule.
CREATE FUNCTION shoal.schedule_fires(p_app int, p_name text, p_below_us bigint, p_limit int)
RETURNS TABLE (at_us bigint, outcome int, task_id uuid, fired_us bigint, message text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	s int := (SELECT c.id FROM shoal.schedule c WHERE c.app_id = p_app AND c.name = p_name);
BEGIN
	IF s IS NULL THEN
		RETURN NEXT;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT shoal.us_of(f.at), f.outcome::int, f.task_id, shoal.us_of(f.fired_at), f.message
	  FROM shoal.schedule_fire f
	 WHERE f.schedule_id = s AND f.at < coalesce(shoal.at_us(p_below_us), 'infinity')
	 ORDER BY f.at DESC LIMIT p_limit;
END $$;

-- ---------------------------------------------------------------------- applications

-- An application's weight and who changed it, on record; the weight before, NULL: there is no such application.
CREATE FUNCTION shoal.set_weight(p_name text, p_weight int, p_by text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	a shoal.application;
BEGIN
	SELECT * INTO a FROM shoal.application x WHERE x.name = p_name FOR NO KEY UPDATE;
	IF FOUND AND a.weight <> p_weight THEN
		UPDATE shoal.application x SET weight = p_weight WHERE x.id = a.id;
		PERFORM shoal.add_event(a.id, NULL, 20, NULL, NULL, NULL, NULL, NULL, json_build_object(
			'weight', p_weight, 'before', a.weight, 'by', p_by)::text);
	END IF;
	RETURN a.weight;
END $$;

-- see the end of 0001
DO $$
DECLARE
	f regprocedure;
BEGIN
	IF current_setting('server_version_num')::int >= 110000 THEN
		FOR f IN SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		          WHERE n.nspname = 'shoal' LOOP
			EXECUTE 'ALTER FUNCTION ' || f || ' SET jit = off';
		END LOOP;
	END IF;
END $$;
