-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0003-prune: finished tasks go when their time is over.
--
-- No index serves this, since an index costs every task.  Rows are found by walking the primary key,
-- and an id begins with the time of its submit, so that a walk in order of id is a walk in order of
-- age and may end at the first id that is too young.  The walk is the caller's: p_from is where each
-- application's was left.
--
-- A task leaves two or three dead rows behind, with its own at the end.  autovacuum comes when 2% of the
-- table are dead, as 0001 says; its TOAST table follows the same options, and inserts alone (20% of it,
-- from PostgreSQL 13 on) never ask for a vacuum before that.  But a vacuum that pauses by its cost
-- limit removes 155,000 dead rows a second at best, and 31,000 were seen of a table that is larger than
-- shared_buffers, beside 15,000 tasks a second, which leave more than that.  A table that grows costs
-- more than a vacuum that does not pause.
ALTER TABLE shoal.task SET (autovacuum_vacuum_cost_delay = 0);
ALTER TABLE shoal.claim SET (autovacuum_vacuum_cost_delay = 0);

-- Looks at the next rows of each application, p_look in all, below p_bound, and removes those whose time is
-- over: finished for p_finished_ms, failed ones for p_failed_ms, by this database's clock; NULL keeps
-- them.  A row for each application that was looked at: where its walk stands, and whether that is
-- the bound.
--
-- One range is looked at and the same range is removed from: so the DELETE has no plan but the walk
-- over that range, whatever the planner believes of the table, and it takes its rows in the order
-- of their ids.  A row that a retry by hand is just taking is looked at again when that has committed,
-- by the DELETE's own conditions; if it takes long, this one gives up, and is called again.
CREATE FUNCTION shoal.prune(p_apps int[], p_from uuid[], p_bound uuid, p_finished_ms bigint,
	p_failed_ms bigint, p_look int)
RETURNS TABLE (app_id int, at uuid, ended boolean, looked int, removed int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
	finished_before timestamptz := now() - p_finished_ms * interval '1 millisecond';
	failed_before timestamptz := now() - p_failed_ms * interval '1 millisecond';
	budget int := p_look;
	ids uuid[];
BEGIN
	-- What a crash brings back is removed again: nobody need wait for this commit.
	PERFORM set_config('synchronous_commit', 'off', true);
	FOR i IN 1 .. coalesce(array_length(p_apps, 1), 0) LOOP
		app_id := p_apps[i];
		ids := ARRAY(SELECT t.id FROM shoal.task t
		              WHERE t.app_id = p_apps[i] AND t.id > p_from[i] AND t.id < p_bound
		              ORDER BY t.id LIMIT budget);
		looked := coalesce(array_length(ids, 1), 0);
		removed := 0;
		at := p_from[i];
		ended := looked < budget;
		IF looked > 0 THEN
			at := ids[looked];
			DELETE FROM shoal.task t
			 WHERE t.app_id = p_apps[i] AND t.id > p_from[i] AND t.id <= ids[looked]
			   AND ((t.state IN (3, 5, 6) AND t.finished_at < finished_before)
			     OR (t.state = 4 AND t.finished_at < failed_before));
			GET DIAGNOSTICS removed = ROW_COUNT;
		END IF;
		RETURN NEXT;
		budget := budget - looked;
		EXIT WHEN budget <= 0;
	END LOOP;
END $$;

-- As at the end of 0001; and no parallel workers for a walk over an index (from PostgreSQL 9.6 on).
DO $$
BEGIN
	PERFORM shoal.without_jit();
	IF current_setting('server_version_num')::int >= 90600 THEN
		ALTER FUNCTION shoal.prune(int[], uuid[], uuid, bigint, bigint, int)
			SET max_parallel_workers_per_gather = 0;
	END IF;
END $$;
