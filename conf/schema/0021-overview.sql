-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0021-overview: what the whole cluster does, for those who look at it.
--
-- Counters live on each node's scoreboard.  What a node has counted since it last told is written here every three seconds
-- by one of its workers, without waiting for the disk, and not at all while nothing changes: a node at rest writes once in
-- half a minute.  Nothing decides by these rows.
--
-- The view itself reads lanes, notes of claims and leases, each up to a bound, and never the backlog: what is beyond the
-- bound is estimated from the size of the index of lanes, which holds what is due and not finished.

CREATE TABLE shoal.node_pulse (
	node         text PRIMARY KEY,           -- 12 hexadecimal digits
	at           timestamptz NOT NULL,
	span_ms      int NOT NULL,               -- in which was counted:
	submitted    bigint NOT NULL,
	started      bigint NOT NULL,
	succeeded    bigint NOT NULL,
	retried      bigint NOT NULL,
	failed       bigint NOT NULL,
	cpu_ms       bigint NOT NULL,            -- processor time of its workers
	memory_bytes bigint NOT NULL,            -- of its workers, now
	waiters      int NOT NULL,               -- requests that wait for an end or a lease, now
	load         real                        -- of its machine: runnable processes
) WITH (fillfactor = 50);

CREATE FUNCTION shoal.pulse(p_node text, p_span_ms int, p_counts bigint[], p_cpu_ms bigint, p_memory_bytes bigint,
	p_waiters int, p_load real) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true);
	UPDATE shoal.node_pulse p
	   SET at = clock_timestamp(), span_ms = p_span_ms, submitted = p_counts[1], started = p_counts[2],
	       succeeded = p_counts[3], retried = p_counts[4], failed = p_counts[5], cpu_ms = p_cpu_ms,
	       memory_bytes = p_memory_bytes, waiters = p_waiters, load = p_load
	 WHERE p.node = p_node;
	IF NOT FOUND THEN
		-- (a node tells by one worker at a time; should two be the first, the second comes again)
		INSERT INTO shoal.node_pulse VALUES (p_node, clock_timestamp(), p_span_ms, p_counts[1], p_counts[2],
			p_counts[3], p_counts[4], p_counts[5], p_cpu_ms, p_memory_bytes, p_waiters, p_load);
		DELETE FROM shoal.node_pulse p WHERE p.at < now() - interval '1 day';
	END IF;
END $$;

-- How many tasks are due and not finished, about: entries of the index of lanes by its size and what was last known of how
-- full it is.  Costs no read of the index.
CREATE FUNCTION shoal.due_estimate() RETURNS bigint LANGUAGE sql STABLE AS $$
	SELECT (pg_relation_size(c.oid) / current_setting('block_size')::float8
		* CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN c.reltuples / c.relpages ELSE 200 END)::bigint
	  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	 WHERE n.nspname = 'shoal' AND c.relname = 'task_lane'
$$;

CREATE FUNCTION shoal.overview_nodes() RETURNS json LANGUAGE sql STABLE AS $$
	SELECT coalesce(json_agg(json_build_object(
		'id', v.node, 'hostname', v.host, 'version', v.version,
		'state', CASE v.mode WHEN 1 THEN 'maintenance' WHEN 3 THEN 'stopping'
			WHEN 2 THEN CASE WHEN v.all_idle THEN 'drained' ELSE 'draining' END ELSE 'running' END,
		'leads', v.leads, 'workers', v.workers, 'slots', v.slots, 'running', v.running,
		'started_at', shoal.time_text(v.started_at),
		'beat_age_ms', (extract(epoch FROM clock_timestamp() - v.beaten_at) * 1000)::bigint,
		'pulse', CASE WHEN p.node IS NOT NULL THEN json_build_object(
			'age_ms', (extract(epoch FROM clock_timestamp() - p.at) * 1000)::bigint, 'span_ms', p.span_ms,
			'submitted', p.submitted, 'started', p.started, 'succeeded', p.succeeded, 'retried', p.retried,
			'failed', p.failed, 'cpu_ms', p.cpu_ms, 'memory_bytes', p.memory_bytes, 'waiters', p.waiters,
			'load', p.load) END) ORDER BY v.node), '[]')
	  FROM (SELECT substr(replace(i.id::text, '-', ''), 1, 12) AS node, min(i.host) AS host, min(i.version) AS version,
		       max(coalesce(i.node_mode, 0)) AS mode, bool_and(coalesce(i.idle, false)) AS all_idle,
		       bool_or(i.id = c.leader AND c.lease_until > clock_timestamp()) IS TRUE AS leads, count(*) AS workers,
		       sum(i.slots) AS slots, sum(coalesce(i.running, 0)) AS running, min(i.started_at) AS started_at,
		       max(i.beaten_at) AS beaten_at
		  FROM shoal.incarnation i, shoal.cluster c WHERE i.state = 0
		 GROUP BY 1) v LEFT JOIN shoal.node_pulse p ON p.node = v.node
