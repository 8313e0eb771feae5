-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0016-trace: the W3C trace that a task belongs to goes with it: into its row, out with its claim or lease, and into what
-- is read of it.
--
-- One text as src/model/trace.h writes it: the traceparent of whoever made the task, and behind a space its tracestate.
-- NULL, and so without a byte, for tasks that have none.  Functions below are those of the steps that are named, with
-- this column and nothing else.

ALTER TABLE shoal.task ADD COLUMN trace text;

-- ---------------------------------------------------------------------- what it may be

-- The stored form of a traceparent and a tracestate, as src/model/trace.c makes it; NULL if there is no valid
-- traceparent.  A tracestate that is not valid, or longer than 512 bytes, is left out.
CREATE FUNCTION shoal.trace_of_option(p_parent text, p_state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT '00-' || substr(p.t, 4, 49) || '-0' || (strpos('0123456789abcdef', substr(p.t, 55, 1)) - 1) % 4
	       || CASE WHEN octet_length(s.t) BETWEEN 1 AND 512 AND s.t ~ '^[ -~]+$' AND NOT EXISTS (
			SELECT 1 FROM regexp_split_to_table(s.t, ',') AS m (t)
			 WHERE m.t !~ '^[a-z0-9][a-z0-9_*/@-]{0,255}=[^=]{1,255}[^=]?$')
	                    AND length(s.t) - length(replace(s.t, ',', '')) < 32
	               THEN ' ' || s.t ELSE '' END
	  FROM (SELECT btrim(p_parent, E' \t') AS t) p,
	       (SELECT btrim(regexp_replace(p_state, '[ \t]*(,[ \t]*)+', ',', 'g'), E' \t,') AS t) s
	 WHERE p.t ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$' AND p.t !~ '^ff'
	   AND (p.t !~ '^00' OR length(p.t) = 55) AND p.t !~ '^..-0{32}' AND p.t !~ '^..-.{32}-0{16}'
$$;

-- The trace id of a stored text; NULL of what is none
CREATE FUNCTION shoal.trace_id(p_trace text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT substring(p_trace FROM '^00-([0-9a-f]{32})-')
$$;

CREATE FUNCTION shoal.trace_id_of(p_app int, p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN (SELECT shoal.trace_id(t.trace) FROM shoal.task t WHERE t.app_id = p_app AND t.id = p_id);
END $$;

-- ---------------------------------------------------------------------- submits

-- As in 0006.
CREATE OR REPLACE FUNCTION shoal.make_task(p_app int, p_spec json, p_aging_ms int)
RETURNS TABLE (id uuid, state smallint, run_at timestamptz, outcome smallint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	x record;
	held record;
	mark int := 0;
	prio smallint;
	parent uuid;
	open_parents uuid[] := '{}';
	ended smallint;
	stopped_by uuid;
	at timestamptz;
	due timestamptz;
	line timestamptz;
BEGIN
	SELECT * INTO x FROM json_to_record(p_spec) AS r (id uuid, type text, queue text, type_id int,
		queue_id int, payload json, metadata json, priority smallint,
		default_priority smallint, max_attempts smallint, timeout_ms int, run_at_us bigint, delay_ms bigint, deadline_us bigint, retry_until_us bigint,
		backoff json, unique_key text, unique_scope smallint, unique_ms bigint, on_conflict smallint,
		concurrency_key text, concurrency_limit int, after json, run_anyway boolean, group_id uuid,
		waiter uuid, trace text);
	IF x.type_id IS NULL OR x.queue_id IS NULL THEN
		SELECT max(n.id) FILTER (WHERE n.kind = 0), max(n.id) FILTER (WHERE n.kind = 1)
		  INTO x.queue_id, x.type_id
		  FROM shoal.names_of(p_app, ARRAY[coalesce(x.queue, 'default')], ARRAY[x.type], 1000) n;
	END IF;
	id := coalesce(x.id, shoal.uuid_v7());
	prio := coalesce(x.priority, (SELECT q.priority FROM shoal.queue q WHERE q.id = x.queue_id),
		x.default_priority, 5);
	at := CASE
		WHEN x.run_at_us IS NOT NULL
			THEN timestamptz 'epoch' + x.run_at_us * interval '1 microsecond'
		WHEN x.delay_ms IS NOT NULL THEN now() + x.delay_ms * interval '1 millisecond'
		ELSE now() END;

	IF x.unique_key IS NOT NULL THEN
		PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('u', p_app, x.unique_key)]);
		SELECT t.id, t.state, t.run_at, t.special INTO held
		  FROM shoal.unique_key k, LATERAL (
			SELECT * FROM shoal.task t WHERE t.app_id = k.app_id AND t.id = k.task_id OFFSET 0) t
		 WHERE k.app_id = p_app AND k.key = x.unique_key
		   AND CASE k.scope WHEN 0 THEN t.state IN (0, 1) AND t.attempt = 0
		                    WHEN 1 THEN t.state < 3
		                    ELSE k.until > now() END;
		IF FOUND THEN
			IF x.on_conflict = 1 THEN
				RAISE EXCEPTION 'unique_key is taken by task %', held.id USING ERRCODE = 'SH001';
			END IF;
			outcome := 1;
			IF x.on_conflict IN (2, 3) THEN
				-- what has started keeps what it was started with; a task that waits for
				-- parents, or in a key's line, keeps its place
				UPDATE shoal.task t
				   SET payload = x.payload::text, metadata = x.metadata::text, trace = x.trace,
				       state = CASE WHEN v.later THEN 0 ELSE t.state END,
				       run_at = CASE WHEN v.later THEN at ELSE t.run_at END,
				       due_at = CASE WHEN v.later THEN at ELSE t.due_at END,
				       order_at = CASE WHEN v.later THEN NULL ELSE t.order_at END
				  FROM (SELECT x.on_conflict = 3 AND at > now() AS later) v
				 WHERE t.app_id = p_app AND t.id = held.id AND t.state IN (0, 1)
				   AND t.waits_for IS NULL
				RETURNING t.state, t.run_at, CASE WHEN v.later THEN 3 ELSE 2 END
				  INTO held.state, held.run_at, outcome;
				IF NOT FOUND THEN
					outcome := 1;
				ELSE
					PERFORM shoal.add_event(p_app, held.id, CASE outcome WHEN 3 THEN 12
						ELSE 11 END, held.state, NULL, NULL, NULL, NULL, NULL);
				END IF;
			END IF;
			id := held.id;
			state := held.state;
			run_at := held.run_at;
			RETURN NEXT;
			RETURN;
		END IF;
		DELETE FROM shoal.unique_key k WHERE k.app_id = p_app AND k.key = x.unique_key;
		INSERT INTO shoal.unique_key (app_id, key, task_id, scope, until)
		VALUES (p_app, x.unique_key, id, coalesce(x.unique_scope, 1),
			now() + x.unique_ms * interval '1 millisecond');
	END IF;

	-- A parent's row is locked, so that its end is either seen here or sees this child.
	IF x.after IS NOT NULL THEN
		FOR parent IN SELECT DISTINCT p.value::uuid AS n
		                FROM json_array_elements_text(x.after) p ORDER BY n LOOP
			SELECT t.state INTO ended FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = parent FOR UPDATE;
			IF NOT FOUND THEN
				RAISE EXCEPTION 'there is no task % to run after', parent
					USING ERRCODE = 'SH002';
			ELSIF ended < 3 THEN
				UPDATE shoal.task t SET special = coalesce(t.special, 0) | 4
				 WHERE t.app_id = p_app AND t.id = parent AND coalesce(t.special, 0) & 4 = 0;
				open_parents := open_parents || parent;
			ELSIF ended <> 3 AND NOT coalesce(x.run_anyway, false) THEN
				stopped_by := parent;
			END IF;
		END LOOP;
	END IF;

	IF x.concurrency_key IS NOT NULL THEN
		mark := mark | 1;
	END IF;
	IF x.group_id IS NOT NULL THEN
		mark := mark | 2;
	END IF;
	IF x.backoff IS NOT NULL OR x.deadline_us IS NOT NULL OR x.retry_until_us IS NOT NULL THEN
		mark := mark | 8;
	END IF;
	state := CASE WHEN stopped_by IS NOT NULL THEN 5
	              WHEN open_parents <> '{}' OR at > now() THEN 0 ELSE 1 END;
	due := CASE WHEN state = 0 AND open_parents = '{}' THEN at END;
	line := CASE WHEN state = 1 THEN
		at + prio * p_aging_ms * interval '1 millisecond' END;
	INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts, timeout_ms,
		run_at, order_at, due_at, finished_at, waiter, payload, metadata, error_code,
		error_message, special, backoff, retry_until, deadline, expire_at, waits_for,
		group_id, concurrency_key, trace)
	VALUES (id, p_app, x.queue_id, x.type_id, state, prio,
		coalesce(x.max_attempts, (SELECT c.max_attempts FROM shoal.cluster c)), x.timeout_ms,
		at, CASE WHEN mark & 1 = 0 THEN line END, due, CASE WHEN state = 5 THEN clock_timestamp() END,
		x.waiter, x.payload::text, x.metadata::text,
		CASE WHEN state = 5 THEN 'parent_failed' END,
		CASE WHEN state = 5 THEN 'task ' || stopped_by || ', which it was to run after, did not succeed' END,
		nullif(mark, 0), x.backoff::text,
		timestamptz 'epoch' + x.retry_until_us * interval '1 microsecond',
		timestamptz 'epoch' + x.deadline_us * interval '1 microsecond',
		CASE WHEN state < 2 THEN timestamptz 'epoch' + x.deadline_us * interval '1 microsecond' END,
		nullif(CASE WHEN state = 0 THEN coalesce(array_length(open_parents, 1), 0) ELSE 0 END, 0),
		x.group_id, x.concurrency_key, x.trace);
	IF state = 0 THEN
		INSERT INTO shoal.dependency (app_id, parent, child, run)
		SELECT p_app, o, id, coalesce(x.run_anyway, false) FROM unnest(open_parents) o;
	ELSIF state = 5 THEN
		PERFORM shoal.add_event(p_app, id, 8, 5, NULL, NULL, 'parent_failed', stopped_by::text, NULL);
		IF mark & 2 <> 0 THEN
			INSERT INTO shoal.ended (app_id, task_id, state, special, group_id)
			VALUES (p_app, id, 5, 2, x.group_id);
		END IF;
	END IF;
	IF mark & 1 <> 0 THEN
		PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('k', p_app, x.concurrency_key)]);
		UPDATE shoal.key_limit l SET most = coalesce(x.concurrency_limit, l.most), used_at = now()
		 WHERE l.app_id = p_app AND l.key = x.concurrency_key
		   AND (l.most <> coalesce(x.concurrency_limit, l.most)
		     OR l.used_at < now() - interval '1 hour');
		IF NOT FOUND THEN
			INSERT INTO shoal.key_limit (app_id, key, most)
			SELECT p_app, x.concurrency_key, coalesce(x.concurrency_limit, 1)
			 WHERE NOT EXISTS (SELECT 1 FROM shoal.key_limit l
			                    WHERE l.app_id = p_app AND l.key = x.concurrency_key);
		END IF;
		IF state = 1 THEN
			INSERT INTO shoal.key_line (app_id, key, task_id, order_at)
			VALUES (p_app, x.concurrency_key, id, line);
		END IF;
		PERFORM shoal.admit(p_app, x.concurrency_key);
	END IF;
	run_at := at;
	outcome := 0;
	RETURN NEXT;
