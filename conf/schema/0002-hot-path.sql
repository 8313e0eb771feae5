-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0002-hot-path: a submit may adopt its tasks, and no plan depends on what the planner believes.
--
-- A worker that has places and finds nothing waiting stores tasks that are its own from the start:
-- inserted as running, as attempt 1, under a claim batch of that worker.  Such a row never waited
-- in line, so its order_at is NULL, no index changes when it finishes, and the update is heap-only.  If it is
-- lost or given back it comes first in line: order_at becomes its run_at, without the share of
-- its priority.
--
-- fillfactor 50: room on the page for the second version of each row of a batch that finishes at once.

ALTER TABLE shoal.task SET (fillfactor = 50);

-- ids do not compress, and the attempt costs more than the space
ALTER TABLE shoal.claim ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN apps SET STORAGE EXTERNAL;

-- what a submit looks at before it adopts: the paused queues, NULL if p_me is not alive
CREATE FUNCTION shoal.may_adopt(p_me uuid) RETURNS int[]
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	IF NOT EXISTS (SELECT 1 FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0) THEN
		RETURN NULL;
	END IF;
	RETURN ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused);
END $$;

-- ---------------------------------------------------------------------- plans that cannot turn round
--
-- In 0001 each batch was joined with the table.  A plan that was made while the table was empty may
-- read the whole table and look up the batch, not the other way round, and a session keeps it: one
-- claim of 256 ids took 26 s once the table had grown.  id = ANY (ids) is no better: on an empty table it is
-- a filter.  So a batch is done in two steps that have one plan each, whatever the planner believes:
--
-- 1. From each id to its row by LATERAL, with an OFFSET that nothing is pulled through: the primary key
--    is the only index that fits.  The guard is looked at here, and what comes out is where the row lies.
-- 2. An UPDATE by ctid = ANY (places): a TID scan, in the order of the places, so no two deadlock.
--
-- A place stands for one version of a row, and as long as the caller's snapshot lives it is given to no
-- other.  If somebody changed the row between the steps (a waiter that was noted), the second finds nothing
-- there; so both are done again for what was missed.  What belongs to a row is found by the place's position.

CREATE OR REPLACE FUNCTION shoal.claim_tasks(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[])
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	paused int[] := ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused);
	places tid[];
	n int;
	picked int := 0;
BEGIN
	-- a dead incarnation claims nothing; recovery marks first and takes afterwards
	IF NOT EXISTS (SELECT 1 FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0) THEN
		RETURN;
	END IF;
	LOOP
		places := ARRAY(SELECT r.place
			  FROM unnest(p_apps, p_ids, p_types) AS u (app_id, id, type_id), LATERAL (
				SELECT t.ctid AS place FROM shoal.task t
				 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 1
				   AND t.type_id = u.type_id AND t.queue_id <> ALL (paused) OFFSET 0) r);
		EXIT WHEN places = '{}';
		RETURN QUERY
		UPDATE shoal.task t
		   SET state = 2, attempt = t.attempt + 1, owner = p_me, claim = p_batch,
		       started_at = clock_timestamp()
		 WHERE t.ctid = ANY (places) AND t.state = 1
		RETURNING t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures::int,
		          t.max_attempts::int, t.timeout_ms, t.payload;
		GET DIAGNOSTICS n = ROW_COUNT;
		picked := picked + n;
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
	-- the note lists all of the batch: which rows of it are the owner's, they say themselves
	IF picked > 0 THEN
		INSERT INTO shoal.claim (owner, batch, apps, ids) VALUES (p_me, p_batch, p_apps, p_ids);
	END IF;
END $$;

CREATE OR REPLACE FUNCTION shoal.claimed_tasks(p_me uuid, p_batch int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.attempt, r.type_id, r.queue_id, r.failures::int, r.max_attempts::int,
	       r.timeout_ms, r.payload
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS u (app_id, id), LATERAL (
		SELECT * FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id
		   AND t.state = 2 AND t.owner = p_me AND t.claim = p_batch OFFSET 0) r
	 WHERE c.owner = p_me AND c.batch = p_batch;
END $$;

CREATE OR REPLACE FUNCTION shoal.finished_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[],
	p_claims int[])
RETURNS TABLE (app_id int, id uuid, state smallint, waiter uuid)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.state, r.waiter
	  FROM unnest(p_apps, p_ids, p_attempts, p_claims) AS u (app_id, id, attempt, claim), LATERAL (
		SELECT t.app_id, t.id, t.state, t.waiter FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id
		   AND t.state <> 2 AND t.attempt = u.attempt AND t.owner = p_me AND t.claim = u.claim
		OFFSET 0) r;
END $$;

