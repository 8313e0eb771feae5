-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0009-schedules: rules that make tasks.
--
-- When a rule fires is computed in C (src/model/rule.c), from this database's clock; whether it is due is decided
-- here.  A fire is a row unique on schedule and instant, and that row, the task, and the schedule's next instant are
-- one transaction.  So no number of leaders can fire one twice, and none is lost between them: what was not
-- committed is due still.
--
-- rev counts all changes, fires too: whoever computed from an older state changes nothing.
-- gap, overlap, missed: the numbers of src/model/rule.h.  while_open: 0 allow, 1 skip.

CREATE TABLE shoal.schedule (
	id           serial PRIMARY KEY,
	app_id       int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	name         text COLLATE "C" NOT NULL,
	rev          int NOT NULL DEFAULT 1,
	cron         text NOT NULL,
	zone         text NOT NULL,
	gap          smallint NOT NULL,
	overlap      smallint NOT NULL,
	missed       smallint NOT NULL,
	missed_limit int NOT NULL,
	while_open   smallint NOT NULL,
	jitter_ms    int NOT NULL,
	paused       boolean NOT NULL,
	type         text NOT NULL,
	queue        text NOT NULL,
	task         text NOT NULL,       -- JSON, as it was given
	spec         text NOT NULL,       -- JSON, as shoal.make_task takes it, without metadata; begins with {"
	metadata     text,                -- a JSON object with members
	marked       boolean NOT NULL,    -- it has a "schedule" of its own
	next_at      timestamptz,         -- the next instant; NULL while paused, or when none comes
	look_at      timestamptz,         -- when the leader looks at it: then, or again after a problem
	last_at      timestamptz,         -- the last instant that was fired
	last_task    uuid,
	fired        bigint NOT NULL DEFAULT 0,
	skipped      bigint NOT NULL DEFAULT 0,    -- one of its tasks was open
	passed       bigint NOT NULL DEFAULT 0,    -- missed, and not made up for
	refused      bigint NOT NULL DEFAULT 0,    -- its task could not be made
	problem      text,                -- why it does not fire, or did not the last time
	created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
	updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
	UNIQUE (app_id, name)
) WITH (fillfactor = 70);
CREATE INDEX schedule_look ON shoal.schedule (look_at) WHERE look_at IS NOT NULL;

-- the newest 1,000 to 1,100 of each schedule
CREATE TABLE shoal.schedule_fire (
	schedule_id int NOT NULL REFERENCES shoal.schedule (id) ON DELETE CASCADE,
	at          timestamptz NOT NULL,
	outcome     smallint NOT NULL,   -- 0 made a task, 1 left out as one was open, 2 refused
	task_id     uuid,
	leader      uuid NOT NULL,
	fired_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
	message     text,
	PRIMARY KEY (schedule_id, at)
);

CREATE FUNCTION shoal.at_us(p_us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
	SELECT timestamptz 'epoch' + p_us * interval '1 microsecond'
$$;

CREATE FUNCTION shoal.us_of(p_at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
	SELECT (date_part('epoch', p_at) * 1000000)::bigint
$$;

-- ---------------------------------------------------------------------- changes by people

CREATE FUNCTION shoal.schedule_changed(p_app int, p_name text, p_what text) RETURNS void LANGUAGE sql AS $$
	SELECT shoal.add_event(p_app, NULL, 18, NULL, NULL, NULL, NULL, NULL,
		'{"schedule":' || to_json(p_name) || ',"change":"' || p_what || '"}')
$$;

-- 0 made, 1 replaced, 2 there are p_most of the application already
CREATE FUNCTION shoal.put_schedule(p_app int, p_name text, p_cron text, p_zone text, p_gap int, p_overlap int,
	p_missed int, p_missed_limit int, p_while_open int, p_jitter_ms int, p_paused boolean, p_type text,
	p_queue text, p_task text, p_spec text, p_metadata text, p_marked boolean, p_next_us bigint, p_most int)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	next timestamptz := shoal.at_us(p_next_us);
BEGIN
	-- one at a time for each application: neither the name nor the count can be raced for
	PERFORM 1 FROM shoal.application a WHERE a.id = p_app FOR NO KEY UPDATE;
	UPDATE shoal.schedule s
	   SET rev = s.rev + 1, cron = p_cron, zone = p_zone, gap = p_gap, overlap = p_overlap, missed = p_missed,
	       missed_limit = p_missed_limit, while_open = p_while_open, jitter_ms = p_jitter_ms,
	       paused = p_paused, type = p_type, queue = p_queue, task = p_task, spec = p_spec,
	       metadata = p_metadata, marked = p_marked, next_at = next, look_at = next, problem = NULL,
	       updated_at = clock_timestamp()
	 WHERE s.app_id = p_app AND s.name = p_name;
	IF FOUND THEN
		PERFORM shoal.schedule_changed(p_app, p_name, 'replaced');
		RETURN 1;
	END IF;
	IF (SELECT count(*) FROM shoal.schedule s WHERE s.app_id = p_app) >= p_most THEN
		RETURN 2;
	END IF;
	INSERT INTO shoal.schedule (app_id, name, cron, zone, gap, overlap, missed, missed_limit, while_open,
		jitter_ms, paused, type, queue, task, spec, metadata, marked, next_at, look_at)
	VALUES (p_app, p_name, p_cron, p_zone, p_gap, p_overlap, p_missed, p_missed_limit, p_while_open,
		p_jitter_ms, p_paused, p_type, p_queue, p_task, p_spec, p_metadata, p_marked, next, next);
	PERFORM shoal.schedule_changed(p_app, p_name, 'created');
	RETURN 0;
END $$;

-- true if there was one
CREATE FUNCTION shoal.delete_schedule(p_app int, p_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM shoal.schedule s WHERE s.app_id = p_app AND s.name = p_name;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM shoal.schedule_changed(p_app, p_name, 'deleted');
	RETURN true;
END $$;

-- What comes while it is paused is neither fired nor missed.
CREATE FUNCTION shoal.pause_schedule(p_app int, p_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shoal.schedule s
	   SET rev = s.rev + 1, paused = true, next_at = NULL, look_at = NULL, updated_at = clock_timestamp()
	 WHERE s.app_id = p_app AND s.name = p_name AND NOT s.paused;
	IF FOUND THEN
		PERFORM shoal.schedule_changed(p_app, p_name, 'paused');
	END IF;
	RETURN EXISTS (SELECT 1 FROM shoal.schedule s WHERE s.app_id = p_app AND s.name = p_name);
END $$;

-- false: it has changed since it was read as p_rev
CREATE FUNCTION shoal.resume_schedule(p_app int, p_name text, p_rev int, p_next_us bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
	next timestamptz := shoal.at_us(p_next_us);
BEGIN
	UPDATE shoal.schedule s
	   SET rev = s.rev + 1, paused = false, next_at = next, look_at = next, problem = NULL,
	       updated_at = clock_timestamp()
	 WHERE s.app_id = p_app AND s.name = p_name AND s.rev = p_rev AND s.paused;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM shoal.schedule_changed(p_app, p_name, 'resumed');
	RETURN true;
END $$;

-- ---------------------------------------------------------------------- the leader's part

-- What is due, ordered by id, at most p_most; before it a row without an id that says the time, and how long until
-- another is (NULL: none).
CREATE FUNCTION shoal.due_schedules(p_most int)
RETURNS TABLE (id int, rev int, name text, cron text, zone text, gap smallint, overlap smallint, missed smallint,
	missed_limit int, jitter_ms int, next_us bigint, now_us bigint, wait_ms bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	now_at timestamptz := clock_timestamp();
BEGIN
	RETURN QUERY SELECT NULL::int, NULL::int, NULL::text, NULL::text, NULL::text, NULL::smallint,
		NULL::smallint, NULL::smallint, NULL::int, NULL::int, NULL::bigint, shoal.us_of(now_at),
		(SELECT ceil(date_part('epoch', s.look_at - now_at) * 1000)::bigint FROM shoal.schedule s
		  WHERE s.look_at IS NOT NULL AND s.look_at > now_at ORDER BY s.look_at LIMIT 1);
	RETURN QUERY SELECT d.id, d.rev, d.name, d.cron, d.zone, d.gap, d.overlap, d.missed, d.missed_limit,
		d.jitter_ms, shoal.us_of(d.next_at), NULL::bigint, NULL::bigint
		FROM (SELECT * FROM shoal.schedule s
		       WHERE s.look_at IS NOT NULL AND s.look_at <= now_at AND s.next_at <= now_at
		       ORDER BY s.look_at LIMIT p_most) d
		ORDER BY d.id;
END $$;

-- is one of a schedule's newest tasks open?
CREATE FUNCTION shoal.schedule_is_open(p_id int, p_app int) RETURNS boolean LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
	RETURN EXISTS (
		SELECT 1 FROM (SELECT f.task_id FROM shoal.schedule_fire f
		                WHERE f.schedule_id = p_id ORDER BY f.at DESC LIMIT 100) f, LATERAL (
			SELECT 1 FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = f.task_id AND t.state < 3 OFFSET 0) o
		 WHERE f.task_id IS NOT NULL);
END $$;

-- Fires one schedule at one instant; the caller holds its row.  0 to 2 as in schedule_fire; NULL: it was fired before.
-- Each fire begins a trace.  Its id is that of the task, so that either is found by the other; sampled, as a trace would be
-- that the handler began.
CREATE FUNCTION shoal.fire_schedule(s shoal.schedule, p_me uuid, p_at timestamptz, p_run_us bigint, p_aging_ms int,
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

-- For each schedule of p_ids, unless it has changed since it was read as p_revs: fires the p_counts[i] instants of
-- p_ats that are its (their tasks are not due before p_runs), notes p_passed instants that were missed since p_firsts,
-- and sets the next one.  With a problem nothing is fired, and the leader looks again in a minute.
CREATE FUNCTION shoal.fire_schedules(p_me uuid, p_aging_ms int, p_ids int[], p_revs int[], p_nexts bigint[],
	p_passed bigint[], p_more boolean[], p_firsts bigint[], p_problems text[], p_counts int[], p_ats bigint[],
	p_runs bigint[])
RETURNS TABLE (schedule int, tasks int, left_out int, refusals int, note text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	s shoal.schedule;
	f record;
	base int := 0;
	next timestamptz;
	last timestamptz;
	new_task uuid;
BEGIN
	FOR i IN 1 .. array_length(p_ids, 1) LOOP
		base := base + CASE WHEN i > 1 THEN p_counts[i - 1] ELSE 0 END;
		SELECT * INTO s FROM shoal.schedule c
		 WHERE c.id = p_ids[i] AND c.rev = p_revs[i] AND c.look_at <= clock_timestamp() FOR UPDATE;
		CONTINUE WHEN NOT FOUND
			OR (p_counts[i] > 0 AND shoal.at_us(p_ats[base + p_counts[i]]) > clock_timestamp());
		schedule := s.id;
		tasks := 0;
		left_out := 0;
		refusals := 0;
		note := p_problems[i];
		last := s.last_at;
		new_task := s.last_task;
		FOR k IN 1 .. p_counts[i] LOOP
			f := shoal.fire_schedule(s, p_me, shoal.at_us(p_ats[base + k]), p_runs[base + k], p_aging_ms);
			CONTINUE WHEN f.outcome IS NULL;
			last := shoal.at_us(p_ats[base + k]);
			new_task := coalesce(f.task_id, new_task);
			tasks := tasks + (f.outcome = 0)::int;
			left_out := left_out + (f.outcome = 1)::int;
			refusals := refusals + (f.outcome = 2)::int;
			note := coalesce(f.message, note);
		END LOOP;
		next := CASE WHEN p_problems[i] IS NULL THEN shoal.at_us(p_nexts[i]) ELSE s.next_at END;
		UPDATE shoal.schedule c
		   SET rev = c.rev + 1, next_at = next,
		       look_at = CASE WHEN p_problems[i] IS NULL THEN next
		                      ELSE clock_timestamp() + interval '1 minute' END,
		       last_at = last, last_task = new_task, fired = c.fired + tasks,
		       skipped = c.skipped + left_out, passed = c.passed + p_passed[i],
		       refused = c.refused + refusals, problem = note
		 WHERE c.id = s.id;
		IF p_passed[i] > 0 OR refusals > 0 OR (p_problems[i] IS NOT NULL AND s.problem IS DISTINCT FROM note) THEN
			PERFORM shoal.add_event(s.app_id, NULL, 19, NULL, NULL, p_me, NULL, note,
				'{"schedule":' || to_json(s.name) || ',"missed":' || p_passed[i]
				|| ',"more":' || p_more[i]
				|| coalesce(',"since":"' || to_char(shoal.at_us(p_firsts[i]) AT TIME ZONE 'UTC',
					'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '"', '')
				|| ',"refused":' || refusals || '}');
		END IF;
		IF s.fired / 100 <> (s.fired + tasks) / 100 THEN
			DELETE FROM shoal.schedule_fire o
			 WHERE o.schedule_id = s.id AND o.at < (
				SELECT n.at FROM shoal.schedule_fire n WHERE n.schedule_id = s.id
				 ORDER BY n.at DESC OFFSET 1000 LIMIT 1);
		END IF;
		RETURN NEXT;
	END LOOP;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
