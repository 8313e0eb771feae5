-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0001-base: tables and functions of the task protocol.
--
-- Only SQL of PostgreSQL 9.4.  Every change of a task's state is one guarded statement in one of the
-- functions below; the numbers of states are those of src/model/task.h:
--
--     0 scheduled   1 queued   2 running   3 succeeded   4 failed   5 cancelled   6 expired
--
-- Functions, not session settings, carry the planner switches, so that they hold behind a pooler
-- too: with them every access by id is a nested loop over the primary key, on an empty
-- table as on a huge one.  No index mentions a column that a claim changes, so that a claim is a
-- heap-only update: order_at is set from the moment a task is due until it has finished, and is
-- the predicate of the one index that dispatch needs.

CREATE TABLE shoal.cluster (
	one          boolean PRIMARY KEY DEFAULT true CHECK (one),
	name         text NOT NULL,
	database_id  uuid NOT NULL,              -- tells this database from every other
	epoch        bigint NOT NULL DEFAULT 1,  -- generation of Redis' contents
	beat         bigint NOT NULL DEFAULT 0,  -- counted up by the leader
	leader       uuid,                       -- an incarnation
	leader_epoch bigint NOT NULL DEFAULT 0,
	lease_until  timestamptz
) WITH (fillfactor = 50);