END $$;

-- As in 0014, with the options traceparent and tracestate.
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
			'concurrency_limit', 'after', 'after_failure', 'metadata', 'traceparent', 'tracestate') THEN
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
	-- what is no trace is none, as over HTTP; what is no text is a mistake
	FOREACH name IN ARRAY ARRAY['traceparent', 'tracestate'] LOOP
		IF (o->name) IS NOT NULL AND json_typeof(o->name) <> 'string' THEN
			PERFORM shoal.refuse_option(name, 'must be a string', o->name);
		END IF;
	END LOOP;
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
		shoal.option_word('after_failure', o->'after_failure', '{cancel,run}') = 'run' AS run_anyway,
		shoal.trace_of_option(shoal.text_of(o->'traceparent'), shoal.text_of(o->'tracestate')) AS trace) r;
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

-- As in 0009; each fire begins a trace.  Its id is that of the task, so that either is found by the other; sampled, as a
-- trace would be that the handler began.
CREATE OR REPLACE FUNCTION shoal.fire_schedule(s shoal.schedule, p_me uuid, p_at timestamptz, p_run_us bigint, p_aging_ms int,
	OUT outcome int, OUT task_id uuid, OUT message text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	mark text := '{"schedule":{"name":' || to_json(s.name) || ',"at":"'
		|| to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '"}';
	meta text := CASE WHEN s.marked THEN s.metadata
	                  WHEN s.metadata IS NULL THEN mark || '}'
	                  ELSE mark || ',' || substr(s.metadata, 2) END;
	made CONSTANT uuid := shoal.uuid_v7();
BEGIN
	-- also when this database's clock has gone back
	IF p_at <= s.last_at OR EXISTS (SELECT 1 FROM shoal.schedule_fire f
	                                 WHERE f.schedule_id = s.id AND f.at = p_at) THEN
		RETURN;
	END IF;
	outcome := 0;
	IF s.while_open = 1 AND shoal.schedule_is_open(s.id, s.app_id) THEN
		outcome := 1;
	ELSE
		BEGIN
			SELECT m.id INTO task_id FROM shoal.make_task(s.app_id, ('{"id":"' || made || '","trace":"00-'
				|| replace(made::text, '-', '') || '-' || substr(md5(made::text), 1, 15) || '1-01","metadata":' || meta
				|| CASE WHEN shoal.at_us(p_run_us) > now() THEN ',"run_at_us":' || p_run_us ELSE '' END
				|| ',' || substr(s.spec, 2))::json, p_aging_ms) m;
		EXCEPTION WHEN OTHERS THEN
			-- the server's troubles are not the task's: all of this is tried again
			IF SQLSTATE ~ '^(25|40|53|55|57|58|XX)' THEN
				RAISE;
			END IF;
			outcome := 2;
			task_id := NULL;
			message := SQLERRM;
		END;
	END IF;
	INSERT INTO shoal.schedule_fire (schedule_id, at, outcome, task_id, leader, message)
	VALUES (s.id, p_at, outcome, task_id, p_me, message);
END $$;

-- ---------------------------------------------------------------------- claims

DROP FUNCTION shoal.claim_direct(uuid, int, int, int[], int[], int);
DROP FUNCTION shoal.claim_direct(uuid, int, int, int[], int[], int, text);
DROP FUNCTION shoal.claim_tasks(uuid, int, int[], uuid[], int[], boolean);
DROP FUNCTION shoal.claim_limited(uuid, int, int[], uuid[], int[], int[], int[], int[]);
DROP FUNCTION shoal.claimed_tasks(uuid, int);

-- As in 0008.
CREATE FUNCTION shoal.claim_limited(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[],
	p_paused int[], p_queues int[], p_limited int[])
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	found_places tid[];
	found_queues int[];
	found_types int[];
	kinds int[];
	refs int[];
	rooms int[];
	l record;
	room int;
	places tid[];
	fits boolean;
	n int;
BEGIN
	LOOP
		SELECT array_agg(r.place ORDER BY r.order_at), array_agg(r.queue_id ORDER BY r.order_at),
		       array_agg(r.type_id ORDER BY r.order_at)
		  INTO found_places, found_queues, found_types
		  FROM unnest(p_apps, p_ids, p_types) AS u (app_id, id, type_id), LATERAL (
			SELECT t.ctid AS place, t.queue_id, t.type_id, t.order_at FROM shoal.task t
			 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 1
				   AND (t.concurrency_key IS NULL OR t.order_at IS NOT NULL)
			   AND t.type_id = u.type_id AND t.queue_id <> ALL (p_paused)
			   AND (t.deadline IS NULL OR t.deadline > now())
			   AND (t.queue_id = ANY (p_queues) OR t.type_id = ANY (p_limited)) OFFSET 0) r;
		EXIT WHEN found_places IS NULL;
		-- in one order for all: whoever waits here waits for a commit
		PERFORM 1 FROM shoal.limit_state s
		  WHERE (s.kind = 0 AND s.ref = ANY (found_queues)) OR (s.kind = 1 AND s.ref = ANY (found_types))
		  ORDER BY s.kind, s.ref FOR UPDATE;
		kinds := '{}';
		refs := '{}';
		rooms := '{}';
		-- a statement of its own: it sees what was committed under the locks before
		FOR l IN SELECT * FROM shoal.limit_state s
			  WHERE (s.kind = 0 AND s.ref = ANY (found_queues))
			     OR (s.kind = 1 AND s.ref = ANY (found_types)) LOOP
			room := shoal.limit_room(l.kind, l.ref, l.concurrency, l.rate, l.rate_ms, l.tokens, l.filled_at);
			IF room = 0 AND l.concurrency IS NOT NULL
			   AND l.checked_at < clock_timestamp() - interval '1 second' THEN
				DELETE FROM shoal.holding h
				 WHERE h.kind = l.kind AND h.ref = l.ref AND NOT EXISTS (
					SELECT 1 FROM shoal.task t
					 WHERE t.app_id = h.app_id AND t.id = h.task_id
					   AND t.state = 2 AND t.attempt = h.attempt);
				UPDATE shoal.limit_state s SET checked_at = clock_timestamp()
				 WHERE s.kind = l.kind AND s.ref = l.ref;
				room := shoal.limit_room(l.kind, l.ref, l.concurrency, l.rate, l.rate_ms, l.tokens,
					l.filled_at);
			END IF;
			kinds := kinds || l.kind::int;
			refs := refs || l.ref;
			rooms := rooms || room;
		END LOOP;
		n := coalesce(array_length(refs, 1), 0);
		places := '{}';
		FOR i IN 1 .. array_length(found_places, 1) LOOP
			fits := true;
			FOR k IN 1 .. n LOOP
				fits := fits AND (rooms[k] > 0 OR refs[k] <> CASE kinds[k]
					WHEN 0 THEN found_queues[i] ELSE found_types[i] END);
			END LOOP;
			CONTINUE WHEN NOT fits;
			places := places || found_places[i];
			FOR k IN 1 .. n LOOP
				rooms[k] := rooms[k] - CASE
					WHEN refs[k] = CASE kinds[k] WHEN 0 THEN found_queues[i]
					                             ELSE found_types[i] END THEN 1
					ELSE 0 END;
			END LOOP;
		END LOOP;
		EXIT WHEN places = '{}';
		RETURN QUERY
		WITH taken AS (
			UPDATE shoal.task t
			   SET state = 2, attempt = t.attempt + 1, owner = p_me, claim = p_batch,
			       started_at = clock_timestamp(), special = coalesce(t.special, 0) | 16
			 WHERE t.ctid = ANY (places) AND t.state = 1
			RETURNING t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures::int AS failures,
			          t.max_attempts::int AS max_attempts, t.timeout_ms, t.payload, t.backoff, t.deadline, t.trace
		), held AS (
			INSERT INTO shoal.holding (kind, ref, app_id, task_id, attempt)
			SELECT s.kind, s.ref, k.app_id, k.id, k.attempt
			  FROM taken k, shoal.limit_state s
			 WHERE s.concurrency IS NOT NULL
			   AND ((s.kind = 0 AND s.ref = k.queue_id) OR (s.kind = 1 AND s.ref = k.type_id))
		), paid AS (
			UPDATE shoal.limit_state s
			   SET tokens = shoal.limit_tokens(s.rate, s.rate_ms, s.tokens, s.filled_at) - g.n,
			       filled_at = clock_timestamp()
			  FROM (SELECT 0 AS kind, k.queue_id AS ref, count(*) AS n FROM taken k GROUP BY k.queue_id
				UNION ALL
				SELECT 1, k.type_id, count(*) FROM taken k GROUP BY k.type_id) g
			 WHERE s.kind = g.kind AND s.ref = g.ref AND s.rate IS NOT NULL
		)
		SELECT k.app_id, k.id, k.attempt, k.type_id, k.queue_id, k.failures, k.max_attempts, k.timeout_ms,
		       k.payload, k.backoff, k.deadline, k.trace FROM taken k;
		GET DIAGNOSTICS n = ROW_COUNT;
		-- a row that was changed between the steps (a waiter that was noted) is looked at again
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
END $$;

-- As in 0013.
CREATE FUNCTION shoal.claim_tasks(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[],
	p_any boolean DEFAULT false)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	pools text[];
	paused int[];
	queues int[];
	limited int[];
	apart int[];
	places tid[];
	apps int[] := p_apps;
	ids uuid[] := p_ids;
	types int[] := p_types;
	n int;
	picked int := 0;
BEGIN
	PERFORM pg_advisory_xact_lock_shared(7290, 2);
	-- a dead incarnation claims nothing; recovery marks first and takes afterwards
	SELECT coalesce(i.pools, '{main}') INTO pools FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF p_any THEN
		pools := NULL;
	END IF;
	IF NOT pools @> '{main}' THEN
		-- most queues are in main, so that those of the others are the shorter list
		queues := ARRAY(SELECT q.id FROM shoal.queue q WHERE q.pool = ANY ((SELECT pools)::text[]));
		SELECT array_agg(u.app_id ORDER BY u.n), array_agg(u.id ORDER BY u.n), array_agg(u.type_id ORDER BY u.n)
		  INTO apps, ids, types
		  FROM unnest(p_apps, p_ids, p_types) WITH ORDINALITY AS u (app_id, id, type_id, n), LATERAL (
			SELECT 1 FROM shoal.task t
			 WHERE t.app_id = u.app_id AND t.id = u.id AND t.queue_id = ANY (queues) OFFSET 0) r;
		IF ids IS NULL THEN
			RETURN;
		END IF;
	END IF;
	-- (those of other pools are no more for here than paused ones)
	SELECT ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused
		     UNION ALL
		     SELECT q.id FROM shoal.queue q
		      WHERE q.pool IS NOT NULL AND q.pool <> ALL ((SELECT pools)::text[])),
	       ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 0),
	       ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 1)
	  INTO paused, queues, limited;
	apart := paused || queues;
	LOOP
		places := ARRAY(SELECT r.place
			  FROM unnest(apps, ids, types) AS u (app_id, id, type_id), LATERAL (
				SELECT t.ctid AS place FROM shoal.task t
				 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 1
				   AND (t.concurrency_key IS NULL OR t.order_at IS NOT NULL)
				   AND t.type_id = u.type_id AND t.queue_id <> ALL (apart)
				   AND t.type_id <> ALL (limited)
				   AND (t.deadline IS NULL OR t.deadline > now()) OFFSET 0) r);
		EXIT WHEN places = '{}';
		RETURN QUERY
		UPDATE shoal.task t
		   SET state = 2, attempt = t.attempt + 1, owner = p_me, claim = p_batch,
		       started_at = clock_timestamp()
		 WHERE t.ctid = ANY (places) AND t.state = 1
		RETURNING t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures::int,
		          t.max_attempts::int, t.timeout_ms, t.payload, t.backoff, t.deadline, t.trace;
		GET DIAGNOSTICS n = ROW_COUNT;
		picked := picked + n;
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
	IF queues <> '{}' OR limited <> '{}' THEN
		RETURN QUERY
		SELECT * FROM shoal.claim_limited(p_me, p_batch, apps, ids, types, paused, queues, limited);
		GET DIAGNOSTICS n = ROW_COUNT;
		picked := picked + n;
	END IF;
	-- the note lists all of the batch: which rows of it are the owner's, they say themselves
	IF picked > 0 THEN
		INSERT INTO shoal.claim (owner, batch, apps, ids) VALUES (p_me, p_batch, apps, ids);
	END IF;