$$;

-- Queues with tasks that are due or run, at most p_queues, those with most first where there are more of them than that; each
-- is counted up to p_count, what is more is estimated.  And of p_lanes lanes at most the first tasks: the p_tasks that have
-- waited longest.
CREATE FUNCTION shoal.overview_queues(p_queues int, p_lanes int, p_count int, p_tasks int)
RETURNS TABLE (waiting bigint, estimated boolean, queues json, oldest json)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
	lane_queues int[] := '{}';
	lane_types int[] := '{}';
	q int := 0;
	y int := 0;
	busy int[] := '{}';
	counts bigint[] := '{}';
	shares float8[] := '{}';
	active int[] := '{}';
	actives bigint[] := '{}';
	n bigint;
	known bigint := 0;
	share float8;
	all_shares float8 := 0;
	all_due bigint;
	vals int[];
	freqs real[];
BEGIN
	LOOP
		SELECT t.queue_id, t.type_id INTO q, y FROM shoal.task t
		 WHERE t.order_at IS NOT NULL AND (t.queue_id, t.type_id) > (q, y)
		 ORDER BY t.queue_id, t.type_id, t.order_at LIMIT 1;
		EXIT WHEN NOT FOUND OR coalesce(array_length(lane_queues, 1), 0) >= p_lanes;
		lane_queues := lane_queues || q;
		lane_types := lane_types || y;
	END LOOP;
	SELECT coalesce(array_agg(g.queue_id), '{}'), coalesce(array_agg(g.n), '{}') INTO active, actives FROM (
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
		 GROUP BY w.queue_id) g;
	SELECT s.most_common_vals::text::int[], s.most_common_freqs INTO vals, freqs FROM pg_catalog.pg_stats s
	 WHERE s.schemaname = 'shoal' AND s.tablename = 'task' AND s.attname = 'queue_id' AND NOT s.inherited;
	FOR q IN SELECT DISTINCT u.q FROM unnest(lane_queues || active) AS u (q) LOOP
		SELECT count(*) INTO n FROM (
			SELECT 1 FROM shoal.task t WHERE t.queue_id = q AND t.order_at IS NOT NULL AND t.state = 1
			 ORDER BY t.queue_id, t.type_id, t.order_at LIMIT p_count) w;
		share := 0;
		IF n >= p_count THEN
			share := coalesce((SELECT f.share FROM unnest(vals, freqs) AS f (val, share) WHERE f.val = q), 0.0001);
		END IF;
		busy := busy || q;
		counts := counts || n;
		shares := shares || share;
		all_shares := all_shares + share;
		known := known + CASE WHEN share = 0 THEN n ELSE 0 END;
	END LOOP;
	waiting := known;
	estimated := all_shares > 0;
	IF estimated THEN
		all_due := shoal.due_estimate() - known - (SELECT coalesce(sum(r.n), 0) FROM unnest(actives) AS r (n));
		FOR i IN 1 .. array_length(busy, 1) LOOP
			CONTINUE WHEN shares[i] = 0;
			counts[i] := greatest(counts[i], (all_due * shares[i] / all_shares)::bigint);
			waiting := waiting + counts[i];
		END LOOP;
	END IF;
	SELECT coalesce(json_agg(json_build_object(
		'id', f.id, 'application', a.name, 'queue', u.name, 'type', k.name, 'priority', f.priority, 'attempt', f.attempt,
		'paused', u.paused, 'run_at', shoal.time_text(f.run_at),
		'age_ms', (extract(epoch FROM clock_timestamp() - f.run_at) * 1000)::bigint) ORDER BY f.run_at), '[]')
	  INTO oldest
	  FROM (SELECT r.* FROM unnest(lane_queues, lane_types) AS l (queue_id, type_id), LATERAL (
			SELECT t.id, t.queue_id, t.type_id, t.run_at, t.priority, t.attempt FROM shoal.task t
			 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id AND t.order_at IS NOT NULL AND t.state = 1
			 ORDER BY t.order_at LIMIT 3) r
		 ORDER BY r.run_at LIMIT p_tasks) f
	  JOIN shoal.queue u ON u.id = f.queue_id JOIN shoal.application a ON a.id = u.app_id
	  JOIN shoal.task_type k ON k.id = f.type_id;
	SELECT coalesce(json_agg(json_build_object(
		'application', v.application, 'queue', v.queue, 'paused', v.paused, 'pool', v.pool, 'waiting', v.waiting,
		'estimated', v.estimated, 'running', v.running,
		'oldest_age_ms', (extract(epoch FROM clock_timestamp() - v.oldest) * 1000)::bigint)
		ORDER BY v.waiting DESC, v.running DESC, v.application, v.queue), '[]')
	  INTO queues
	  FROM (SELECT a.name AS application, u.name AS queue, u.paused, coalesce(u.pool, 'main') AS pool, b.n AS waiting,
		       b.share > 0 AS estimated,
		       coalesce((SELECT r.n FROM unnest(active, actives) AS r (id, n) WHERE r.id = b.id), 0) AS running,
		       (SELECT min(r.run_at) FROM unnest(lane_queues, lane_types) AS l (queue_id, type_id), LATERAL (
				SELECT t.run_at FROM shoal.task t
				 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id AND t.order_at IS NOT NULL
				   AND t.state = 1
				 ORDER BY t.order_at LIMIT 1) r WHERE l.queue_id = b.id) AS oldest
		  FROM unnest(busy, counts, shares) AS b (id, n, share)
		  JOIN shoal.queue u ON u.id = b.id JOIN shoal.application a ON a.id = u.app_id
		 ORDER BY b.n DESC LIMIT p_queues) v;
	RETURN NEXT;
