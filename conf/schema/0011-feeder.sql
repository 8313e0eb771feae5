-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0011-feeder: what runs next is shared between applications.
--
-- An application has a weight; between those that have work, starts are shared by it, however many lanes and
-- tasks each has.  A pass reads from each application's lanes what would be its share, and the leader, who
-- remembers who has had how much, puts it in order (src/engine/shares.h).  Within one application order_at
-- decides over all its lanes.

ALTER TABLE shoal.application ADD COLUMN weight int NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000);

DROP FUNCTION shoal.feed(uuid, int, int, int[], int[], int, int[], int[], bigint[], bigint);
DROP FUNCTION shoal.select_lanes(int[], int[], int, int[], int[], bigint[]);

-- As in 0004, but all gaps are looked into by one statement, two looks each: with a thousand known lanes the calls
-- took longer than the looks.  At most 1,000 lanes are found at a time; once they are known, the next ones are.
CREATE OR REPLACE FUNCTION shoal.find_lanes(p_queues int[], p_types int[])
RETURNS TABLE (queue_id int, type_id int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	most CONSTANT int := 2147483647;
	count int := 0;
	q int;
	y int;
	g record;
	l record;
BEGIN
	FOR g IN
		SELECT h.queue_id, h.type_id, b.next_queue, b.next_type
		  FROM unnest(0 || p_queues, 0 || p_types, p_queues || NULL::int, p_types || NULL::int)
			AS b (q, y, next_queue, next_type), LATERAL (
			-- the rest of the queue and those between; or only what lies between two types
			(SELECT t.queue_id, t.type_id FROM shoal.task t
			  WHERE t.order_at IS NOT NULL AND (t.queue_id, t.type_id) > (b.q, b.y)
			    AND t.queue_id < coalesce(b.next_queue, most)
			  ORDER BY t.queue_id, t.type_id LIMIT 1)
			UNION ALL
			(SELECT t.queue_id, t.type_id FROM shoal.task t
			  WHERE t.order_at IS NOT NULL AND t.queue_id = b.next_queue
			    AND t.type_id > CASE WHEN b.next_queue = b.q THEN b.y ELSE 0 END
			    AND t.type_id < b.next_type
			  ORDER BY t.type_id LIMIT 1)
			LIMIT 1) h
	LOOP
		q := g.queue_id;
		y := g.type_id;
		WHILE q IS NOT NULL LOOP
			RETURN QUERY SELECT q, y;
			count := count + 1;
			IF count >= 1000 THEN
				RETURN;
			END IF;
			SELECT * INTO l FROM shoal.next_lane(q, y, g.next_queue, g.next_type);
			q := l.queue_id;
			y := l.type_id;
		END LOOP;
	END LOOP;
END $$;

-- The first rows of each lane.  Known lanes, sorted by queue and type, are read from order_at p_from on (microseconds
-- since 1970; NULL: the head), p_lane_takes rows each; 0: not now, but no other lane is looked for in there; -1: only
-- for what came in for p_fresh_ms.
-- p_types and p_takes: types that some node serves, and how many of each.  All other lanes are read from
-- the head: each application is asked for its share of p_most rows, twice that if it has several lanes or is not
-- alone, since others may have less; each of its lanes for a like part of it.
--
-- Rows come lane by lane, each in order.  asked: how many rows the lane was asked for; if so many came there may be
-- more behind them; NULL: only its limits ended it.  room: what the limits of queue and type leave, NULL: no limit.
--
-- p_fresh_ms: known lanes are read from p_from on, which is not their head, and what came in for that long is looked
-- for in front of it.  That is at its arrival plus the share of its priority, so in ten narrow places of the
-- lane and not in all that is dead there.
--
-- p_pool: of the queues in this pool; NULL: main.
CREATE FUNCTION shoal.select_lanes(p_types int[], p_takes int[], p_most int, p_queues int[], p_lane_types int[],
	p_from bigint[], p_lane_takes int[], p_aging_ms int, p_fresh_ms int, p_pool text)
RETURNS TABLE (app_id int, id uuid, type_id int, run_at timestamptz, queue_id int, order_at timestamptz, weight int,
	asked int, room int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	found_queues int[];
	found_types int[];
BEGIN
	SELECT array_agg(f.queue_id), array_agg(f.type_id) INTO found_queues, found_types
	  FROM shoal.find_lanes_in(p_pool, p_queues, p_lane_types) f;
	RETURN QUERY
	WITH known AS (
		SELECT k.queue_id, k.type_id, q.app_id, a.weight, k.take,
		       coalesce(timestamptz 'epoch' + k.since * interval '1 microsecond', '-infinity') AS since
		  FROM unnest(p_queues, p_lane_types, p_from, p_lane_takes) AS k (queue_id, type_id, since, take)
		  JOIN shoal.queue q ON q.id = k.queue_id AND NOT q.paused AND q.pool IS NOT DISTINCT FROM p_pool
		  JOIN shoal.application a ON a.id = q.app_id
		 WHERE k.take > 0
	), found AS (
		SELECT k.queue_id, k.type_id, q.app_id, a.weight, w.take,
		       count(*) OVER (PARTITION BY q.app_id) AS lanes, count(*) OVER () AS all_lanes
		  FROM unnest(found_queues, found_types) AS k (queue_id, type_id)
		  JOIN unnest(p_types, p_takes) AS w (type_id, take) ON w.type_id = k.type_id AND w.take > 0
		  JOIN shoal.queue q ON q.id = k.queue_id AND NOT q.paused AND q.pool IS NOT DISTINCT FROM p_pool
		  JOIN shoal.application a ON a.id = q.app_id
	), lanes AS (
		SELECT n.*, shoal.lane_room(n.queue_id, n.type_id) AS room FROM (
			SELECT k.* FROM known k
			UNION ALL
			SELECT f.queue_id, f.type_id, f.app_id, f.weight, least(f.take, CASE
				WHEN f.all_lanes = 1 THEN p_most
				ELSE least(p_most, greatest(2, ceil(2.0::float8 * p_most * f.weight / f.lanes
					/ sum(f.weight::float8 / f.lanes) OVER ())))::int END),
			       timestamptz '-infinity'
			  FROM found f) n
		-- not pulled up: the room is asked for once a lane, and not once a task
		OFFSET 0
	)
	SELECT l.app_id, r.id, l.type_id, r.run_at, l.queue_id, r.order_at, l.weight,
	       CASE WHEN l.room <= l.take THEN NULL ELSE l.take END, l.room
	  FROM lanes l, LATERAL (
		SELECT t.id, t.order_at, t.run_at FROM shoal.task t
		 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id AND t.order_at IS NOT NULL
		   AND t.order_at >= l.since AND t.state = 1
		 ORDER BY t.order_at LIMIT least(l.take, l.room)) r;
	IF p_fresh_ms IS NULL OR p_queues = '{}' THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT q.app_id, r.id, k.type_id, r.run_at, k.queue_id, r.order_at, a.weight, NULL::int,
	       shoal.lane_room(k.queue_id, k.type_id)
	  FROM unnest(p_queues, p_lane_types, p_from, p_lane_takes) AS k (queue_id, type_id, since, take)
	  JOIN shoal.queue q ON q.id = k.queue_id AND NOT q.paused AND q.pool IS NOT DISTINCT FROM p_pool
	  JOIN shoal.application a ON a.id = q.app_id,
	  LATERAL (
		SELECT now() + (g.p * p_aging_ms - p_fresh_ms) * interval '1 millisecond' AS first,
		       CASE WHEN g.p < 9 THEN now() + ((g.p + 1) * p_aging_ms - p_fresh_ms)
				* interval '1 millisecond' END AS behind
		  FROM generate_series(0, 9) AS g (p)) f, LATERAL (
		SELECT t.id, t.order_at, t.run_at FROM shoal.task t
		 WHERE t.queue_id = k.queue_id AND t.type_id = k.type_id AND t.order_at IS NOT NULL
		   AND t.order_at >= f.first
		   AND t.order_at < least(f.behind, timestamptz 'epoch' + k.since * interval '1 microsecond',
			f.first + (p_fresh_ms + 1000) * interval '1 millisecond')
		   AND t.state = 1
		 ORDER BY t.order_at LIMIT CASE WHEN k.take > 0 THEN k.take ELSE 16 END) r
	 WHERE k.take <> 0 AND k.since IS NOT NULL;
END $$;

-- Keeps the lease of who has it, however late; no row: it is another's, or was given up.  Unlike shoal.lead it takes
-- none: a pass that was on its way when its leader left would have it again, for nobody.
CREATE FUNCTION shoal.keep_lead(p_me uuid, p_lease_ms int)
RETURNS TABLE (leader_epoch bigint, beat bigint, epoch bigint) LANGUAGE sql SET lock_timeout = '100ms' AS $$
	UPDATE shoal.cluster c
	   SET lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond',
	       beat = c.beat + 1
	 WHERE c.leader = p_me
	RETURNING c.leader_epoch, c.beat, c.epoch
$$;

-- One pass of the leader, as in 0004, which also settles (0006) and expires (0007).  p_most: rows wanted; for the lanes
-- see select_lanes.  paused: a number that changes with the set of paused queues.
-- Over one list: p_pool is its pool, NULL main.  p_first: this is the pass that renews the lease, settles, expires and
-- promotes; the other lists' passes only look whether the lease is still ours.  Rows of kind 1 tell the pool of what became
-- due; rows of kind 3, of p_first alone, name the pools that queues are in.  paused changes with what is in which pool, too.
CREATE FUNCTION shoal.feed(p_me uuid, p_lease_ms int, p_aging_ms int, p_types int[], p_takes int[], p_most int,
	p_queues int[], p_lane_types int[], p_from bigint[], p_lane_takes int[], p_due_from bigint, p_fresh_ms int,
	p_pool text, p_first boolean)
RETURNS TABLE (kind smallint, app_id int, id uuid, type_id int, age_ms bigint, next_due_ms bigint,
	beat bigint, epoch bigint, queue_id int, order_us bigint, weight int, asked int, room int, paused bigint,
	pool text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	l record;
	due_from timestamptz := '-infinity';
	due_ms bigint;
BEGIN
	IF p_first THEN
		SELECT * INTO l FROM shoal.keep_lead(p_me, p_lease_ms);
	ELSE
		SELECT c.leader_epoch, c.beat, c.epoch INTO l FROM shoal.cluster c WHERE c.leader = p_me;
	END IF;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF p_first THEN
		IF p_due_from IS NOT NULL THEN
			due_from := timestamptz 'epoch' + p_due_from * interval '1 microsecond';
		END IF;
		PERFORM shoal.settle(1000);
		PERFORM shoal.expire(1000);
		RETURN QUERY SELECT 1::smallint, p.app_id, p.id, p.type_id, 0::bigint, NULL::bigint, NULL::bigint,
			NULL::bigint, p.queue_id, (date_part('epoch', p.due_at) * 1000000)::bigint,
			NULL::int, NULL::int, NULL::int, NULL::bigint,
			(SELECT q.pool FROM shoal.queue q WHERE q.id = p.queue_id)
			FROM shoal.promote_since(1000, p_aging_ms, due_from) p;
		due_ms := (extract(epoch FROM (
			SELECT t.due_at FROM shoal.task t WHERE t.due_at IS NOT NULL AND t.due_at >= due_from
			 ORDER BY t.due_at LIMIT 1) - clock_timestamp()) * 1000)::bigint;
		RETURN QUERY SELECT 3::smallint, NULL::int, NULL::uuid, NULL::int, NULL::bigint, NULL::bigint,
			NULL::bigint, NULL::bigint, NULL::int, NULL::bigint, NULL::int, NULL::int, NULL::int,
			NULL::bigint, d.pool
			FROM (SELECT DISTINCT q.pool FROM shoal.queue q WHERE q.pool IS NOT NULL) d;
	END IF;
	RETURN QUERY SELECT 0::smallint, NULL::int, NULL::uuid, NULL::int, NULL::bigint, due_ms,
		l.beat, l.epoch, NULL::int, NULL::bigint, NULL::int, NULL::int, NULL::int,
		(SELECT ('x' || substr(md5(string_agg(s.word, ',' ORDER BY s.word)), 1, 15))::bit(60)::bigint
		   FROM (SELECT q.id::text AS word FROM shoal.queue q WHERE q.paused
			 UNION ALL
			 SELECT q.id || '=' || q.pool FROM shoal.queue q WHERE q.pool IS NOT NULL) s),
		NULL::text;
	RETURN QUERY SELECT 2::smallint, d.app_id, d.id, d.type_id,
		(date_part('epoch', clock_timestamp() - d.run_at) * 1000)::bigint,
		NULL::bigint, NULL::bigint, NULL::bigint, d.queue_id,
		(date_part('epoch', d.order_at) * 1000000)::bigint, d.weight, d.asked, d.room, NULL::bigint, NULL::text
		FROM shoal.select_lanes(p_types, p_takes, p_most, p_queues, p_lane_types, p_from, p_lane_takes,
			p_aging_ms, p_fresh_ms, p_pool) d;
	-- the row has been ours all the time: the lease counts from the end of a long pass
	IF p_first AND clock_timestamp() - now() > interval '1 second' THEN
		UPDATE shoal.cluster c
		   SET lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
		 WHERE c.leader = p_me;
	END IF;
END $$;

-- As in 0004, with the selection above.  Nobody remembers here who has had how much, so applications draw lots by
-- their weight: where one place is free, each gets it with the probability of its share.  What lies behind the last
-- row of a lane that may have more is left out: another lane's row may come before it.
-- p_pool: from this pool; NULL: main.  Each has a lock of its own, so that claims from one do not wait for another's.
DROP FUNCTION shoal.claim_direct(uuid, int, int, int[], int[], int);

CREATE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int, p_pool text)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text,
	run_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	apps int[];
	ids uuid[];
	types int[];
BEGIN
	IF p_pool IS NULL AND NOT pg_try_advisory_xact_lock(7290, 1) THEN
		RETURN;
	ELSIF p_pool IS NOT NULL AND NOT pg_try_advisory_xact_lock(7291, hashtext(p_pool)) THEN
		RETURN;
	END IF;
	PERFORM p.id FROM shoal.promote_since(1000, p_aging_ms, '-infinity') p;
	WITH found AS (
		SELECT s.*, CASE WHEN count(*) OVER lane >= s.asked THEN max(s.order_at) OVER lane END AS seen_to
		  FROM shoal.select_lanes(p_types, p_takes, p_most, '{}', '{}', '{}', '{}', p_aging_ms, NULL, p_pool) s
		WINDOW lane AS (PARTITION BY s.queue_id, s.type_id)
	), ranked AS (
		SELECT f.app_id, f.id, f.type_id, f.order_at, f.weight, min(f.seen_to) OVER app AS seen_to,
		       row_number() OVER (PARTITION BY f.app_id ORDER BY f.order_at) AS n
		  FROM found f
		WINDOW app AS (PARTITION BY f.app_id)
	), lots AS (
		SELECT d.app_id, -ln(1 - random()) AS lot FROM (SELECT DISTINCT r.app_id FROM ranked r) d
	)
	SELECT array_agg(d.app_id), array_agg(d.id), array_agg(d.type_id) INTO apps, ids, types
	  FROM (SELECT c.app_id, c.id, c.type_id
		  FROM (SELECT r.app_id, r.id, r.type_id
			  FROM ranked r JOIN lots o ON o.app_id = r.app_id
			 WHERE r.seen_to IS NULL OR r.order_at <= r.seen_to
			 ORDER BY (r.n - 1 + o.lot) / r.weight, r.order_at
			 LIMIT p_most) c
	         ORDER BY c.app_id, c.id) d;
	IF ids IS NOT NULL THEN
		RETURN QUERY SELECT * FROM shoal.claim_tasks(p_me, p_batch, apps, ids, types);
	END IF;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
