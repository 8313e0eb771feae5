-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0004-lanes: a feeder that knows how far it has read.
--
-- What was claimed leaves dead entries at the head of its lane until the next vacuum, a million of them
-- where a million tasks were drained.  A pass that begins at the head walks over all of them. So the leader
-- says where to begin in the lanes that it knows, and only now and then begins at the head.
--
-- promote, next_due, select_due and feed of 0001 stay for nodes of the version before.

-- the first lane behind (p_queue, p_type) and before (p_before, p_before_type), NULL: before the end.  By
-- columns and not by rows: (queue_id, type_id) < (q, y) does not end a walk over the lane (q, y) itself.
CREATE FUNCTION shoal.next_lane(p_queue int, p_type int, p_before int, p_before_type int,
	OUT queue_id int, OUT type_id int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	most CONSTANT int := 2147483647;
	q int;
	y int;
BEGIN
	SELECT t.queue_id, t.type_id INTO q, y FROM shoal.task t
	 WHERE t.order_at IS NOT NULL AND t.queue_id = p_queue AND t.type_id > p_type
	   AND t.type_id < CASE WHEN p_before = p_queue THEN p_before_type ELSE most END
	 ORDER BY t.type_id LIMIT 1;
	IF NOT FOUND AND p_before IS DISTINCT FROM p_queue THEN
		SELECT t.queue_id, t.type_id INTO q, y FROM shoal.task t
		 WHERE t.order_at IS NOT NULL AND t.queue_id > p_queue AND t.queue_id < coalesce(p_before, most)
		 ORDER BY t.queue_id, t.type_id LIMIT 1;
		IF NOT FOUND AND p_before IS NOT NULL THEN
			SELECT t.queue_id, t.type_id INTO q, y FROM shoal.task t
			 WHERE t.order_at IS NOT NULL AND t.queue_id = p_before AND t.type_id < p_before_type
			 ORDER BY t.type_id LIMIT 1;
		END IF;
	END IF;
	queue_id := q;
	type_id := y;
END $$;

-- lanes with tasks that are due, beside those that are known (sorted by queue and type).  Only the gaps
-- between those are searched, so that nothing in them is walked over.
CREATE FUNCTION shoal.find_lanes(p_queues int[], p_types int[])
RETURNS TABLE (queue_id int, type_id int)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
	q int := 0;
	y int := 0;
	n int := coalesce(array_length(p_queues, 1), 0);
	i int := 1;
	l record;
BEGIN
	LOOP
		-- beyond the end the elements are NULL: no bound
		SELECT * INTO l FROM shoal.next_lane(q, y, p_queues[i], p_types[i]);
		IF l.queue_id IS NOT NULL THEN
			q := l.queue_id;
			y := l.type_id;
			RETURN QUERY SELECT q, y;
		ELSIF i <= n THEN
			q := p_queues[i];
			y := p_types[i];
			i := i + 1;
		ELSE
			RETURN;
		END IF;
	END LOOP;
END $$;

-- The first rows in policy order: in known lanes from order_at p_from (microseconds since 1970) on, in
-- all others from the head.  p_types and p_takes: types that some node serves, and how many of each.
CREATE FUNCTION shoal.select_lanes(p_types int[], p_takes int[], p_most int, p_queues int[],
	p_lane_types int[], p_from bigint[])
RETURNS TABLE (app_id int, id uuid, type_id int, run_at timestamptz, queue_id int, order_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, l.type_id, r.run_at, l.queue_id, r.order_at
	  FROM (SELECT k.queue_id, k.type_id,
		       timestamptz 'epoch' + k.since * interval '1 microsecond' AS since
		  FROM unnest(p_queues, p_lane_types, p_from) AS k (queue_id, type_id, since)
		UNION ALL
		SELECT f.queue_id, f.type_id, timestamptz '-infinity'
		  FROM shoal.find_lanes(p_queues, p_lane_types) f) l
	  JOIN unnest(p_types, p_takes) AS w (type_id, take) ON w.type_id = l.type_id
	  JOIN shoal.queue q ON q.id = l.queue_id AND NOT q.paused,
	  LATERAL (
		SELECT t.app_id, t.id, t.order_at, t.run_at FROM shoal.task t
		 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id AND t.order_at IS NOT NULL
		   AND t.order_at >= l.since AND t.state = 1
		 ORDER BY t.order_at LIMIT w.take) r
	 ORDER BY r.order_at
	 LIMIT p_most;
END $$;

-- scheduled tasks whose time has come become queued; those due before p_from are left for another pass.
-- A few milliseconds apart, by their ids, so that a reader of the lane can go on between them.
CREATE FUNCTION shoal.promote_since(p_most int, p_aging_ms int, p_from timestamptz)
RETURNS TABLE (app_id int, id uuid, type_id int, due_at timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	places tid[];
BEGIN
	-- now() and not clock_timestamp(), which is volatile: no index can be searched for it.  A row that is
	-- changed between the two steps is for the next pass.
	places := ARRAY(SELECT t.ctid FROM shoal.task t
			 WHERE t.due_at <= now() AND t.due_at >= p_from
			 ORDER BY t.due_at LIMIT p_most);
	IF places = '{}' THEN
		RETURN;
	END IF;
	-- run_at is what due_at was: due_at is NULL in what comes back
	RETURN QUERY
	UPDATE shoal.task t
	   SET state = 1, due_at = NULL,
	       order_at = t.due_at + t.priority * p_aging_ms * interval '1 millisecond'
			+ (get_byte(uuid_send(t.id), 14) % 16 * 256 + get_byte(uuid_send(t.id), 15))
			* interval '1 microsecond'
	 WHERE t.ctid = ANY (places) AND t.state = 0
	RETURNING t.app_id, t.id, t.type_id, t.run_at;
END $$;

-- As in 0001, but nobody waits for it: a pass that takes long, beside a transaction that has been open for an
-- hour, holds the row, and who finds the lease at its end meanwhile has claims to make.
CREATE OR REPLACE FUNCTION shoal.lead(p_me uuid, p_lease_ms int)
RETURNS TABLE (leader_epoch bigint, beat bigint, epoch bigint) LANGUAGE sql SET lock_timeout = '100ms' AS $$
	UPDATE shoal.cluster c
	   SET leader = p_me,
	       leader_epoch = c.leader_epoch + CASE WHEN c.leader IS DISTINCT FROM p_me THEN 1 ELSE 0 END,
	       lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond',
	       beat = c.beat + 1
	 WHERE (c.leader = p_me AND c.lease_until >= clock_timestamp())
	    OR c.leader IS NULL OR c.lease_until < clock_timestamp()
	RETURNING c.leader_epoch, c.beat, c.epoch
$$;

-- One pass of the leader: keeps the lease (no row: lost), promotes, selects.  Known lanes and p_due_from
-- (microseconds since 1970; NULL: the beginning) say where to begin.  kind 0 tells of the pass itself; 1: a
-- row that became due just now, which nobody else pushes, with when it was due in order_us; 2: the first
-- rows in policy order, with how long each has been due.  date_part and not extract, which makes a numeric
-- of each from PostgreSQL 14 on; a double holds microseconds for some centuries.
CREATE FUNCTION shoal.feed(p_me uuid, p_lease_ms int, p_aging_ms int, p_types int[], p_takes int[], p_most int,
	p_queues int[], p_lane_types int[], p_from bigint[], p_due_from bigint)
RETURNS TABLE (kind smallint, app_id int, id uuid, type_id int, age_ms bigint, next_due_ms bigint,
	beat bigint, epoch bigint, queue_id int, order_us bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	l record;
	due_from timestamptz := '-infinity';
BEGIN
	SELECT * INTO l FROM shoal.lead(p_me, p_lease_ms);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF p_due_from IS NOT NULL THEN
		due_from := timestamptz 'epoch' + p_due_from * interval '1 microsecond';
	END IF;
	RETURN QUERY SELECT 1::smallint, p.app_id, p.id, p.type_id, 0::bigint, NULL::bigint, NULL::bigint,
		NULL::bigint, NULL::int, (date_part('epoch', p.due_at) * 1000000)::bigint
		FROM shoal.promote_since(1000, p_aging_ms, due_from) p;
	RETURN QUERY SELECT 0::smallint, NULL::int, NULL::uuid, NULL::int, NULL::bigint,
		(extract(epoch FROM (
			SELECT t.due_at FROM shoal.task t WHERE t.due_at IS NOT NULL AND t.due_at >= due_from
			 ORDER BY t.due_at LIMIT 1) - clock_timestamp()) * 1000)::bigint,
		l.beat, l.epoch, NULL::int, NULL::bigint;
	RETURN QUERY SELECT 2::smallint, d.app_id, d.id, d.type_id,
		(date_part('epoch', clock_timestamp() - d.run_at) * 1000)::bigint,
		NULL::bigint, NULL::bigint, NULL::bigint, d.queue_id,
		(date_part('epoch', d.order_at) * 1000000)::bigint
		FROM shoal.select_lanes(p_types, p_takes, p_most, p_queues, p_lane_types, p_from) d;
	-- the row has been ours all the time: the lease counts from the end of a long pass
	IF clock_timestamp() - now() > interval '1 second' THEN
		UPDATE shoal.cluster c
		   SET lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
		 WHERE c.leader = p_me;
	END IF;
END $$;

-- as in 0001, with the functions above
CREATE OR REPLACE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int)
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
	PERFORM p.id FROM shoal.promote_since(1000, p_aging_ms, '-infinity') p;
	SELECT array_agg(d.app_id), array_agg(d.id), array_agg(d.type_id) INTO apps, ids, types
	  FROM (SELECT s.app_id, s.id, s.type_id
		  FROM shoal.select_lanes(p_types, p_takes, p_most, '{}', '{}', '{}') s
	         ORDER BY s.app_id, s.id) d;
	IF ids IS NOT NULL THEN
		RETURN QUERY SELECT * FROM shoal.claim_tasks(p_me, p_batch, apps, ids, types);
	END IF;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
