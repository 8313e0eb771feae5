-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0013-pools: queues are served by pools of nodes.
--
-- A queue belongs to one pool; NULL is the pool "main".  A worker serves the pools that its settings name, and
-- claims from no queue of another one: where an id lies in Redis says nothing.  Each pool is fed by itself.
--
-- A change of a queue's pool takes the lock of a pause (0008): what was claimed before is committed, what is
-- claimed after sees it.

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

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
