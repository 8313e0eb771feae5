-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0016-trace: the W3C trace that a task belongs to goes with it: into its row, out with its claim or lease, and into what
-- is read of it.
--
-- One text as src/model/trace.h writes it: the traceparent of whoever made the task, and behind a space its tracestate.
-- NULL, and so without a byte, for tasks that have none.  What makes, claims and shows tasks is in the steps before.

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

-- ---------------------------------------------------------------------- reads

DROP FUNCTION shoal.list_tasks(int, uuid, uuid, int, int, smallint, text, text);

-- As in 0001, with the trace.
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

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
