-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0002-adopt: a submit may adopt its tasks.
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

CREATE OR REPLACE FUNCTION shoal.finish_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[],
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
	       order_at = CASE WHEN u.state = 1 THEN coalesce(t.order_at, t.run_at) END,
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

CREATE OR REPLACE FUNCTION shoal.take_tasks(p_owners uuid[])
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
		UPDATE shoal.task t SET state = 1, owner = NULL, order_at = coalesce(t.order_at, t.run_at)
		  FROM held h
		 WHERE t.app_id = h.app_id AND t.id = h.id AND t.state = 2 AND t.owner = h.owner
		RETURNING t.app_id, t.id, t.type_id, h.owner, t.attempt
	)
	SELECT k.app_id, k.id, k.type_id, k.owner, k.attempt FROM taken k;
	DELETE FROM shoal.claim c USING unnest(batches) b WHERE c.owner = b.owner AND c.batch = b.batch;
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
				 LIMIT p_count) h
			  JOIN shoal.task t ON t.app_id = h.app_id AND t.id = h.id
			 WHERE t.state = 2 AND t.owner = h.owner AND t.claim = h.batch) w
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