CREATE TABLE shoal.application (
	id         serial PRIMARY KEY,
	name       text NOT NULL UNIQUE,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE shoal.api_key (
	public_id   text PRIMARY KEY,
	app_id      int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	secret_hash bytea NOT NULL,              -- SHA-256 of the whole key
	label       text NOT NULL DEFAULT '',
	created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
	expires_at  timestamptz,
	revoked_at  timestamptz
);
CREATE INDEX api_key_app ON shoal.api_key (app_id);

CREATE TABLE shoal.queue (
	id         serial PRIMARY KEY,
	app_id     int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	name       text NOT NULL,
	paused     boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	UNIQUE (app_id, name)
);
CREATE INDEX queue_paused ON shoal.queue (id) WHERE paused;

CREATE TABLE shoal.task_type (
	id         serial PRIMARY KEY,
	name       text NOT NULL UNIQUE,
	created_by int,                          -- application that named it first; NULL: a node's settings
	created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX task_type_by ON shoal.task_type (created_by);

-- one life of one worker process; owner of all that it holds
CREATE TABLE shoal.incarnation (
	id         uuid PRIMARY KEY,             -- node (6 bytes), worker number (2), random (8)
	state      smallint NOT NULL DEFAULT 0,  -- 0 alive, 1 dead, 2 left
	beat       bigint NOT NULL DEFAULT 0,
	host       text NOT NULL,
	version    text NOT NULL,
	slots      int NOT NULL,
	started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	ended_at   timestamptz
) WITH (fillfactor = 50);

CREATE TABLE shoal.task (
	id            uuid NOT NULL,             -- UUIDv7: its first 48 bits are the time of the submit
	app_id        int NOT NULL,
	queue_id      int NOT NULL,
	type_id       int NOT NULL,
	attempt       int NOT NULL DEFAULT 0,    -- only ever grows
	claim         int NOT NULL DEFAULT 0,    -- with owner: the batch that claimed it
	state         smallint NOT NULL,
	priority      smallint NOT NULL,
	max_attempts  smallint NOT NULL,
	failures      smallint NOT NULL DEFAULT 0, -- attempts that cost budget
	timeout_ms    int,                       -- NULL: the type's
	run_at        timestamptz NOT NULL,
	order_at      timestamptz,               -- due and not finished: the place in its lane
	due_at        timestamptz,               -- scheduled: when it becomes due
	started_at    timestamptz,
	finished_at   timestamptz,
	owner         uuid,                      -- who holds it, or held it last
	waiter        uuid,                      -- incarnation to tell of the end; all zeros: everyone
	payload       text,
	metadata      text,
	result        text,
	error_code    text,
	error_message text,
	PRIMARY KEY (app_id, id)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02,
	autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);

CREATE INDEX task_lane ON shoal.task (queue_id, type_id, order_at) WHERE order_at IS NOT NULL;
CREATE INDEX task_due ON shoal.task (due_at) WHERE due_at IS NOT NULL;

-- what each claim batch took: recovery finds a worker's tasks here, without an index on the owner
CREATE TABLE shoal.claim (
	owner uuid NOT NULL,
	batch int NOT NULL,
	apps  int[] NOT NULL,
	ids   uuid[] NOT NULL,
	PRIMARY KEY (owner, batch)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);

-- ---------------------------------------------------------------------- names

-- ids of queues (of one application) and types, made on first sight; more than p_limit new names
-- for one application raise 54000
CREATE FUNCTION shoal.names_of(p_app int, p_queues text[], p_types text[], p_limit int)
RETURNS TABLE (kind smallint, name text, id int, paused boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	wanted text;
BEGIN
	FOREACH wanted IN ARRAY p_queues LOOP
		IF NOT EXISTS (SELECT 1 FROM shoal.queue q WHERE q.app_id = p_app AND q.name = wanted) THEN
			IF (SELECT count(*) FROM shoal.queue q WHERE q.app_id = p_app) >= p_limit THEN
				RAISE EXCEPTION 'this application has % queues already', p_limit
					USING ERRCODE = '54000';
			END IF;
			BEGIN
				INSERT INTO shoal.queue (app_id, name) VALUES (p_app, wanted);
			EXCEPTION WHEN unique_violation THEN NULL;
			END;
		END IF;
	END LOOP;
	FOREACH wanted IN ARRAY p_types LOOP
		IF NOT EXISTS (SELECT 1 FROM shoal.task_type y WHERE y.name = wanted) THEN
			IF p_app IS NOT NULL
			   AND (SELECT count(*) FROM shoal.task_type y WHERE y.created_by = p_app) >= p_limit THEN
				RAISE EXCEPTION 'this application has named % task types already', p_limit
					USING ERRCODE = '54000';
			END IF;
			BEGIN
				INSERT INTO shoal.task_type (name, created_by) VALUES (wanted, p_app);
			EXCEPTION WHEN unique_violation THEN NULL;
			END;
		END IF;
	END LOOP;
	RETURN QUERY
		SELECT 0::smallint, q.name, q.id, q.paused FROM shoal.queue q
		 WHERE q.app_id = p_app AND q.name = ANY (p_queues)
		UNION ALL
		SELECT 1::smallint, y.name, y.id, false FROM shoal.task_type y WHERE y.name = ANY (p_types);
END $$;

-- ---------------------------------------------------------------------- claim

CREATE FUNCTION shoal.claim_tasks(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[])
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	paused int[] := ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused);
BEGIN
	-- a dead incarnation claims nothing; recovery marks first and takes afterwards
	IF NOT EXISTS (SELECT 1 FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0) THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH picked AS (
		UPDATE shoal.task t
		   SET state = 2, attempt = t.attempt + 1, owner = p_me, claim = p_batch,
		       started_at = clock_timestamp()
		  FROM unnest(p_apps, p_ids, p_types) AS u (app_id, id, type_id)
		 WHERE t.app_id = u.app_id AND t.id = u.id AND t.type_id = u.type_id AND t.state = 1
		   AND t.queue_id <> ALL (paused)
		RETURNING t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures, t.max_attempts,
		          t.timeout_ms, t.payload
	), noted AS (
		INSERT INTO shoal.claim (owner, batch, apps, ids)
		SELECT p_me, p_batch, array_agg(p.app_id), array_agg(p.id) FROM picked p HAVING count(*) > 0
	)
	SELECT p.app_id, p.id, p.attempt, p.type_id, p.queue_id, p.failures::int, p.max_attempts::int,
	       p.timeout_ms, p.payload FROM picked p;
END $$;

-- a claim whose answer was lost: what of the batch is mine?  Nothing, if it was never executed.
CREATE FUNCTION shoal.claimed_tasks(p_me uuid, p_batch int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures::int, t.max_attempts::int,
	       t.timeout_ms, t.payload
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS u (app_id, id), shoal.task t
	 WHERE c.owner = p_me AND c.batch = p_batch
	   AND t.app_id = u.app_id AND t.id = u.id
	   AND t.state = 2 AND t.owner = p_me AND t.claim = p_batch;
END $$;

-- ---------------------------------------------------------------------- finish

-- p_states: 3 succeeded, 4 failed, 0 retry after p_delays ms, 1 given back at no cost.
-- Returns what was accepted: the rest was not this holder's any more.
CREATE FUNCTION shoal.finish_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[],
	p_claims int[], p_states smallint[], p_delays bigint[], p_results text[], p_codes text[],
	p_messages text[], p_done int[])
RETURNS TABLE (app_id int, id uuid, state smallint, waiter uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	UPDATE shoal.task t
	   SET state = u.state,
	       failures = t.failures + CASE WHEN u.state IN (0, 4) THEN 1 ELSE 0 END,
	       finished_at = CASE WHEN u.state IN (3, 4) THEN clock_timestamp() END,
	       order_at = CASE WHEN u.state = 1 THEN t.order_at END,
	       due_at = CASE WHEN u.state = 0 THEN now() + u.delay * interval '1 millisecond' END,
	       run_at = CASE WHEN u.state = 0 THEN now() + u.delay * interval '1 millisecond' ELSE t.run_at END,
	       owner = CASE WHEN u.state <> 1 THEN t.owner END,
	       result = u.result, error_code = u.code, error_message = u.message
	  FROM unnest(p_apps, p_ids, p_attempts, p_claims, p_states, p_delays, p_results, p_codes, p_messages)
	       AS u (app_id, id, attempt, claim, state, delay, result, code, message)
	 WHERE t.app_id = u.app_id AND t.id = u.id
	   AND t.state = 2 AND t.attempt = u.attempt AND t.owner = p_me AND t.claim = u.claim
	RETURNING t.app_id, t.id, t.state, t.waiter;
	IF p_done IS NOT NULL THEN
		DELETE FROM shoal.claim c WHERE c.owner = p_me AND c.batch = ANY (p_done);
	END IF;
END $$;

-- a finish that was not accepted: was it recorded before (its answer was lost), or refused?
CREATE FUNCTION shoal.finished_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[], p_claims int[])
RETURNS TABLE (app_id int, id uuid, state smallint, waiter uuid)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT t.app_id, t.id, t.state, t.waiter
	  FROM unnest(p_apps, p_ids, p_attempts, p_claims) AS u (app_id, id, attempt, claim)
	  JOIN shoal.task t ON t.app_id = u.app_id AND t.id = u.id
	 WHERE t.state <> 2 AND t.attempt = u.attempt AND t.owner = p_me AND t.claim = u.claim;
END $$;

-- ---------------------------------------------------------------------- recover

-- all running tasks of these owners become queued again: a lost attempt keeps its number and costs
-- no budget.  Their incarnations must have been marked in a statement before this one.
CREATE FUNCTION shoal.take_tasks(p_owners uuid[])
RETURNS TABLE (app_id int, id uuid, type_id int, owner uuid, attempt int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	batches shoal.claim[];
BEGIN
	batches := ARRAY(SELECT c FROM shoal.claim c WHERE c.owner = ANY (p_owners));
	IF batches = '{}' THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH held AS (
		SELECT b.owner, x.app_id, x.id
		  FROM unnest(batches) b, LATERAL unnest(b.apps, b.ids) AS x (app_id, id)
		 ORDER BY x.app_id, x.id
	), taken AS (
		UPDATE shoal.task t SET state = 1, owner = NULL
		  FROM held h
		 WHERE t.app_id = h.app_id AND t.id = h.id AND t.state = 2 AND t.owner = h.owner
		RETURNING t.app_id, t.id, t.type_id, h.owner, t.attempt
	)
	SELECT k.app_id, k.id, k.type_id, k.owner, k.attempt FROM taken k;
	DELETE FROM shoal.claim c USING unnest(batches) b WHERE c.owner = b.owner AND c.batch = b.batch;
END $$;

-- owners of claims that are not alive: dead, left, or unknown
CREATE FUNCTION shoal.strays() RETURNS uuid[] LANGUAGE sql STABLE AS $$
	SELECT ARRAY(
		SELECT DISTINCT c.owner FROM shoal.claim c
		  LEFT JOIN shoal.incarnation i ON i.id = c.owner
		 WHERE i.id IS NULL OR i.state <> 0)
$$;

-- what PostgreSQL says that p_me holds, in claim batches below p_before; tidies batches that
-- hold nothing any more
CREATE FUNCTION shoal.held_tasks(p_me uuid, p_before int)
RETURNS TABLE (app_id int, id uuid, attempt int, claim int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT t.app_id, t.id, t.attempt, t.claim
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS x (app_id, id), shoal.task t
	 WHERE c.owner = p_me AND c.batch < p_before
	   AND t.app_id = x.app_id AND t.id = x.id
	   AND t.state = 2 AND t.owner = p_me AND t.claim = c.batch;
	DELETE FROM shoal.claim c
	 WHERE c.owner = p_me AND c.batch < p_before
	   AND NOT EXISTS (
		SELECT 1 FROM unnest(c.apps, c.ids) AS x (app_id, id)
		  JOIN shoal.task t ON t.app_id = x.app_id AND t.id = x.id
		 WHERE t.state = 2 AND t.owner = p_me AND t.claim = c.batch);
END $$;

-- ---------------------------------------------------------------------- beats and the leader

-- one statement a node: counts the beats of its living workers.  One row for each that is still alive.
CREATE FUNCTION shoal.beat(p_ids uuid[])
RETURNS TABLE (id uuid, now_us bigint, leaderless boolean, beat bigint, epoch bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	c shoal.cluster;
BEGIN
	SELECT * INTO c FROM shoal.cluster;
	RETURN QUERY
	WITH beaten AS (
		UPDATE shoal.incarnation i SET beat = i.beat + 1
		 WHERE i.id = ANY (p_ids) AND i.state = 0 RETURNING i.id
	)
	SELECT b.id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
	       c.leader IS NULL OR c.lease_until < clock_timestamp(), c.beat, c.epoch
	  FROM beaten b;
END $$;

-- takes the lease if it is free, keeps it if it is ours; no row: another leads
CREATE FUNCTION shoal.lead(p_me uuid, p_lease_ms int)
RETURNS TABLE (leader_epoch bigint, beat bigint, epoch bigint) LANGUAGE sql AS $$
	UPDATE shoal.cluster c
	   SET leader = p_me,
	       leader_epoch = c.leader_epoch + CASE WHEN c.leader IS DISTINCT FROM p_me THEN 1 ELSE 0 END,
	       lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond',
	       beat = c.beat + 1
	 WHERE (c.leader = p_me AND c.lease_until >= clock_timestamp())
	    OR c.leader IS NULL OR c.lease_until < clock_timestamp()
	RETURNING c.leader_epoch, c.beat, c.epoch
$$;

-- ---------------------------------------------------------------------- feed

-- scheduled tasks whose time has come become queued
CREATE FUNCTION shoal.promote(p_most int, p_aging_ms int)
RETURNS TABLE (app_id int, id uuid, type_id int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	apps int[];
	ids uuid[];
BEGIN
	-- now() and not clock_timestamp(), which is volatile: no index can be searched for it
	SELECT array_agg(d.app_id ORDER BY d.app_id, d.id), array_agg(d.id ORDER BY d.app_id, d.id)
	  INTO apps, ids
	  FROM (SELECT t.app_id, t.id FROM shoal.task t WHERE t.due_at <= now()
	         ORDER BY t.due_at LIMIT p_most) d;
	IF ids IS NULL THEN
		RETURN;
	END IF;
	-- the second look at due_at is in coalesce, so that it does not invite a walk over task_due for
	-- each of them
	RETURN QUERY
	UPDATE shoal.task t
	   SET state = 1, due_at = NULL,
	       order_at = t.due_at + t.priority * p_aging_ms * interval '1 millisecond'
	  FROM unnest(apps, ids) AS u (app_id, id)
	 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 0
	   AND coalesce(t.due_at <= now(), false)
	RETURNING t.app_id, t.id, t.type_id;
END $$;

-- The first rows in policy order.  p_types and p_takes: types that some node serves, and how many of each
-- may wait for a place.  A lane is (queue, type); lanes are found by skipping along the index, so
-- that a lane that is paused or that nobody serves costs one step, whatever its length.
CREATE FUNCTION shoal.select_due(p_types int[], p_takes int[], p_most int)
RETURNS TABLE (app_id int, id uuid, type_id int, run_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH RECURSIVE lane (queue_id, type_id) AS (
		(SELECT t.queue_id, t.type_id FROM shoal.task t WHERE t.order_at IS NOT NULL
		  ORDER BY t.queue_id, t.type_id LIMIT 1)
		UNION ALL
		SELECT n.queue_id, n.type_id FROM lane l, LATERAL (
			SELECT t.queue_id, t.type_id FROM shoal.task t
			 WHERE t.order_at IS NOT NULL AND (t.queue_id, t.type_id) > (l.queue_id, l.type_id)
			 ORDER BY t.queue_id, t.type_id LIMIT 1) n
	)
	SELECT r.app_id, r.id, l.type_id, r.run_at
	  FROM lane l
	  JOIN unnest(p_types, p_takes) AS w (type_id, take) ON w.type_id = l.type_id
	  JOIN shoal.queue q ON q.id = l.queue_id AND NOT q.paused,
	  LATERAL (
		SELECT t.app_id, t.id, t.order_at, t.run_at FROM shoal.task t
		 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id AND t.order_at IS NOT NULL
		   AND t.state = 1
		 ORDER BY t.order_at LIMIT w.take) r
	 ORDER BY r.order_at
	 LIMIT p_most;
END $$;

CREATE FUNCTION shoal.next_due() RETURNS timestamptz LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN (SELECT t.due_at FROM shoal.task t WHERE t.due_at IS NOT NULL ORDER BY t.due_at LIMIT 1);
END $$;

-- one pass of the leader: keeps the lease (no row: lost), promotes, selects.  kind 0 tells
-- of the pass itself; 1: a row that became due just now, which nobody else pushes; 2: the first rows
-- in policy order, with how long each has been due.
CREATE FUNCTION shoal.feed(p_me uuid, p_lease_ms int, p_aging_ms int, p_types int[], p_takes int[], p_most int)
RETURNS TABLE (kind smallint, app_id int, id uuid, type_id int, age_ms bigint, next_due_ms bigint,
	beat bigint, epoch bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	l record;
BEGIN
	SELECT * INTO l FROM shoal.lead(p_me, p_lease_ms);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT 1::smallint, p.app_id, p.id, p.type_id, 0::bigint, NULL::bigint, NULL::bigint,
		NULL::bigint FROM shoal.promote(1000, p_aging_ms) p;
	RETURN QUERY SELECT 0::smallint, NULL::int, NULL::uuid, NULL::int, NULL::bigint,
		(extract(epoch FROM shoal.next_due() - clock_timestamp()) * 1000)::bigint,
		l.beat, l.epoch;
	RETURN QUERY SELECT 2::smallint, d.app_id, d.id, d.type_id,
		(extract(epoch FROM clock_timestamp() - d.run_at) * 1000)::bigint,
		NULL::bigint, NULL::bigint, NULL::bigint
		FROM shoal.select_due(p_types, p_takes, p_most) d;
END $$;

-- without Redis: the feeder's own selection, claimed at once.  One at a time in the cluster; no lock: no rows.
CREATE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[], p_takes int[],
	p_most int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	apps int[];
	ids uuid[];
	types int[];
BEGIN
	IF NOT pg_try_advisory_xact_lock(7290, 1) THEN
		RETURN;
	END IF;
	PERFORM p.id FROM shoal.promote(1000, p_aging_ms) p;
	SELECT array_agg(d.app_id), array_agg(d.id), array_agg(d.type_id) INTO apps, ids, types
	  FROM (SELECT s.app_id, s.id, s.type_id FROM shoal.select_due(p_types, p_takes, p_most) s
	         ORDER BY s.app_id, s.id) d;
	IF ids IS NOT NULL THEN
		RETURN QUERY SELECT * FROM shoal.claim_tasks(p_me, p_batch, apps, ids, types);
	END IF;
END $$;

-- ---------------------------------------------------------------------- waits

-- asks the finisher to tell p_me; returns the state now, so that nothing falls between
CREATE FUNCTION shoal.wait_for(p_app int, p_id uuid, p_me uuid) RETURNS smallint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
	found_state smallint;
BEGIN
	UPDATE shoal.task t
	   SET waiter = CASE WHEN t.waiter IS NULL OR t.waiter = p_me THEN p_me
	                     ELSE '00000000-0000-0000-0000-000000000000'::uuid END
	 WHERE t.app_id = p_app AND t.id = p_id AND t.finished_at IS NULL
	   AND t.waiter IS DISTINCT FROM p_me
	   AND t.waiter IS DISTINCT FROM '00000000-0000-0000-0000-000000000000'::uuid;
	SELECT t.state INTO found_state FROM shoal.task t WHERE t.app_id = p_app AND t.id = p_id;
	RETURN found_state;
END $$;

-- ---------------------------------------------------------------------- reads

-- An application's tasks, newest first, below one id and not below another.  At most p_window rows are
-- looked at: if the page is not full by then, a last row with mark says how far it came.
CREATE FUNCTION shoal.list_tasks(p_app int, p_below uuid, p_from uuid, p_limit int, p_window int,
	p_state smallint, p_queue text, p_type text)
RETURNS TABLE (id uuid, type text, queue text, state smallint, priority smallint, attempt int,
	max_attempts smallint, failures smallint, run_at timestamptz, started_at timestamptz,
	finished_at timestamptz, owner uuid, error_code text, error_message text, metadata text,
	mark boolean)
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
	       h.metadata, false
	  FROM (
		SELECT * FROM (
			SELECT t.id, t.type_id, t.queue_id, t.state, t.priority, t.attempt,
			       t.max_attempts, t.failures, t.run_at, t.started_at, t.finished_at,
			       t.owner, t.error_code, t.error_message, t.metadata
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
		       NULL::timestamptz, NULL::uuid, NULL::text, NULL::text, NULL::text, true
		  FROM shoal.task t
		 WHERE t.app_id = p_app AND t.id < p_below AND t.id >= p_from
		 ORDER BY t.id DESC OFFSET p_window - 1 LIMIT 1;
	END IF;
END $$;

-- At most p_queues queues with unfinished tasks, found by skipping along the lane index.  In each, the
-- first p_count tasks are counted, and of all scheduled ones the next p_count.
CREATE FUNCTION shoal.busy_queues(p_queues int, p_count int)
RETURNS TABLE (application text, queue text, paused boolean, queued bigint, running bigint,
	scheduled bigint, more boolean, lag_ms bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
	busy int[] := '{}';
	later int[];
	counts bigint[];
	at int := 0;
	q int;
	c record;
BEGIN
	LOOP
		SELECT t.queue_id INTO at FROM shoal.task t
		 WHERE t.order_at IS NOT NULL AND t.queue_id > at
		 ORDER BY t.queue_id, t.type_id, t.order_at LIMIT 1;
		EXIT WHEN NOT FOUND OR coalesce(array_length(busy, 1), 0) >= p_queues;
		busy := busy || at;
	END LOOP;
	SELECT array_agg(g.queue_id), array_agg(g.n) INTO later, counts FROM (
		SELECT w.queue_id, count(*) AS n FROM (
			SELECT t.queue_id FROM shoal.task t WHERE t.due_at IS NOT NULL
			 ORDER BY t.due_at LIMIT p_count) w
		 GROUP BY w.queue_id LIMIT p_queues) g;
	FOR q IN SELECT unnest(busy) UNION SELECT unnest(later) LOOP
		SELECT count(*) FILTER (WHERE w.state = 1) AS queued,
		       count(*) FILTER (WHERE w.state = 2) AS running,
		       min(w.run_at) FILTER (WHERE w.state = 1) AS oldest,
		       coalesce((SELECT l.n FROM unnest(later, counts) AS l (id, n) WHERE l.id = q), 0)
				AS scheduled
		  INTO c
		  FROM (SELECT t.state, t.run_at FROM shoal.task t
			 WHERE t.queue_id = q AND t.order_at IS NOT NULL
			 ORDER BY t.queue_id, t.type_id, t.order_at LIMIT p_count) w;
		RETURN QUERY
		SELECT a.name, u.name, u.paused, c.queued, c.running, c.scheduled,
		       c.queued + c.running >= p_count OR c.scheduled >= p_count,
		       coalesce(greatest(extract(epoch FROM clock_timestamp() - c.oldest) * 1000, 0),
				0)::bigint
		  FROM shoal.queue u JOIN shoal.application a ON a.id = u.app_id WHERE u.id = q;
	END LOOP;
END $$;

-- ---------------------------------------------------------------------- the just-in-time compiler

-- A plan that may not use a sequential scan can look expensive enough to be compiled, which takes 20 ms and
-- gains nothing here.  The setting exists from PostgreSQL 11 on.
-- for all functions that there are: each step that makes or replaces some calls it at its end
CREATE FUNCTION shoal.without_jit() RETURNS void LANGUAGE plpgsql AS $$
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
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