-- owner is NULL here: nobody asks whose they were
CREATE OR REPLACE FUNCTION shoal.take_tasks(p_owners uuid[])
RETURNS TABLE (app_id int, id uuid, type_id int, owner uuid, attempt int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	batches shoal.claim[];
	places tid[];
	n int;
BEGIN
	batches := ARRAY(SELECT c FROM shoal.claim c WHERE c.owner = ANY (p_owners));
	LOOP
		places := ARRAY(SELECT r.place
			  FROM unnest(batches) b, LATERAL unnest(b.apps, b.ids) AS x (app_id, id), LATERAL (
				SELECT t.ctid AS place FROM shoal.task t
				 WHERE t.app_id = x.app_id AND t.id = x.id AND t.state = 2
				   AND t.owner = b.owner AND t.claim = b.batch OFFSET 0) r);
		EXIT WHEN places = '{}';
		RETURN QUERY
		UPDATE shoal.task t SET state = 1, owner = NULL, order_at = coalesce(t.order_at, t.run_at)
		 WHERE t.ctid = ANY (places) AND t.state = 2
		RETURNING t.app_id, t.id, t.type_id, NULL::uuid, t.attempt;
		GET DIAGNOSTICS n = ROW_COUNT;
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
	DELETE FROM shoal.claim c USING unnest(batches) b WHERE c.owner = b.owner AND c.batch = b.batch;
END $$;

CREATE OR REPLACE FUNCTION shoal.held_tasks(p_me uuid, p_before int)
RETURNS TABLE (app_id int, id uuid, attempt int, claim int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.attempt, r.claim
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS x (app_id, id), LATERAL (
		SELECT t.app_id, t.id, t.attempt, t.claim FROM shoal.task t
		 WHERE t.app_id = x.app_id AND t.id = x.id
		   AND t.state = 2 AND t.owner = p_me AND t.claim = c.batch OFFSET 0) r
	 WHERE c.owner = p_me AND c.batch < p_before;
	DELETE FROM shoal.claim c
	 WHERE c.owner = p_me AND c.batch < p_before
	   AND NOT EXISTS (
		SELECT 1 FROM unnest(c.apps, c.ids) AS x (app_id, id), LATERAL (
			SELECT 1 FROM shoal.task t
			 WHERE t.app_id = x.app_id AND t.id = x.id
			   AND t.state = 2 AND t.owner = p_me AND t.claim = c.batch OFFSET 0) r);
END $$;

-- those of these tasks that have ended, or are not there
CREATE FUNCTION shoal.ended_tasks(p_apps int[], p_ids uuid[]) RETURNS TABLE (app_id int, id uuid)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT u.app_id, u.id
	  FROM unnest(p_apps, p_ids) AS u (app_id, id) LEFT JOIN LATERAL (
		SELECT true AS open FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id AND t.finished_at IS NULL OFFSET 0) r ON true
	 WHERE r.open IS NULL;
END $$;

-- one task by its key, whatever the planner believes of the table
CREATE FUNCTION shoal.task_of(p_app int, p_id uuid) RETURNS SETOF shoal.task
LANGUAGE plpgsql STABLE ROWS 1 SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN QUERY SELECT * FROM shoal.task t WHERE t.app_id = p_app AND t.id = p_id;
END $$;

-- As in 0001, but what runs is counted by the notes of the claims: a task that was adopted has no place in
-- a lane.  At most p_count running tasks are looked at in all.
CREATE OR REPLACE FUNCTION shoal.busy_queues(p_queues int, p_count int)
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
	active int[];
	actives bigint[];
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
	SELECT array_agg(g.queue_id), array_agg(g.n) INTO active, actives FROM (
		SELECT w.queue_id, count(*) AS n FROM (
			SELECT t.queue_id
			  FROM (SELECT k.owner, k.batch, x.app_id, x.id
				  FROM shoal.claim k, LATERAL unnest(k.apps, k.ids) AS x (app_id, id)
				 LIMIT p_count) h, LATERAL (
				-- from each note to its task, whatever the planner believes of either
				SELECT x.queue_id FROM shoal.task x
				 WHERE x.app_id = h.app_id AND x.id = h.id AND x.state = 2 AND x.owner = h.owner
				   AND x.claim = h.batch
				OFFSET 0) t) w
		 GROUP BY w.queue_id LIMIT p_queues) g;
	FOR q IN SELECT unnest(busy) UNION SELECT unnest(later) UNION SELECT unnest(active) LOOP
		SELECT count(*) FILTER (WHERE w.state = 1) AS queued,
		       coalesce((SELECT r.n FROM unnest(active, actives) AS r (id, n) WHERE r.id = q), 0)
				AS running,
		       min(w.run_at) FILTER (WHERE w.state = 1) AS oldest,
		       coalesce((SELECT l.n FROM unnest(later, counts) AS l (id, n) WHERE l.id = q), 0)
				AS scheduled
		  INTO c
		  FROM (SELECT t.state, t.run_at FROM shoal.task t
			 WHERE t.queue_id = q AND t.order_at IS NOT NULL
			 ORDER BY t.queue_id, t.type_id, t.order_at LIMIT p_count) w;
		RETURN QUERY
		SELECT a.name, u.name, u.paused, c.queued, c.running, c.scheduled,
		       c.queued >= p_count OR c.running >= p_count OR c.scheduled >= p_count,
		       coalesce(greatest(extract(epoch FROM clock_timestamp() - c.oldest) * 1000, 0),
				0)::bigint
		  FROM shoal.queue u JOIN shoal.application a ON a.id = u.app_id WHERE u.id = q;
	END LOOP;
END $$;

-- see the end of 0001: CREATE OR REPLACE has put the setting back
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
