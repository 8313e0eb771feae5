-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0013-pools: queues are served by pools of nodes.
--
-- A queue belongs to one pool; NULL is the pool "main".  A worker serves the pools that its settings name, and
-- claims from no queue of another one: where an id lies in Redis says nothing.  Each pool is fed by itself.
--
-- A change of a queue's pool takes the lock of a pause (0008): what was claimed before is committed, what is
-- claimed after sees it.
--
-- Functions that nodes of the version before call are about main alone now.

ALTER TABLE shoal.queue
	ADD COLUMN pool     text CHECK (pool <> 'main'),
	ADD COLUMN pool_own boolean;            -- somebody said so, and settings do not change it

CREATE INDEX queue_pool ON shoal.queue (pool, id) WHERE pool IS NOT NULL;

-- that a worker serves; NULL: main
ALTER TABLE shoal.incarnation ADD COLUMN pools text[];

-- what settings of nodes say of queues by their names, for those that are still to be made
CREATE TABLE shoal.queue_default (
	name text PRIMARY KEY,
	pool text                               -- NULL: main
);

CREATE FUNCTION shoal.queue_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.pool := (SELECT d.pool FROM shoal.queue_default d WHERE d.name = NEW.name);
	RETURN NEW;
END $$;

CREATE TRIGGER queue_made BEFORE INSERT ON shoal.queue FOR EACH ROW WHEN (NEW.pool IS NULL)
	EXECUTE PROCEDURE shoal.queue_made();

-- ---------------------------------------------------------------------- settings