END $$;

-- As in 0005.
CREATE FUNCTION shoal.claimed_tasks(p_me uuid, p_batch int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.attempt, r.type_id, r.queue_id, r.failures::int, r.max_attempts::int,
	       r.timeout_ms, r.payload, r.backoff, r.deadline, r.trace
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS u (app_id, id), LATERAL (
		SELECT * FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id
		   AND t.state = 2 AND t.owner = p_me AND t.claim = p_batch OFFSET 0) r
	 WHERE c.owner = p_me AND c.batch = p_batch;
END $$;

-- As in 0013.
CREATE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int, p_pool text)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	apps int[];
	ids uuid[];
	types int[];
BEGIN
	IF p_pool IS NULL AND NOT pg_try_advisory_xact_lock(7290, 1) THEN
		RETURN;
	ELSIF p_pool IS NOT NULL AND NOT pg_try_advisory_xact_lock(7291, hashtext(p_pool)) THEN
		RETURN;
	END IF;
	PERFORM p.id FROM shoal.promote_since(1000, p_aging_ms, '-infinity') p;
	WITH found AS (
		SELECT s.*, CASE WHEN count(*) OVER lane >= s.asked THEN max(s.order_at) OVER lane END AS seen_to
		  FROM shoal.select_lanes(p_types, p_takes, p_most, '{}', '{}', '{}', '{}', p_aging_ms, NULL, p_pool) s
		WINDOW lane AS (PARTITION BY s.queue_id, s.type_id)
	), ranked AS (
		SELECT f.app_id, f.id, f.type_id, f.order_at, f.weight, min(f.seen_to) OVER app AS seen_to,
		       row_number() OVER (PARTITION BY f.app_id ORDER BY f.order_at) AS n
		  FROM found f
		WINDOW app AS (PARTITION BY f.app_id)
	), lots AS (
		SELECT d.app_id, -ln(1 - random()) AS lot FROM (SELECT DISTINCT r.app_id FROM ranked r) d
	)
	SELECT array_agg(d.app_id), array_agg(d.id), array_agg(d.type_id) INTO apps, ids, types
	  FROM (SELECT c.app_id, c.id, c.type_id
		  FROM (SELECT r.app_id, r.id, r.type_id
			  FROM ranked r JOIN lots o ON o.app_id = r.app_id
			 WHERE r.seen_to IS NULL OR r.order_at <= r.seen_to
			 ORDER BY (r.n - 1 + o.lot) / r.weight, r.order_at
			 LIMIT p_most) c
	         ORDER BY c.app_id, c.id) d;
	IF ids IS NOT NULL THEN
		RETURN QUERY SELECT * FROM shoal.claim_tasks(p_me, p_batch, apps, ids, types);
	END IF;
