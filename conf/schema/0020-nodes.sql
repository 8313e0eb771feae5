-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0020-nodes: what a node tells of itself with its beat, what it is ordered, and which programs may run on this schema.
--
-- A beat counts as before, and tells in the same update what each worker does: no row, no index and no statement more.
-- Orders to a node go the other way by the same statement, so that none is lost while Redis is away.
--
-- Programs and schemas are known by their newest step.  A step that programs of before do not survive says so here, at its
-- end: UPDATE shoal.schema_floor SET step = N, where N is the newest step of the oldest program that may run on it.

ALTER TABLE shoal.incarnation ADD COLUMN knows      int;         -- the newest step of its program; NULL: before this one
ALTER TABLE shoal.incarnation ADD COLUMN running    int;         -- attempts, at the last beat
ALTER TABLE shoal.incarnation ADD COLUMN generation int;         -- of its configuration
ALTER TABLE shoal.incarnation ADD COLUMN idle       boolean;     -- takes no tasks
ALTER TABLE shoal.incarnation ADD COLUMN node_mode  smallint;    -- of its node: src/model/scoreboard.h
ALTER TABLE shoal.incarnation ADD COLUMN beaten_at  timestamptz; -- the last beat

CREATE TABLE shoal.schema_floor (
	step int NOT NULL
);
INSERT INTO shoal.schema_floor VALUES (0);

-- the last order to a node; numbers only grow, so that each is obeyed once
CREATE TABLE shoal.node_order (
	node       text PRIMARY KEY,         -- 12 hexadecimal digits
	number     bigserial NOT NULL,
	mode       smallint NOT NULL,        -- that it shall be in
	reason     text,
	ordered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- As shoal.beat, which the version before uses: counts the beats of a node's living workers, and keeps what they tell.
CREATE FUNCTION shoal.beat_node(p_node text, p_mode int, p_ids uuid[], p_running int[], p_generations int[], p_idle boolean[])
RETURNS TABLE (id uuid, now_us bigint, leaderless boolean, beat bigint, epoch bigint, order_number bigint, order_mode int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
	c shoal.cluster;
	o shoal.node_order;
BEGIN
	SELECT * INTO c FROM shoal.cluster;
	SELECT * INTO o FROM shoal.node_order n WHERE n.node = p_node;
	RETURN QUERY
	WITH beaten AS (
		UPDATE shoal.incarnation i
		   SET beat = i.beat + 1, running = v.running, generation = v.generation, idle = v.idle,
		       node_mode = p_mode, beaten_at = clock_timestamp()
		  FROM unnest(p_ids, p_running, p_generations, p_idle) AS v (id, running, generation, idle)
		 WHERE i.id = v.id AND i.state = 0 RETURNING i.id
	)
	SELECT b.id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
	       c.leader IS NULL OR c.lease_until < clock_timestamp(), c.beat, c.epoch,
	       coalesce(o.number, 0), coalesce(o.mode, 0)::int
	  FROM beaten b;
END $$;

-- the first and the last incarnation that a node could have: ids begin with the node's
CREATE FUNCTION shoal.node_first(p_node text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
	SELECT (p_node || repeat('0', 20))::uuid
$$;
CREATE FUNCTION shoal.node_last(p_node text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
	SELECT (p_node || repeat('f', 20))::uuid
$$;

-- true: written down, and the node will see it with its next beat; false: there is no such node
CREATE FUNCTION shoal.order_node(p_node text, p_mode int, p_reason text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	-- one order after the other: the later has the higher number
	PERFORM pg_advisory_xact_lock(7290, 20);
	IF NOT EXISTS (SELECT 1 FROM shoal.incarnation i WHERE i.state = 0
	                AND i.id BETWEEN shoal.node_first(p_node) AND shoal.node_last(p_node)) THEN
		RETURN false;
	END IF;
	DELETE FROM shoal.node_order o WHERE o.node = p_node;
	INSERT INTO shoal.node_order (node, mode, reason) VALUES (p_node, p_mode, p_reason);
	RETURN true;
END $$;