-- Each pool is a list in Redis and a part of the leader's work, so there is a bound.
CREATE FUNCTION shoal.check_pool(p_pool text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	most CONSTANT int := 64;
BEGIN
	IF (SELECT count(DISTINCT q.pool) FROM shoal.queue q WHERE q.pool IS NOT NULL AND q.pool <> p_pool) >= most THEN
		RAISE EXCEPTION 'the queues of this cluster are in % pools already; put this one into one of those',
			most USING ERRCODE = '54000';
	END IF;
END $$;

-- As in 0008, and 256: the pool; NULL: what the settings of nodes say.
CREATE FUNCTION shoal.set_queue(p_app int, p_name text, p_limit int, p_by text, p_given int, p_priority int,
	p_max_length int, p_concurrency int, p_rate int, p_rate_ms int, p_shed_ppm int, p_shed_below int,
	p_keep_finished_ms bigint, p_keep_failed_ms bigint, p_detail text, p_pool text) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
	q int;
BEGIN
	IF p_given & 256 <> 0 THEN
		PERFORM pg_advisory_xact_lock(7290, 2); -- before any row
		IF p_pool IS NOT NULL AND p_pool <> 'main' THEN
			PERFORM shoal.check_pool(p_pool);
		END IF;
	END IF;
	q := shoal.set_queue(p_app, p_name, p_limit, p_by, p_given, p_priority, p_max_length, p_concurrency,
		p_rate, p_rate_ms, p_shed_ppm, p_shed_below, p_keep_finished_ms, p_keep_failed_ms, p_detail);
	IF p_given & 256 <> 0 THEN
		UPDATE shoal.queue u
		   SET pool_own = p_pool IS NOT NULL,
		       pool = CASE WHEN p_pool IS NOT NULL THEN nullif(p_pool, 'main')
		              ELSE (SELECT d.pool FROM shoal.queue_default d WHERE d.name = p_name) END
		 WHERE u.id = q;
	END IF;
	RETURN q;
END $$;

-- The pools that a worker serves, and those of queues by its settings; the word of the node that started last
-- counts.  The lock is taken only for what changes.
CREATE FUNCTION shoal.serve_pools(p_me uuid, p_pools text[], p_names text[], p_queue_pools text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	n record;
BEGIN
	FOR n IN SELECT u.name, nullif(u.pool, 'main') AS pool
		   FROM unnest(p_names, p_queue_pools) AS u (name, pool)
		   LEFT JOIN shoal.queue_default d ON d.name = u.name
		  WHERE d.name IS NULL OR d.pool IS DISTINCT FROM nullif(u.pool, 'main')
		  ORDER BY u.name LOOP
		PERFORM pg_advisory_xact_lock(7290, 2);
		IF n.pool IS NOT NULL THEN
			PERFORM shoal.check_pool(n.pool);
		END IF;
		UPDATE shoal.queue_default d SET pool = n.pool WHERE d.name = n.name;
		IF NOT FOUND THEN
			INSERT INTO shoal.queue_default (name, pool) VALUES (n.name, n.pool);
		END IF;
		UPDATE shoal.queue q SET pool = n.pool
		 WHERE q.name = n.name AND q.pool_own IS NOT TRUE AND q.pool IS DISTINCT FROM n.pool;
	END LOOP;
	UPDATE shoal.incarnation i SET pools = nullif(p_pools, '{main}') WHERE i.id = p_me;
END $$;

-- of a task; NULL: main
CREATE FUNCTION shoal.pool_of(p_app int, p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN (SELECT q.pool FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id
		 WHERE t.app_id = p_app AND t.id = p_id);
END $$;

-- What is known of a task's pool: whether a worker serves it, and whether one that does serves the type too.
CREATE FUNCTION shoal.pool_why(p_app int, p_id uuid)
RETURNS TABLE (pool text, pool_served boolean, type_served boolean)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	y int;
BEGIN
	SELECT t.type_id, coalesce(q.pool, 'main') INTO y, pool
	  FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id
	 WHERE t.app_id = p_app AND t.id = p_id;
	SELECT count(*) > 0, coalesce(bool_or(i.types IS NULL OR i.types @> ARRAY[y]), false)
	  INTO pool_served, type_served
	  FROM shoal.incarnation i WHERE i.state = 0 AND coalesce(i.pools, '{main}') @> ARRAY[pool_why.pool];
	RETURN NEXT;
END $$;

-- ---------------------------------------------------------------------- claims

-- As in 0008, but not from queues of pools that the caller does not serve.  (SELECT pools): the planner, who cannot
-- see into that, finds a plan of its own for each call no cheaper than the one for all, and makes none.
-- p_any: from queues of all pools, for workers outside, who belong to none.
DROP FUNCTION shoal.claim_tasks(uuid, int, int[], uuid[], int[]);
CREATE FUNCTION shoal.claim_tasks(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[],
	p_any boolean DEFAULT false)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	pools text[];
	paused int[];
	queues int[];
	limited int[];
	apart int[];
	places tid[];
	apps int[] := p_apps;
	ids uuid[] := p_ids;
	types int[] := p_types;
	n int;
	picked int := 0;
BEGIN
	PERFORM pg_advisory_xact_lock_shared(7290, 2);
	-- a dead incarnation claims nothing; recovery marks first and takes afterwards
	SELECT coalesce(i.pools, '{main}') INTO pools FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF p_any THEN
		pools := NULL;
	END IF;
	IF NOT pools @> '{main}' THEN
		-- most queues are in main, so that those of the others are the shorter list
		queues := ARRAY(SELECT q.id FROM shoal.queue q WHERE q.pool = ANY ((SELECT pools)::text[]));
		SELECT array_agg(u.app_id ORDER BY u.n), array_agg(u.id ORDER BY u.n), array_agg(u.type_id ORDER BY u.n)
		  INTO apps, ids, types
		  FROM unnest(p_apps, p_ids, p_types) WITH ORDINALITY AS u (app_id, id, type_id, n), LATERAL (
			SELECT 1 FROM shoal.task t
			 WHERE t.app_id = u.app_id AND t.id = u.id AND t.queue_id = ANY (queues) OFFSET 0) r;
		IF ids IS NULL THEN
			RETURN;
		END IF;
	END IF;
	-- (those of other pools are no more for here than paused ones)
	SELECT ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused
		     UNION ALL
		     SELECT q.id FROM shoal.queue q
		      WHERE q.pool IS NOT NULL AND q.pool <> ALL ((SELECT pools)::text[])),
	       ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 0),
	       ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 1)
	  INTO paused, queues, limited;
	apart := paused || queues;
	LOOP
		places := ARRAY(SELECT r.place
			  FROM unnest(apps, ids, types) AS u (app_id, id, type_id), LATERAL (
				SELECT t.ctid AS place FROM shoal.task t
				 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 1
				   AND (t.concurrency_key IS NULL OR t.order_at IS NOT NULL)
				   AND t.type_id = u.type_id AND t.queue_id <> ALL (apart)
				   AND t.type_id <> ALL (limited)
				   AND (t.deadline IS NULL OR t.deadline > now()) OFFSET 0) r);
		EXIT WHEN places = '{}';
		RETURN QUERY
		UPDATE shoal.task t
		   SET state = 2, attempt = t.attempt + 1, owner = p_me, claim = p_batch,
		       started_at = clock_timestamp()
		 WHERE t.ctid = ANY (places) AND t.state = 1
		RETURNING t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures::int,
		          t.max_attempts::int, t.timeout_ms, t.payload, t.backoff, t.deadline;
		GET DIAGNOSTICS n = ROW_COUNT;
		picked := picked + n;
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
	IF queues <> '{}' OR limited <> '{}' THEN
		RETURN QUERY
		SELECT * FROM shoal.claim_limited(p_me, p_batch, apps, ids, types, paused, queues, limited);
		GET DIAGNOSTICS n = ROW_COUNT;
		picked := picked + n;
	END IF;
	-- the note lists all of the batch: which rows of it are the owner's, they say themselves
	IF picked > 0 THEN
		INSERT INTO shoal.claim (owner, batch, apps, ids) VALUES (p_me, p_batch, apps, ids);
	END IF;
END $$;

-- As in 0008, with the queues of other pools.
CREATE OR REPLACE FUNCTION shoal.may_adopt(p_me uuid) RETURNS int[]
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	served text[];
	held int[];
