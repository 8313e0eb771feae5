-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0010-events: the life of one task, the stream of an application's events, and what running tasks report.
--
-- The ordinary life of a task is in its own row, and event rows tell what the row cannot.  Only where somebody
-- follows an application (shoal.watched) is the ordinary written down as well, by shoal.note_ended at the end
-- of the task: nothing is written when it is submitted or claimed.
--
-- The stream is in the order of (xid, seq), and a reader goes no further than the oldest transaction that
-- is still open: what commits later has a higher xid than all that was read, so nothing is passed by.  A
-- transaction that stays open for long holds the stream back; it loses nothing.

-- what a task says while it runs: its latest progress, and the tail of its log lines.  One row for a task
-- that reports, written over by its worker, at most once a second; it goes with the task.
CREATE TABLE shoal.task_report (
	app_id     int NOT NULL,
	id         uuid NOT NULL,
	attempt    int NOT NULL,
	progress   text,                -- JSON
	log        text,
	updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (app_id, id)
) WITH (fillfactor = 50, autovacuum_vacuum_cost_delay = 0);

-- the time of the submit, which a UUIDv7 begins with
CREATE FUNCTION shoal.made_at(p_id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
	SELECT timestamptz 'epoch' + ('x' || substr(translate(p_id::text, '-', ''), 1, 12))::bit(48)::bigint
		* interval '1 millisecond'
$$;

-- ---------------------------------------------------------------------- the ordinary life

-- Writes down the ordinary life of those of these tasks that have ended and whose application is followed:
-- created, started (the last attempt), succeeded, each with its true time.  Other ends have events of
-- their own, from whoever brought them about.  The caller has asked before whether anybody follows anything.
--
-- It may be told of a task again, since a finish whose answer was lost is sent again, and waits for the first: what
-- has been written down already is not written twice.
CREATE FUNCTION shoal.note_ended(p_apps int[], p_ids uuid[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
	followed int[] := ARRAY(SELECT w.app_id FROM shoal.watched w WHERE w.until > now());
BEGIN
	IF followed = '{}' THEN
		RETURN;
	END IF;
	INSERT INTO shoal.event (app_id, task_id, at, kind, state, attempt, owner)
	SELECT r.app_id, r.id, e.at, e.kind, e.state, e.attempt, e.owner
	  FROM unnest(p_apps, p_ids) WITH ORDINALITY AS u (app_id, id, spot), LATERAL (
		SELECT t.app_id, t.id, t.state, t.attempt, t.owner, t.started_at, t.finished_at
		  FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state >= 3 OFFSET 0) r, LATERAL (VALUES
		(1::smallint, NULL::smallint, shoal.made_at(r.id), NULL::int, NULL::uuid),
		(2::smallint, 2::smallint, r.started_at, r.attempt, r.owner),
		(3::smallint, 3::smallint, CASE WHEN r.state = 3 THEN r.finished_at END, r.attempt, r.owner)
		) AS e (kind, state, at, attempt, owner)
	 WHERE u.app_id = ANY (followed) AND e.at IS NOT NULL
	   AND NOT EXISTS (SELECT 1 FROM shoal.event o
		WHERE o.app_id = r.app_id AND o.task_id = r.id AND o.kind = e.kind
		  AND o.attempt IS NOT DISTINCT FROM e.attempt)
	 ORDER BY u.spot, e.kind;
END $$;

-- ---------------------------------------------------------------------- the stream

-- p_app is followed from the commit of this on, for seven days more.  Where a stream may begin, and the
-- first transaction number that this database has not given yet.
CREATE FUNCTION shoal.follow(p_app int) RETURNS TABLE (first_xid bigint, next_xid bigint)
LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shoal.watched w SET until = now() + interval '7 days'
	 WHERE w.app_id = p_app AND w.until < now() + interval '6 days 23 hours';
	IF NOT FOUND AND NOT EXISTS (SELECT 1 FROM shoal.watched w WHERE w.app_id = p_app) THEN
		BEGIN
			INSERT INTO shoal.watched (app_id, until) VALUES (p_app, now() + interval '7 days');
		EXCEPTION WHEN unique_violation THEN NULL;
		END;
	END IF;
	RETURN QUERY SELECT txid_snapshot_xmin(s.now), txid_snapshot_xmax(s.now)
	  FROM (SELECT txid_current_snapshot() AS now) s;
END $$;

-- The next p_most events behind (p_xid, p_seq), in order, with the names of the task's type and queue, if it
-- is still there.  The last row has kind 0: every event before its xid is either in here or follows
-- what is.  STABLE: both are of one snapshot.
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

-- ---------------------------------------------------------------------- one task

-- The life of one task in order, behind (p_sort, p_rank, p_seq): created, started and its end from its own row,
-- and what event rows tell beside that.  The first row has kind 0 and says that there is such a task.
CREATE FUNCTION shoal.task_events(p_app int, p_id uuid, p_sort bigint, p_rank int, p_seq bigint, p_most int)
RETURNS TABLE (xid bigint, seq bigint, at_us bigint, kind smallint, state smallint, attempt int,
	owner uuid, code text, message text, detail text, sort bigint, rank int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	t record;
	ending smallint;                -- the kind of event that tells of its end
	since bigint;                   -- it was last begun anew by this event
	told boolean := false;
BEGIN
	SELECT x.id, x.state, x.attempt, x.owner, x.started_at, x.finished_at, x.error_code, x.error_message
	  INTO t FROM shoal.task x WHERE x.app_id = p_app AND x.id = p_id;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	ending := CASE t.state WHEN 3 THEN 3 WHEN 4 THEN 5 WHEN 5 THEN 8 WHEN 6 THEN 9 END;
	IF ending > 3 THEN
		SELECT coalesce(max(e.seq), 0) INTO since FROM shoal.event e
		 WHERE e.app_id = p_app AND e.task_id = p_id AND e.kind = 10;
		told := EXISTS (SELECT 1 FROM shoal.event e
			WHERE e.app_id = p_app AND e.task_id = p_id AND e.kind = ending AND e.seq > since);
	END IF;
	RETURN QUERY SELECT NULL::bigint, 0::bigint, 0::bigint, 0::smallint, NULL::smallint, NULL::int, NULL::uuid,
		NULL::text, NULL::text, NULL::text, 0::bigint, 0;
	RETURN QUERY SELECT l.xid, l.seq, (date_part('epoch', l.at) * 1000000)::bigint, l.kind, l.state,
		l.attempt, l.owner, l.code, l.message, l.detail, l.sort, l.rank FROM (
		SELECT k.*, CASE WHEN k.kind = 1 THEN 1 ELSE (date_part('epoch', k.at) * 1000000)::bigint END AS sort
		  FROM (SELECT NULL::bigint AS xid, 0::bigint AS seq, shoal.made_at(p_id) AS at, 1::smallint AS kind,
			       NULL::smallint AS state, NULL::int AS attempt, NULL::uuid AS owner, NULL::text AS code,
			       NULL::text AS message, NULL::text AS detail, 1 AS rank
			UNION ALL
			SELECT NULL, 0, t.started_at, 2::smallint, 2::smallint, t.attempt, t.owner, NULL, NULL, NULL, 2
			UNION ALL
			SELECT e.xid, e.seq, e.at, e.kind, e.state, e.attempt, e.owner, e.code, e.message, e.detail, 3
			  FROM shoal.event e WHERE e.app_id = p_app AND e.task_id = p_id AND e.kind > 3
			UNION ALL
			SELECT NULL, 0, CASE WHEN NOT told THEN t.finished_at END, ending, t.state, t.attempt, t.owner,
			       t.error_code, t.error_message, NULL, 4) k
		 WHERE k.at IS NOT NULL AND k.kind IS NOT NULL) l
	 WHERE (l.sort, l.rank, l.seq) > (p_sort, p_rank, p_seq)
	 ORDER BY l.sort, l.rank, l.seq LIMIT p_most;
END $$;

-- ---------------------------------------------------------------------- reports

-- What running tasks say, a batch of one worker's.  The guard is the attempt, its owner and its claim, as in a
-- finish; an attempt that this worker has ended itself may still have its last words.  A report of an attempt
-- that was taken away changes nothing.
CREATE FUNCTION shoal.report_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[], p_claims int[],
	p_progress text[], p_logs text[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	n int := coalesce(array_length(p_ids, 1), 0);
BEGIN
	FOR i IN 1 .. n LOOP
		CONTINUE WHEN NOT EXISTS (SELECT 1 FROM shoal.task t
			WHERE t.app_id = p_apps[i] AND t.id = p_ids[i] AND t.attempt = p_attempts[i]
			  AND t.owner = p_me AND t.claim = p_claims[i]);
		UPDATE shoal.task_report r
		   SET attempt = p_attempts[i], progress = p_progress[i], log = p_logs[i],
		       updated_at = clock_timestamp()
		 WHERE r.app_id = p_apps[i] AND r.id = p_ids[i] AND r.attempt <= p_attempts[i];
		CONTINUE WHEN FOUND;
		BEGIN
			INSERT INTO shoal.task_report (app_id, id, attempt, progress, log)
			VALUES (p_apps[i], p_ids[i], p_attempts[i], p_progress[i], p_logs[i]);
		EXCEPTION WHEN unique_violation THEN
			NULL;                   -- a later attempt was faster
		END;
	END LOOP;
END $$;

CREATE FUNCTION shoal.progress_of(p_app int, p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN (SELECT r.progress FROM shoal.task_report r WHERE r.app_id = p_app AND r.id = p_id);
END $$;

-- no row: there is no such task
CREATE FUNCTION shoal.log_of(p_app int, p_id uuid) RETURNS TABLE (log text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN QUERY
	SELECT (SELECT r.log FROM shoal.task_report r WHERE r.app_id = p_app AND r.id = p_id)
	  FROM shoal.task t WHERE t.app_id = p_app AND t.id = p_id;
END $$;

-- ---------------------------------------------------------------------- prune

-- Removes events that are older than p_keep_ms (NULL: none), and what is followed no more.  One application
-- after p_app is looked at, its first p_look events in the order of the stream, and its number is returned; NULL:
-- there was none.  more: there may be more of it.
--
-- "created" and "started" carry the time of what they tell, not that of their commit: they go with what is
-- behind them.
CREATE FUNCTION shoal.prune_events(p_app int, p_keep_ms bigint, p_look int,
	OUT app_id int, OUT removed int, OUT more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
	app int;
	places tid[];
	kinds smallint[];
	times timestamptz[];
	last int := 0;
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true);
	DELETE FROM shoal.watched w WHERE w.until < now();
	removed := 0;
	more := false;
	IF p_keep_ms IS NULL THEN
		RETURN;
	END IF;
	SELECT e.app_id INTO app FROM shoal.event e WHERE e.app_id > p_app ORDER BY e.app_id LIMIT 1;
	app_id := app;
	IF app IS NULL THEN
		RETURN;
	END IF;
	SELECT array_agg(x.place), array_agg(x.kind), array_agg(x.at) INTO places, kinds, times
	  FROM (SELECT e.ctid AS place, e.kind, e.at FROM shoal.event e WHERE e.app_id = app
		 ORDER BY e.app_id, e.xid, e.seq LIMIT p_look) x;
	FOR i IN 1 .. array_length(places, 1) LOOP
		CONTINUE WHEN kinds[i] IN (1, 2);
		EXIT WHEN times[i] >= now() - p_keep_ms * interval '1 millisecond';
		last := i;
	END LOOP;
	IF last > 0 THEN
		DELETE FROM shoal.event e WHERE e.ctid = ANY (places[1:last]);
		GET DIAGNOSTICS removed = ROW_COUNT;
		more := last = p_look;
	END IF;
END $$;

-- Removes reports of tasks that are gone, among the p_look behind (p_app, p_id); where the walk stands, NULL at
-- its end.
CREATE FUNCTION shoal.prune_reports(p_app int, p_id uuid, p_look int,
	OUT app_id int, OUT id uuid, OUT removed int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
	apps int[];
	ids uuid[];
	gone tid[];
	n int;
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true);
	SELECT array_agg(x.app_id), array_agg(x.id), array_agg(x.place) FILTER (WHERE x.gone)
	  INTO apps, ids, gone
	  FROM (SELECT r.app_id, r.id, r.place, NOT EXISTS (SELECT 1 FROM shoal.task t
			WHERE t.app_id = r.app_id AND t.id = r.id) AS gone
		  FROM (SELECT k.app_id, k.id, k.ctid AS place FROM shoal.task_report k
			 WHERE (k.app_id, k.id) > (p_app, p_id) ORDER BY k.app_id, k.id LIMIT p_look) r) x;
	n := coalesce(array_length(ids, 1), 0);
	removed := 0;
	IF gone IS NOT NULL THEN
		DELETE FROM shoal.task_report r WHERE r.ctid = ANY (gone);
		GET DIAGNOSTICS removed = ROW_COUNT;
	END IF;
	IF n = p_look THEN
		app_id := apps[n];
		id := ids[n];
	END IF;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