END $$;

CREATE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT * FROM shoal.claim_direct(p_me, p_batch, p_aging_ms, p_types, p_takes, p_most, NULL::text);
END $$;

DROP FUNCTION shoal.lease_tasks(uuid, int, int[], int[], int[], int[], text[], int[], uuid[], int[], text[]);

-- As in 0015.
CREATE FUNCTION shoal.lease_tasks(p_me uuid, p_batch int, p_apps int[], p_slots int[], p_queues int[],
	p_queue_asks int[], p_types text[], p_type_asks int[], p_leases uuid[], p_ttls_ms int[], p_workers text[])
RETURNS TABLE (slot int, task_id uuid, type text, queue_id int, priority smallint, attempt int, failures int,
	max_attempts int, payload text, metadata text, run_at timestamptz, deadline timestamptz,
	expires_at timestamptz, ends_at timestamptz, trace text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	base int := 0;
	queues int[];
	kinds int[];
	ids uuid[];
	types int[];
	c record;
	lease uuid;
	time_ms bigint;
BEGIN
	FOR n IN 1 .. coalesce(array_length(p_apps, 1), 0) LOOP
		base := base + CASE WHEN n > 1 THEN p_slots[n - 1] ELSE 0 END;
		queues := ARRAY(SELECT u.queue FROM unnest(p_queues, p_queue_asks) AS u (queue, ask) WHERE u.ask = n);
		kinds := shoal.pull_types(p_apps[n], ARRAY(
			SELECT u.name FROM unnest(p_types, p_type_asks) AS u (name, ask) WHERE u.ask = n));
		-- mostly there is nothing, and nobody need wait for that
		CONTINUE WHEN kinds = '{}' OR NOT EXISTS (SELECT 1 FROM shoal.pull_due(queues, kinds, 1));
		IF NOT pg_try_advisory_xact_lock(7292, p_apps[n]) THEN
			slot := 0;
			RETURN NEXT;
			CONTINUE;
		END IF;
		SELECT array_agg(d.id), array_agg(d.type_id) INTO ids, types
		  FROM shoal.pull_due(queues, kinds, p_slots[n]) d;
		CONTINUE WHEN ids IS NULL;
		slot := base;
		FOR c IN SELECT k.* FROM shoal.claim_tasks(p_me, p_batch,
				array_fill(p_apps[n], ARRAY[array_length(ids, 1)]), ids, types, true) k
			   JOIN unnest(ids) WITH ORDINALITY AS o (id, place) ON o.id = k.id ORDER BY o.place LOOP
			slot := slot + 1;
			lease := p_leases[slot];
			time_ms := coalesce(c.timeout_ms,
				(SELECT t.timeout_ms FROM shoal.node_type t WHERE t.type_id = c.type_id AND t.handler = 4),
				(SELECT a.timeout_ms FROM shoal.app_type a
				  WHERE a.app_id = p_apps[n] AND a.type_id = c.type_id));
			ends_at := clock_timestamp() + time_ms * interval '1 millisecond';
			expires_at := least(clock_timestamp() + p_ttls_ms[slot] * interval '1 millisecond', ends_at);
			-- out of its lane: thousands may be leased for long, and none shall be walked over
			UPDATE shoal.task t SET owner = lease, order_at = NULL
			 WHERE t.app_id = p_apps[n] AND t.id = c.id AND t.state = 2 AND t.owner = p_me
			   AND t.claim = p_batch
			RETURNING t.priority, t.metadata, t.run_at INTO priority, metadata, run_at;
			INSERT INTO shoal.lease (id, app_id, task_id, queue_id, claim, attempt, worker, expires_at, ends_at)
			VALUES (lease, p_apps[n], c.id, c.queue_id, p_batch, c.attempt, p_workers[slot], expires_at,
				ends_at);
			INSERT INTO shoal.claim (owner, batch, apps, ids)
			VALUES (lease, p_batch, ARRAY[p_apps[n]], ARRAY[c.id]);
			task_id := c.id;
			type := (SELECT y.name FROM shoal.task_type y WHERE y.id = c.type_id);
			queue_id := c.queue_id;
			attempt := c.attempt;
			failures := c.failures;
			max_attempts := c.max_attempts;
			payload := c.payload;
			deadline := c.deadline;
			trace := c.trace;
			RETURN NEXT;
		END LOOP;
		DELETE FROM shoal.claim k WHERE k.owner = p_me AND k.batch = p_batch;
	END LOOP;
END $$;

-- ---------------------------------------------------------------------- reads

DROP FUNCTION shoal.list_tasks(int, uuid, uuid, int, int, smallint, text, text);

-- As in 0001.
CREATE FUNCTION shoal.list_tasks(p_app int, p_below uuid, p_from uuid, p_limit int, p_window int,
	p_state smallint, p_queue text, p_type text)
RETURNS TABLE (id uuid, type text, queue text, state smallint, priority smallint, attempt int,
	max_attempts smallint, failures smallint, run_at timestamptz, started_at timestamptz,
	finished_at timestamptz, owner uuid, error_code text, error_message text, metadata text,
	mark boolean, trace_id text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
	only_queue int;
	only_type int;
	n bigint;
BEGIN
	IF p_queue IS NOT NULL THEN
		SELECT q.id INTO only_queue FROM shoal.queue q WHERE q.app_id = p_app AND q.name = p_queue;
		IF NOT FOUND THEN
			RETURN;
		END IF;
	END IF;
	IF p_type IS NOT NULL THEN
		SELECT y.id INTO only_type FROM shoal.task_type y WHERE y.name = p_type;
		IF NOT FOUND THEN
			RETURN;
		END IF;
	END IF;
	RETURN QUERY
	SELECT h.id, y.name, q.name, h.state, h.priority, h.attempt, h.max_attempts, h.failures,
	       h.run_at, h.started_at, h.finished_at, h.owner, h.error_code, h.error_message,
	       h.metadata, false, shoal.trace_id(h.trace)
	  FROM (
		SELECT * FROM (
			SELECT t.id, t.type_id, t.queue_id, t.state, t.priority, t.attempt,
			       t.max_attempts, t.failures, t.run_at, t.started_at, t.finished_at,
			       t.owner, t.error_code, t.error_message, t.metadata, t.trace
			  FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id < p_below AND t.id >= p_from
			 ORDER BY t.id DESC LIMIT p_window) w
		 WHERE (p_state IS NULL OR w.state = p_state)
		   AND (only_queue IS NULL OR w.queue_id = only_queue)
		   AND (only_type IS NULL OR w.type_id = only_type)
		 ORDER BY w.id DESC LIMIT p_limit) h
	  JOIN shoal.queue q ON q.id = h.queue_id
	  JOIN shoal.task_type y ON y.id = h.type_id
	 ORDER BY h.id DESC;
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n < p_limit THEN
		RETURN QUERY
		SELECT t.id, NULL::text, NULL::text, NULL::smallint, NULL::smallint, NULL::int,
		       NULL::smallint, NULL::smallint, NULL::timestamptz, NULL::timestamptz,
		       NULL::timestamptz, NULL::uuid, NULL::text, NULL::text, NULL::text, true, NULL::text
		  FROM shoal.task t
		 WHERE t.app_id = p_app AND t.id < p_below AND t.id >= p_from
		 ORDER BY t.id DESC OFFSET p_window - 1 LIMIT 1;
	END IF;
END $$;

DROP FUNCTION shoal.group_tasks(int, uuid, uuid, int);

-- As in 0014.
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

DROP FUNCTION shoal.events_after(int, bigint, bigint, int);

-- As in 0010.
CREATE FUNCTION shoal.events_after(p_app int, p_xid bigint, p_seq bigint, p_most int)
RETURNS TABLE (xid bigint, seq bigint, task_id uuid, at_us bigint, kind smallint, state smallint,
	attempt int, owner uuid, code text, message text, detail text, type text, queue text, trace_id text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
	horizon bigint := txid_snapshot_xmin(txid_current_snapshot());
BEGIN
	RETURN QUERY
	SELECT n.xid, n.seq, n.task_id, (date_part('epoch', n.at) * 1000000)::bigint, n.kind, n.state, n.attempt,
	       n.owner, n.code, n.message, n.detail, y.name, q.name, shoal.trace_id(r.trace)
	  FROM (SELECT e.* FROM shoal.event e
		 WHERE e.app_id = p_app AND (e.xid, e.seq) > (p_xid, p_seq) AND e.xid < horizon
		 ORDER BY e.app_id, e.xid, e.seq LIMIT p_most) n
	  LEFT JOIN LATERAL (
		SELECT t.type_id, t.queue_id, t.trace FROM shoal.task t
		 WHERE t.app_id = p_app AND t.id = n.task_id OFFSET 0) r ON true
	  LEFT JOIN shoal.task_type y ON y.id = r.type_id
	  LEFT JOIN shoal.queue q ON q.id = r.queue_id;
	RETURN QUERY SELECT horizon, 0::bigint, NULL::uuid, 0::bigint, 0::smallint, NULL::smallint, NULL::int,
		NULL::uuid, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text;
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