BEGIN
	PERFORM pg_advisory_xact_lock_shared(7290, 2);
	SELECT coalesce(i.pools, '{main}') INTO served FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	held := ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused
		      UNION ALL
		      SELECT q.id FROM shoal.queue q
		       WHERE q.pool IS NOT NULL AND q.pool <> ALL ((SELECT served)::text[])
		      UNION ALL
		      SELECT CASE s.kind WHEN 0 THEN s.ref ELSE -s.ref END FROM shoal.limit_state s);
	IF NOT served @> '{main}' THEN
		held := held || ARRAY(SELECT q.id FROM shoal.queue q WHERE q.pool IS NULL);
	END IF;
	RETURN held;
END $$;

-- ---------------------------------------------------------------------- the feeder's selection

-- Lanes of a pool beside those that are known, as find_lanes of 0011.  The rest of the index is shut: for main the
-- queues of other pools, for another pool all that lies between its queues.
CREATE FUNCTION shoal.find_lanes_in(p_pool text, p_queues int[], p_types int[])
RETURNS TABLE (queue_id int, type_id int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	most CONSTANT int := 2147483647;
	edges int[];
	count int := 0;
	q int;
	y int;
	g record;
	l record;
BEGIN
	edges := CASE WHEN p_pool IS NULL
		 THEN ARRAY(SELECT u.id FROM shoal.queue u WHERE u.pool IS NOT NULL)
		 ELSE ARRAY(SELECT u.id FROM shoal.queue u WHERE u.pool = p_pool) END;
	IF edges = '{}' THEN
		IF p_pool IS NULL THEN
			RETURN QUERY SELECT f.queue_id, f.type_id FROM shoal.find_lanes(p_queues, p_types) f;
		END IF;
		RETURN;
	END IF;
	-- an edge is shut from its first type on and open after its last one; for another pool the other way round
	FOR g IN
		SELECT m.q, m.y, m.next_queue, m.next_type
		  FROM (SELECT e.q, e.y, e.shut, lead(e.q) OVER turn AS next_queue, lead(e.y) OVER turn AS next_type
			  FROM (SELECT 0 AS q, 0 AS y, p_pool IS NOT NULL AS shut
				UNION ALL
				SELECT d.id, 0, p_pool IS NULL FROM unnest(edges) AS d (id)
				UNION ALL
				SELECT d.id, most, p_pool IS NOT NULL FROM unnest(edges) AS d (id)
				UNION ALL
				SELECT k.queue_id, k.type_id, false FROM unnest(p_queues, p_types) AS k (queue_id, type_id)
				 WHERE (k.queue_id = ANY (edges)) = (p_pool IS NOT NULL)) e
			WINDOW turn AS (ORDER BY e.q, e.y)) m
		 WHERE NOT m.shut
	LOOP
		q := g.q;
		y := g.y;
		LOOP
			SELECT * INTO l FROM shoal.next_lane(q, y, g.next_queue, g.next_type);
			q := l.queue_id;
			y := l.type_id;
			EXIT WHEN q IS NULL;
			RETURN QUERY SELECT q, y;
			count := count + 1;
			IF count >= 1000 THEN
				RETURN;
			END IF;
		END LOOP;
	END LOOP;
END $$;

-- As in 0011, of one pool; NULL: main.
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

CREATE OR REPLACE FUNCTION shoal.select_lanes(p_types int[], p_takes int[], p_most int, p_queues int[],
	p_lane_types int[], p_from bigint[], p_lane_takes int[], p_aging_ms int, p_fresh_ms int)
RETURNS TABLE (app_id int, id uuid, type_id int, run_at timestamptz, queue_id int, order_at timestamptz, weight int,
	asked int, room int)
LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN QUERY SELECT * FROM shoal.select_lanes(p_types, p_takes, p_most, p_queues, p_lane_types, p_from,
		p_lane_takes, p_aging_ms, p_fresh_ms, NULL::text);
END $$;

-- As in 0004, with the queue, whose pool is to be told.
DROP FUNCTION shoal.promote_since(int, int, timestamptz);

CREATE FUNCTION shoal.promote_since(p_most int, p_aging_ms int, p_from timestamptz)
RETURNS TABLE (app_id int, id uuid, type_id int, due_at timestamptz, queue_id int)
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
	RETURNING t.app_id, t.id, t.type_id, t.run_at, t.queue_id;
END $$;

-- One pass of the leader over one list, as in 0011.  p_pool: the list's pool, NULL main.  p_first: this is the pass
-- that renews the lease, settles, expires and promotes; the other lists' passes only look whether the lease is
-- still ours.  Rows of kind 1 tell the pool of what became due; rows of kind 3, of p_first alone, name the pools that
-- queues are in.  paused changes with the set of paused queues, and with what is in which pool.
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
		SELECT * INTO l FROM shoal.lead(p_me, p_lease_ms);
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

-- As in 0011, from one pool.  Each has a lock of its own, so that claims from one do not wait for another's.
CREATE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int, p_pool text)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz)
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

CREATE OR REPLACE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT * FROM shoal.claim_direct(p_me, p_batch, p_aging_ms, p_types, p_takes, p_most, NULL::text);
END $$;

-- see the end of 0001
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
