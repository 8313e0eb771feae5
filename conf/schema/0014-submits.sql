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

CREATE FUNCTION shoal.refuse_full() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the queue is full: as many tasks wait in it as its max_length allows' USING ERRCODE = 'SH005';
END $$;

-- ---------------------------------------------------------------------- submitting from SQL
--
-- The rules are those of src/api/task_request.c, task_options.c and src/model/backoff.c: whoever changes one there
-- changes it here.  An option that is null is one that was not given.

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

-- ---------------------------------------------------------------------- reads

-- The tasks of a group below p_below, newest first, in the columns of list_tasks.  One row without an id: there is no
-- such group.
CREATE FUNCTION shoal.group_tasks(p_app int, p_group uuid, p_below uuid, p_limit int)
RETURNS TABLE (id uuid, type text, queue text, state smallint, priority smallint, attempt int,
	max_attempts smallint, failures smallint, run_at timestamptz, started_at timestamptz,
	finished_at timestamptz, owner uuid, error_code text, error_message text, metadata text, mark boolean,
	trace_id text)
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
	       h.started_at, h.finished_at, h.owner, h.error_code, h.error_message, h.metadata, false,
	       shoal.trace_id(h.trace)
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
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