END $$;

-- The p_tasks that run longest, among the first batches of each living worker (a worker's oldest batches have its oldest
-- attempts) and the leases, up to p_count of each.
CREATE FUNCTION shoal.overview_running(p_count int, p_tasks int) RETURNS json
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	RETURN (SELECT coalesce(json_agg(json_build_object(
		'id', r.id, 'application', a.name, 'queue', u.name, 'type', k.name, 'attempt', r.attempt,
		'node', r.node, 'leased_by', r.worker, 'started_at', shoal.time_text(r.started_at),
		'age_ms', (extract(epoch FROM clock_timestamp() - r.started_at) * 1000)::bigint) ORDER BY r.started_at), '[]')
	  FROM (SELECT t.id, t.queue_id, t.type_id, t.attempt, t.started_at, h.node, h.worker
		  FROM (SELECT f.* FROM (
				SELECT b.owner, b.batch, x.app_id, x.id,
				       substr(replace(b.owner::text, '-', ''), 1, 12) AS node, NULL::text AS worker
				  FROM shoal.incarnation i, LATERAL (
					SELECT c.owner, c.batch, c.apps, c.ids FROM shoal.claim c WHERE c.owner = i.id
					 ORDER BY c.owner, c.batch LIMIT 8) b, LATERAL unnest(b.apps, b.ids) AS x (app_id, id)
				 WHERE i.state = 0 LIMIT p_count) f
			UNION ALL
			SELECT g.* FROM (
				SELECT l.id, l.claim, l.app_id, l.task_id, NULL::text, coalesce(l.worker, '-')
				  FROM shoal.lease l LIMIT p_count) g) h, LATERAL (
			SELECT x.id, x.queue_id, x.type_id, x.attempt, x.started_at FROM shoal.task x
			 WHERE x.app_id = h.app_id AND x.id = h.id AND x.state = 2 AND x.owner = h.owner
			   AND x.claim = h.batch
			OFFSET 0) t
		 ORDER BY t.started_at LIMIT p_tasks) r
	  JOIN shoal.queue u ON u.id = r.queue_id JOIN shoal.application a ON a.id = u.app_id
	  JOIN shoal.task_type k ON k.id = r.type_id);
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
