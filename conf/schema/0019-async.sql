-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0019-async: attempts that go on outside, under a lease.
--
-- An endpoint may answer that it will tell the end later.  Then the attempt changes hands: its owner was a worker's
-- incarnation and becomes a lease (0015), and from there on it is what any leased task is.  Its note in shoal.claim
-- stays with the worker's batch until that ends, which does no harm: what the note says is believed only where the
-- owner agrees.
--
-- Which lease an attempt may become is computed by the nodes (src/model/lease_name.h), so that the change can be made
-- by whoever comes first: the worker that hears the answer, or any node that hears of the end before.  What holds a
-- place under a limit holds it on.

-- Attempts, each with the owner, the number and the claim that it must have, that become these leases.  The lease is
-- over after p_ttls_ms, and cannot be extended past what the task itself has for its timeout.
--
-- outcome: 0 done, 1 it was this lease's before, and may have ended since, 2 it was held otherwise.
CREATE FUNCTION shoal.hand_over(p_owners uuid[], p_apps int[], p_tasks uuid[], p_attempts int[], p_claims int[],
	p_leases uuid[], p_ttls_ms int[], p_workers text[])
RETURNS TABLE (n int, outcome int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	t record;
	ends timestamptz;
BEGIN
	-- in the order of the tasks, so that no two of these wait for each other
	FOR n IN SELECT u.n::int FROM unnest(p_tasks) WITH ORDINALITY AS u (id, n) ORDER BY p_apps[u.n::int], u.id LOOP
		-- out of its lane, as 0015 does
		UPDATE shoal.task x SET owner = p_leases[n], order_at = NULL
		 WHERE x.app_id = p_apps[n] AND x.id = p_tasks[n] AND x.state = 2 AND x.owner = p_owners[n]
		   AND x.attempt = p_attempts[n] AND x.claim = p_claims[n]
		RETURNING x.queue_id, x.started_at, x.timeout_ms INTO t;
		IF FOUND THEN
			outcome := 0;
			ends := t.started_at + t.timeout_ms * interval '1 millisecond';
			INSERT INTO shoal.lease (id, app_id, task_id, queue_id, claim, attempt, worker, expires_at, ends_at)
			VALUES (p_leases[n], p_apps[n], p_tasks[n], t.queue_id, p_claims[n], p_attempts[n], p_workers[n],
				least(clock_timestamp() + p_ttls_ms[n] * interval '1 millisecond', ends), ends);
			INSERT INTO shoal.claim (owner, batch, apps, ids)
			VALUES (p_leases[n], p_claims[n], ARRAY[p_apps[n]], ARRAY[p_tasks[n]]);
			-- somebody wants it cancelled: whoever has the lease is told when he extends it
			UPDATE shoal.cancel_request r SET owner = p_leases[n]
			 WHERE r.owner = p_owners[n] AND r.app_id = p_apps[n] AND r.task_id = p_tasks[n];
		ELSE
			outcome := CASE WHEN EXISTS (
				SELECT 1 FROM shoal.task x
				 WHERE x.app_id = p_apps[n] AND x.id = p_tasks[n] AND x.owner = p_leases[n])
				THEN 1 ELSE 2 END;
		END IF;
		RETURN NEXT;
	END LOOP;
END $$;

-- Who runs these tasks, as far as they run at all.
CREATE FUNCTION shoal.holders(p_app int, p_tasks uuid[])
RETURNS TABLE (n int, owner uuid, attempt int, claim int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT u.n::int, r.owner, r.attempt, r.claim
	  FROM unnest(p_tasks) WITH ORDINALITY AS u (id, n), LATERAL (
		SELECT t.owner, t.attempt, t.claim FROM shoal.task t
		 WHERE t.app_id = p_app AND t.id = u.id AND t.state = 2 OFFSET 0) r;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
