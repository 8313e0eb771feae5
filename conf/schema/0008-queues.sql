-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0008-queues: queues that can be paused, limited, bounded and shed at run time.
--
-- What a claim must know is little: which queues are paused, and which queues and types have a limit.  Rows of
-- all others go the way of 0002.  Rows of a limited queue or type take a second way: the rows of their
-- limits are locked, what runs under them is counted, and as many as fit are claimed.  So a limit holds with
-- any number of workers, with two leaders and without Redis.
--
-- What runs under a limit is in shoal.holding.  A task gets its row by the claim and loses it with the state
-- "running", by a trigger that looks at tasks with the bit 16 of "special" alone.
--
-- A change of a pause or of a limit takes the advisory lock (7290, 2) alone, claims and adopting submits share
-- it: what was claimed before is committed and seen by the change, what is claimed after sees it.

ALTER TABLE shoal.queue
	ADD COLUMN paused_by        text,       -- a key's public id, or a developer
	ADD COLUMN paused_at        timestamptz,
	ADD COLUMN paused_reason    text,
	ADD COLUMN priority         smallint,   -- of tasks that say nothing else
	ADD COLUMN max_length       int,        -- tasks that wait
	ADD COLUMN shed_ppm         int,        -- share of submits to refuse, in millionths
	ADD COLUMN shed_below       smallint,   -- of those with a greater priority number; NULL: all
	ADD COLUMN keep_finished_ms bigint,     -- instead of the settings; 0: for ever
	ADD COLUMN keep_failed_ms   bigint;

CREATE INDEX queue_keep ON shoal.queue (app_id)
	WHERE keep_finished_ms IS NOT NULL OR keep_failed_ms IS NOT NULL;

-- types that a worker serves, for those who ask why nobody does; NULL: a node of an older version
ALTER TABLE shoal.incarnation ADD COLUMN types int[];

-- ---------------------------------------------------------------------- limits

-- Tasks that run at a time, and tasks that start in a period: a bucket of so many tokens, filled evenly.
CREATE TABLE shoal.limit_state (
	kind        smallint NOT NULL,          -- 0 of a queue, 1 of a type
	ref         int NOT NULL,               -- its id
	concurrency int,
	rate        int,                        -- tasks ...
	rate_ms     int,                        -- ... in so long
	tokens      double precision NOT NULL DEFAULT 0,
	filled_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
	checked_at  timestamptz NOT NULL DEFAULT clock_timestamp(), -- against the tasks themselves
	PRIMARY KEY (kind, ref)
) WITH (fillfactor = 50, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE shoal.holding (
	kind    smallint NOT NULL,
	ref     int NOT NULL,
	app_id  int NOT NULL,
	task_id uuid NOT NULL,
	attempt int NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX holding_limit ON shoal.holding (kind, ref);
CREATE INDEX holding_task ON shoal.holding (app_id, task_id);

-- What a task holds goes with its attempt: see shoal.special_moved (0006).  It is one trigger for all that is special,
-- since each costs every update of an ordinary task a look.

-- how many more may start now
CREATE FUNCTION shoal.limit_room(p_kind int, p_ref int, p_concurrency int, p_rate int, p_rate_ms int,
	p_tokens double precision, p_filled_at timestamptz) RETURNS int
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	room int;
	filled int;
BEGIN
	IF p_concurrency IS NOT NULL THEN
		SELECT p_concurrency - count(*) INTO room FROM (
			SELECT 1 FROM shoal.holding h WHERE h.kind = p_kind AND h.ref = p_ref
			 LIMIT p_concurrency) x;
	END IF;
	IF p_rate IS NOT NULL THEN
		filled := floor(shoal.limit_tokens(p_rate, p_rate_ms, p_tokens, p_filled_at));
		room := least(room, filled);
	END IF;
	RETURN greatest(coalesce(room, 0), 0);
END $$;

CREATE FUNCTION shoal.limit_tokens(p_rate int, p_rate_ms int, p_tokens double precision, p_filled_at timestamptz)
RETURNS double precision LANGUAGE sql VOLATILE AS $$
	SELECT least(p_rate, p_tokens + greatest(date_part('epoch', clock_timestamp() - p_filled_at), 0)
		* 1000 * p_rate / p_rate_ms)
$$;

-- How many more of a lane may run now by the limits of its queue and type.  NULL: as many as there
-- are places.  A limit that is full and has not been checked for long lets one through: its claim checks.
CREATE FUNCTION shoal.lane_room(p_queue int, p_type int) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE
	room int;
BEGIN
	SELECT min(CASE WHEN r.n = 0 AND l.concurrency IS NOT NULL
	                 AND l.checked_at < clock_timestamp() - interval '30 seconds'
	                THEN 1 ELSE r.n END)
	  INTO room
	  FROM (SELECT * FROM shoal.limit_state q WHERE q.kind = 0 AND q.ref = p_queue
		UNION ALL
		SELECT * FROM shoal.limit_state y WHERE y.kind = 1 AND y.ref = p_type) l, LATERAL (
		SELECT shoal.limit_room(l.kind, l.ref, l.concurrency, l.rate, l.rate_ms, l.tokens, l.filled_at)
		       AS n OFFSET 0) r;
	RETURN room;
END $$;

-- A new limit, a changed one, or none (both NULL).  p_given: 4 its concurrency, 8 its rate; what is not given
-- stays.  What runs already is counted from now on: the claims of before are all committed.
CREATE FUNCTION shoal.set_limit(p_kind int, p_ref int, p_given int, p_concurrency int, p_rate int, p_rate_ms int)
RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
	old shoal.limit_state;
	places tid[];
BEGIN
	PERFORM pg_advisory_xact_lock(7290, 2);
	SELECT * INTO old FROM shoal.limit_state l WHERE l.kind = p_kind AND l.ref = p_ref FOR UPDATE;
	IF NOT FOUND THEN
		IF (p_given & 4 = 0 OR p_concurrency IS NULL) AND (p_given & 8 = 0 OR p_rate IS NULL) THEN
			RETURN;
		END IF;
		INSERT INTO shoal.limit_state (kind, ref) VALUES (p_kind, p_ref);
	END IF;
	UPDATE shoal.limit_state l
	   SET concurrency = CASE WHEN p_given & 4 <> 0 THEN p_concurrency ELSE l.concurrency END,
	       rate = CASE WHEN p_given & 8 <> 0 THEN p_rate ELSE l.rate END,
	       rate_ms = CASE WHEN p_given & 8 <> 0 THEN p_rate_ms ELSE l.rate_ms END,
	       tokens = CASE WHEN p_given & 8 = 0 OR p_rate IS NULL THEN l.tokens
	                     WHEN l.rate IS NULL THEN p_rate
	                     ELSE least(p_rate, shoal.limit_tokens(l.rate, l.rate_ms, l.tokens, l.filled_at))
	                END,
	       filled_at = CASE WHEN p_given & 8 <> 0 THEN clock_timestamp() ELSE l.filled_at END
	 WHERE l.kind = p_kind AND l.ref = p_ref;
	DELETE FROM shoal.limit_state l
	 WHERE l.kind = p_kind AND l.ref = p_ref AND l.concurrency IS NULL AND l.rate IS NULL;
	IF p_given & 4 = 0 OR (p_concurrency IS NULL) = (old.concurrency IS NULL) THEN
		RETURN;
	END IF;
	DELETE FROM shoal.holding h WHERE h.kind = p_kind AND h.ref = p_ref;
	IF p_concurrency IS NULL THEN
		RETURN;
	END IF;
	LOOP
		places := ARRAY(SELECT r.place
			  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS x (app_id, id), LATERAL (
				SELECT t.ctid AS place FROM shoal.task t
				 WHERE t.app_id = x.app_id AND t.id = x.id AND t.state = 2
				   AND t.owner = c.owner AND t.claim = c.batch
				   AND CASE p_kind WHEN 0 THEN t.queue_id ELSE t.type_id END = p_ref OFFSET 0) r
			 WHERE NOT EXISTS (
				SELECT 1 FROM shoal.holding h
				 WHERE h.app_id = x.app_id AND h.task_id = x.id AND h.kind = p_kind));
		EXIT WHEN places = '{}';
		WITH marked AS (
			UPDATE shoal.task t SET special = coalesce(t.special, 0) | 16
			 WHERE t.ctid = ANY (places) AND t.state = 2
			RETURNING t.app_id, t.id, t.attempt
		)
		INSERT INTO shoal.holding (kind, ref, app_id, task_id, attempt)
		SELECT p_kind, p_ref, m.app_id, m.id, m.attempt FROM marked m;
	END LOOP;
END $$;

-- What a worker serves, and the limits that its settings give to types (0: none; the latest node's word counts).
-- The lock is taken only for what changes.
CREATE FUNCTION shoal.serve_types(p_me uuid, p_types int[], p_limited int[], p_concurrency int[], p_rates int[],
	p_rate_ms int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	l record;
BEGIN
	FOR l IN SELECT u.*
		   FROM unnest(p_limited, p_concurrency, p_rates, p_rate_ms) AS u (type_id, concurrency, rate, rate_ms)
		   LEFT JOIN shoal.limit_state s ON s.kind = 1 AND s.ref = u.type_id
		  WHERE (coalesce(s.concurrency, 0), coalesce(s.rate, 0), coalesce(s.rate_ms, 0))
		        <> (u.concurrency, u.rate, CASE WHEN u.rate = 0 THEN 0 ELSE u.rate_ms END)
		  ORDER BY u.type_id LOOP
		PERFORM shoal.set_limit(1, l.type_id, 12, nullif(l.concurrency, 0), nullif(l.rate, 0),
			CASE WHEN l.rate > 0 THEN l.rate_ms END);
	END LOOP;
	UPDATE shoal.incarnation i SET types = p_types WHERE i.id = p_me;
END $$;

-- ---------------------------------------------------------------------- claim

-- Rows of limited queues and types, in policy order as far as there is room.  What is left stays queued, and
-- the feeder brings it again when there is.
CREATE FUNCTION shoal.claim_limited(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[],
	p_paused int[], p_queues int[], p_limited int[])
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text,
	run_at timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	found_places tid[];
	found_queues int[];
	found_types int[];
	kinds int[];
	refs int[];
	rooms int[];
	l record;
	room int;
	places tid[];
	fits boolean;
	n int;
BEGIN
	LOOP
		SELECT array_agg(r.place ORDER BY r.order_at), array_agg(r.queue_id ORDER BY r.order_at),
		       array_agg(r.type_id ORDER BY r.order_at)
		  INTO found_places, found_queues, found_types
		  FROM unnest(p_apps, p_ids, p_types) AS u (app_id, id, type_id), LATERAL (
			SELECT t.ctid AS place, t.queue_id, t.type_id, t.order_at FROM shoal.task t
			 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 1
				   AND (t.concurrency_key IS NULL OR t.order_at IS NOT NULL)
			   AND t.type_id = u.type_id AND t.queue_id <> ALL (p_paused)
			   AND (t.deadline IS NULL OR t.deadline > now())
			   AND (t.queue_id = ANY (p_queues) OR t.type_id = ANY (p_limited)) OFFSET 0) r;
		EXIT WHEN found_places IS NULL;
		-- in one order for all: whoever waits here waits for a commit
		PERFORM 1 FROM shoal.limit_state s
		  WHERE (s.kind = 0 AND s.ref = ANY (found_queues)) OR (s.kind = 1 AND s.ref = ANY (found_types))
		  ORDER BY s.kind, s.ref FOR UPDATE;
		kinds := '{}';
		refs := '{}';
		rooms := '{}';
		-- a statement of its own: it sees what was committed under the locks before
		FOR l IN SELECT * FROM shoal.limit_state s
			  WHERE (s.kind = 0 AND s.ref = ANY (found_queues))
			     OR (s.kind = 1 AND s.ref = ANY (found_types)) LOOP
			room := shoal.limit_room(l.kind, l.ref, l.concurrency, l.rate, l.rate_ms, l.tokens, l.filled_at);
			IF room = 0 AND l.concurrency IS NOT NULL
			   AND l.checked_at < clock_timestamp() - interval '1 second' THEN
				DELETE FROM shoal.holding h
				 WHERE h.kind = l.kind AND h.ref = l.ref AND NOT EXISTS (
					SELECT 1 FROM shoal.task t
					 WHERE t.app_id = h.app_id AND t.id = h.task_id
					   AND t.state = 2 AND t.attempt = h.attempt);
				UPDATE shoal.limit_state s SET checked_at = clock_timestamp()
				 WHERE s.kind = l.kind AND s.ref = l.ref;
				room := shoal.limit_room(l.kind, l.ref, l.concurrency, l.rate, l.rate_ms, l.tokens,
					l.filled_at);
			END IF;
			kinds := kinds || l.kind::int;
			refs := refs || l.ref;
			rooms := rooms || room;
		END LOOP;
		n := coalesce(array_length(refs, 1), 0);
		places := '{}';
		FOR i IN 1 .. array_length(found_places, 1) LOOP
			fits := true;
			FOR k IN 1 .. n LOOP
				fits := fits AND (rooms[k] > 0 OR refs[k] <> CASE kinds[k]
					WHEN 0 THEN found_queues[i] ELSE found_types[i] END);
			END LOOP;
			CONTINUE WHEN NOT fits;
			places := places || found_places[i];
			FOR k IN 1 .. n LOOP
				rooms[k] := rooms[k] - CASE
					WHEN refs[k] = CASE kinds[k] WHEN 0 THEN found_queues[i]
					                             ELSE found_types[i] END THEN 1
					ELSE 0 END;
			END LOOP;
		END LOOP;
		EXIT WHEN places = '{}';
		RETURN QUERY
		WITH taken AS (
			UPDATE shoal.task t
			   SET state = 2, attempt = t.attempt + 1, owner = p_me, claim = p_batch,
			       started_at = clock_timestamp(), special = coalesce(t.special, 0) | 16
			 WHERE t.ctid = ANY (places) AND t.state = 1
			RETURNING t.app_id, t.id, t.attempt, t.type_id, t.queue_id, t.failures::int AS failures,
			          t.max_attempts::int AS max_attempts, t.timeout_ms, t.payload, t.backoff, t.deadline, t.trace,
			          t.run_at
		), held AS (
			INSERT INTO shoal.holding (kind, ref, app_id, task_id, attempt)
			SELECT s.kind, s.ref, k.app_id, k.id, k.attempt
			  FROM taken k, shoal.limit_state s
			 WHERE s.concurrency IS NOT NULL
			   AND ((s.kind = 0 AND s.ref = k.queue_id) OR (s.kind = 1 AND s.ref = k.type_id))
		), paid AS (
			UPDATE shoal.limit_state s
			   SET tokens = shoal.limit_tokens(s.rate, s.rate_ms, s.tokens, s.filled_at) - g.n,
			       filled_at = clock_timestamp()
			  FROM (SELECT 0 AS kind, k.queue_id AS ref, count(*) AS n FROM taken k GROUP BY k.queue_id
				UNION ALL
				SELECT 1, k.type_id, count(*) FROM taken k GROUP BY k.type_id) g
			 WHERE s.kind = g.kind AND s.ref = g.ref AND s.rate IS NOT NULL
		)
		SELECT k.app_id, k.id, k.attempt, k.type_id, k.queue_id, k.failures, k.max_attempts, k.timeout_ms,
		       k.payload, k.backoff, k.deadline, k.trace, k.run_at FROM taken k;
		GET DIAGNOSTICS n = ROW_COUNT;
		-- a row that was changed between the steps (a waiter that was noted) is looked at again
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
END $$;

-- As in 0002, with what a special task needs to run and to be retried, for what has no limit; the lock is said at the
-- top.  Expiring is the leader's, but what it has not come to yet must not start.
--
-- Not from queues of pools that the caller does not serve, but with p_any, for workers outside, who belong to none.
-- (SELECT pools): the planner, who cannot see into that, finds a plan of its own for each call no cheaper than the one
-- for all, and makes none.
DROP FUNCTION shoal.claim_tasks(uuid, int, int[], uuid[], int[]);

CREATE FUNCTION shoal.claim_tasks(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[],
	p_any boolean DEFAULT false)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text,
	run_at timestamptz)
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
		          t.max_attempts::int, t.timeout_ms, t.payload, t.backoff, t.deadline, t.trace, t.run_at;
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

-- What a submit looks at before it adopts: queues that are paused or limited, and limited types as negative
-- numbers; NULL if p_me is not alive.  Volatile: what it sees is newer than the lock.
-- Those of pools that it does not serve are among the queues.
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

-- ---------------------------------------------------------------------- names and policy

-- as in 0001, with what a worker must know of a queue before it takes a task for it
DROP FUNCTION shoal.names_of(int, text[], text[], int);
CREATE FUNCTION shoal.names_of(p_app int, p_queues text[], p_types text[], p_limit int)
RETURNS TABLE (kind smallint, name text, id int, paused boolean, limited boolean, priority int, max_length int,
	shed_ppm int, shed_below int) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	wanted text;
BEGIN
	FOREACH wanted IN ARRAY p_queues LOOP
		IF NOT EXISTS (SELECT 1 FROM shoal.queue q WHERE q.app_id = p_app AND q.name = wanted) THEN
			IF (SELECT count(*) FROM shoal.queue q WHERE q.app_id = p_app) >= p_limit THEN
				RAISE EXCEPTION 'this application has % queues already', p_limit
					USING ERRCODE = '54000';
			END IF;
			BEGIN
				INSERT INTO shoal.queue (app_id, name) VALUES (p_app, wanted);
			EXCEPTION WHEN unique_violation THEN NULL;
			END;
		END IF;
	END LOOP;
	FOREACH wanted IN ARRAY p_types LOOP
		IF NOT EXISTS (SELECT 1 FROM shoal.task_type y WHERE y.name = wanted) THEN
			IF p_app IS NOT NULL
			   AND (SELECT count(*) FROM shoal.task_type y WHERE y.created_by = p_app) >= p_limit THEN
				RAISE EXCEPTION 'this application has named % task types already', p_limit
					USING ERRCODE = '54000';
			END IF;
			BEGIN
				INSERT INTO shoal.task_type (name, created_by) VALUES (wanted, p_app);
			EXCEPTION WHEN unique_violation THEN NULL;
			END;
		END IF;
	END LOOP;
	RETURN QUERY
		SELECT 0::smallint, q.name, q.id, p.paused, p.limited, p.priority, p.max_length, p.shed_ppm,
		       p.shed_below
		  FROM shoal.queue q, LATERAL shoal.policy_of(ARRAY[q.id]) p
		 WHERE q.app_id = p_app AND q.name = ANY (p_queues)
		UNION ALL
		SELECT 1::smallint, y.name, y.id, false, false, NULL::int, NULL::int, NULL::int, NULL::int
		  FROM shoal.task_type y WHERE y.name = ANY (p_types);
END $$;

CREATE FUNCTION shoal.policy_of(p_queues int[])
RETURNS TABLE (id int, app_id int, name text, paused boolean, limited boolean, priority int, max_length int,
	shed_ppm int, shed_below int)
LANGUAGE sql STABLE AS $$
	SELECT q.id, q.app_id, q.name, q.paused,
	       EXISTS (SELECT 1 FROM shoal.limit_state s WHERE s.kind = 0 AND s.ref = q.id),
	       q.priority::int, q.max_length, q.shed_ppm, q.shed_below::int
	  FROM shoal.queue q WHERE q.id = ANY (p_queues)
$$;

-- How many tasks wait in each of these queues: those that are due and not running.  No more than p_most of
-- each are counted, so that a question costs what its queue may hold at most.
CREATE FUNCTION shoal.queue_lengths(p_queues int[], p_most int[]) RETURNS TABLE (queue_id int, waiting bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT u.queue_id, n.waiting
	  FROM unnest(p_queues, p_most) AS u (queue_id, most), LATERAL (
		SELECT count(*) AS waiting FROM (
			SELECT 1 FROM shoal.task t
			 WHERE t.queue_id = u.queue_id AND t.order_at IS NOT NULL AND t.state = 1
			 LIMIT u.most) x) n;
END $$;

-- ---------------------------------------------------------------------- settings of a queue

-- The given settings of a queue (a sum of bits), which is made if it is new; NULL takes one away.
--     1 priority   2 max_length   4 concurrency   8 rate   16 shed   32 shed_below   64 keep_finished
--     128 keep_failed
CREATE FUNCTION shoal.set_queue(p_app int, p_name text, p_limit int, p_by text, p_given int, p_priority int,
	p_max_length int, p_concurrency int, p_rate int, p_rate_ms int, p_shed_ppm int, p_shed_below int,
	p_keep_finished_ms bigint, p_keep_failed_ms bigint, p_detail text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	q int;
BEGIN
	IF p_given & 12 <> 0 THEN
		PERFORM pg_advisory_xact_lock(7290, 2); -- before any row
	END IF;
	SELECT n.id INTO q FROM shoal.names_of(p_app, ARRAY[p_name], '{}', p_limit) n;
	UPDATE shoal.queue u
	   SET priority = CASE WHEN p_given & 1 <> 0 THEN p_priority ELSE u.priority END,
	       max_length = CASE WHEN p_given & 2 <> 0 THEN p_max_length ELSE u.max_length END,
	       shed_ppm = CASE WHEN p_given & 16 <> 0 THEN p_shed_ppm ELSE u.shed_ppm END,
	       shed_below = CASE WHEN p_given & 32 <> 0 THEN p_shed_below ELSE u.shed_below END,
	       keep_finished_ms = CASE WHEN p_given & 64 <> 0 THEN p_keep_finished_ms
	                               ELSE u.keep_finished_ms END,
	       keep_failed_ms = CASE WHEN p_given & 128 <> 0 THEN p_keep_failed_ms ELSE u.keep_failed_ms END
	 WHERE u.id = q;
	IF p_given & 12 <> 0 THEN
		PERFORM shoal.set_limit(0, q, p_given, p_concurrency, p_rate, p_rate_ms);
	END IF;
	PERFORM shoal.add_event(p_app, NULL, 17, NULL, NULL, NULL, NULL, NULL,
		json_build_object('queue', p_name, 'by', p_by, 'settings', p_detail::json)::text);
	RETURN q;
END $$;

-- NULL: there is no such queue.  A queue that is paused already stays as it was.
CREATE FUNCTION shoal.pause_queue(p_app int, p_name text, p_paused boolean, p_by text, p_reason text)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	q int;
BEGIN
	IF p_paused THEN
		PERFORM pg_advisory_xact_lock(7290, 2);
	END IF;
	UPDATE shoal.queue u
	   SET paused = p_paused, paused_by = CASE WHEN p_paused THEN p_by END,
	       paused_at = CASE WHEN p_paused THEN clock_timestamp() END,
	       paused_reason = CASE WHEN p_paused THEN p_reason END
	 WHERE u.app_id = p_app AND u.name = p_name AND u.paused <> p_paused
	RETURNING u.id INTO q;
	IF FOUND THEN
		PERFORM shoal.add_event(p_app, NULL, CASE WHEN p_paused THEN 15 ELSE 16 END, NULL, NULL, NULL,
			NULL, p_reason, json_build_object('queue', p_name, 'by', p_by)::text);
		RETURN q;
	END IF;
	RETURN (SELECT u.id FROM shoal.queue u WHERE u.app_id = p_app AND u.name = p_name);
END $$;

-- ---------------------------------------------------------------------- reads

-- An application's queues by name, behind p_after; p_name: that one.  Each is counted up to p_count tasks, and so
-- are all running and all scheduled tasks of the cluster that are looked at, as in busy_queues.
CREATE FUNCTION shoal.list_queues(p_app int, p_name text, p_after text, p_limit int, p_count int)
RETURNS TABLE (id int, name text, created_at timestamptz, paused boolean, paused_by text, paused_at timestamptz,
	paused_reason text, queued bigint, running bigint, scheduled bigint, more boolean, oldest_ms bigint,
	priority int, max_length int, concurrency int, rate int, rate_ms int, shed_ppm int, shed_below int,
	keep_finished_ms bigint, keep_failed_ms bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
	shown int[];
	later int[];
	counts bigint[];
	later_seen bigint;
	active int[];
	actives bigint[];
	active_seen bigint;
BEGIN
	shown := ARRAY(SELECT q.id FROM shoal.queue q
			WHERE q.app_id = p_app AND (p_name IS NULL OR q.name = p_name)
			  AND (p_after IS NULL OR q.name > p_after)
			ORDER BY q.name LIMIT p_limit);
	IF shown = '{}' THEN
		RETURN;
	END IF;
	SELECT array_agg(g.queue_id), array_agg(g.n), coalesce(sum(g.n), 0)
	  INTO later, counts, later_seen FROM (
		SELECT w.queue_id, count(*) AS n FROM (
			SELECT t.queue_id FROM shoal.task t WHERE t.due_at IS NOT NULL
			 ORDER BY t.due_at LIMIT p_count) w
		 GROUP BY w.queue_id) g;
	SELECT array_agg(g.queue_id), array_agg(g.n), coalesce(sum(g.n), 0)
	  INTO active, actives, active_seen FROM (
		SELECT w.queue_id, count(*) AS n
		  FROM (SELECT k.owner, k.batch, x.app_id, x.id
			  FROM shoal.claim k, LATERAL unnest(k.apps, k.ids) AS x (app_id, id)
			 LIMIT p_count) h, LATERAL (
			SELECT t.queue_id FROM shoal.task t
			 WHERE t.app_id = h.app_id AND t.id = h.id
			   AND t.state = 2 AND t.owner = h.owner AND t.claim = h.batch OFFSET 0) w
		 GROUP BY w.queue_id) g;
	RETURN QUERY
	SELECT q.id, q.name, q.created_at, q.paused, q.paused_by, q.paused_at, q.paused_reason,
	       c.queued, coalesce(a.n, 0), coalesce(s.n, 0),
	       c.seen >= p_count OR later_seen >= p_count OR active_seen >= p_count,
	       (date_part('epoch', clock_timestamp() - c.oldest) * 1000)::bigint,
	       q.priority::int, q.max_length, l.concurrency, l.rate, l.rate_ms, q.shed_ppm, q.shed_below::int,
	       q.keep_finished_ms, q.keep_failed_ms
	  FROM unnest(shown) AS u (id)
	  JOIN shoal.queue q ON q.id = u.id
	  LEFT JOIN shoal.limit_state l ON l.kind = 0 AND l.ref = q.id
	  LEFT JOIN unnest(later, counts) AS s (id, n) ON s.id = q.id
	  LEFT JOIN unnest(active, actives) AS a (id, n) ON a.id = q.id, LATERAL (
		SELECT count(*) AS seen, count(*) FILTER (WHERE w.state = 1) AS queued,
		       min(w.run_at) FILTER (WHERE w.state = 1) AS oldest
		  FROM (SELECT t.state, t.run_at FROM shoal.task t
			 WHERE t.queue_id = q.id AND t.order_at IS NOT NULL
			 ORDER BY t.queue_id, t.type_id, t.order_at LIMIT p_count) w OFFSET 0) c
	 ORDER BY q.name;
END $$;

-- What a limit is, what runs under it, since when it is full, and when its bucket has a token again.
CREATE FUNCTION shoal.limit_view(p_kind int, p_ref int)
RETURNS TABLE (concurrency int, running int, since timestamptz, rate int, rate_ms int, until timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT l.concurrency, h.n, h.since, l.rate, l.rate_ms,
	       CASE WHEN f.tokens < 1
	            THEN clock_timestamp() + (1 - f.tokens) * l.rate_ms / l.rate * interval '1 millisecond' END
	  FROM shoal.limit_state l, LATERAL (
		SELECT shoal.limit_tokens(l.rate, l.rate_ms, l.tokens, l.filled_at) AS tokens OFFSET 0) f, LATERAL (
		SELECT count(*)::int AS n, max(r.started_at) AS since
		  FROM (SELECT * FROM shoal.holding h WHERE h.kind = p_kind AND h.ref = p_ref
			 LIMIT l.concurrency) h, LATERAL (
			SELECT t.started_at FROM shoal.task t
			 WHERE t.app_id = h.app_id AND t.id = h.task_id AND t.state = 2
			   AND t.attempt = h.attempt OFFSET 0) r OFFSET 0) h
	 WHERE l.kind = p_kind AND l.ref = p_ref;
END $$;

-- Tasks of a queue that stand before one, up to p_most: those with an earlier place in the lanes of the queue.
CREATE FUNCTION shoal.ahead_of(p_queue int, p_order timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	y int := 0;
	ahead int := 0;
	n int;
BEGIN
	LOOP
		SELECT t.type_id INTO y FROM shoal.task t
		 WHERE t.order_at IS NOT NULL AND t.queue_id = p_queue AND t.type_id > y
		 ORDER BY t.type_id LIMIT 1;
		EXIT WHEN NOT FOUND;
		SELECT count(*) INTO n FROM (
			SELECT 1 FROM shoal.task t
			 WHERE t.queue_id = p_queue AND t.type_id = y AND t.order_at IS NOT NULL
			   AND t.order_at < p_order AND t.state = 1
			 LIMIT p_most - ahead) x;
		ahead := ahead + n;
		EXIT WHEN ahead >= p_most;
	END LOOP;
	RETURN ahead;
END $$;

-- all that is known of why a task does not run; no row: it is not there
CREATE FUNCTION shoal.why_task(p_app int, p_id uuid, p_most int)
RETURNS TABLE (state smallint, type text, queue text, attempt int, failures int, max_attempts int,
	run_at timestamptz, due_at timestamptz, started_at timestamptz, finished_at timestamptz, owner uuid, code text,
	message text, deadline timestamptz, deadline_over boolean, parents uuid[], parents_open int, key text,
	key_ahead int, cancel_at timestamptz, paused boolean, paused_by text, paused_at timestamptz,
	paused_reason text, served boolean, ahead int,
	queue_concurrency int, queue_running int, queue_since timestamptz, queue_rate int, queue_rate_ms int,
	queue_until timestamptz,
	type_concurrency int, type_running int, type_since timestamptz, type_rate int, type_rate_ms int,
	type_until timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	r shoal.task;
	q shoal.queue;
BEGIN
	SELECT * INTO r FROM shoal.task t WHERE t.app_id = p_app AND t.id = p_id;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT * INTO q FROM shoal.queue u WHERE u.id = r.queue_id;
	state := r.state;
	type := (SELECT y.name FROM shoal.task_type y WHERE y.id = r.type_id);
	queue := q.name;
	attempt := r.attempt;
	failures := r.failures;
	max_attempts := r.max_attempts;
	run_at := r.run_at;
	due_at := r.due_at;
	started_at := r.started_at;
	finished_at := r.finished_at;
	owner := r.owner;
	code := r.error_code;
	message := r.error_message;
	deadline := r.deadline;
	deadline_over := coalesce(r.deadline <= clock_timestamp(), false);
	parents := '{}';
	parents_open := coalesce(r.waits_for, 0);
	key := r.concurrency_key;
	cancel_at := r.cancel_at;
	paused := q.paused;
	paused_by := q.paused_by;
	paused_at := q.paused_at;
	paused_reason := q.paused_reason;
	served := EXISTS (SELECT 1 FROM shoal.incarnation i
	                   WHERE i.state = 0 AND (i.types IS NULL OR i.types @> ARRAY[r.type_id]));
	IF r.state = 0 AND parents_open > 0 THEN
		parents := ARRAY(SELECT d.parent FROM shoal.dependency d, LATERAL (
					SELECT 1 FROM shoal.task t
					 WHERE t.app_id = d.app_id AND t.id = d.parent AND t.state < 3 OFFSET 0) o
				  WHERE d.app_id = p_app AND d.child = p_id LIMIT 10);
	ELSIF r.state = 1 AND r.order_at IS NULL AND r.concurrency_key IS NOT NULL THEN
		key_ahead := (SELECT count(*) FROM (
			SELECT 1 FROM shoal.key_line me, shoal.key_line k
			 WHERE me.app_id = p_app AND me.key = r.concurrency_key AND me.task_id = p_id
			   AND k.app_id = p_app AND k.key = r.concurrency_key
			   AND (k.admitted OR k.order_at < me.order_at) LIMIT p_most) x);
	END IF;
	IF r.state = 1 AND r.order_at IS NOT NULL THEN
		ahead := shoal.ahead_of(r.queue_id, r.order_at, p_most);
		SELECT v.concurrency, v.running, v.since, v.rate, v.rate_ms, v.until
		  INTO queue_concurrency, queue_running, queue_since, queue_rate, queue_rate_ms, queue_until
		  FROM shoal.limit_view(0, r.queue_id) v;
		SELECT v.concurrency, v.running, v.since, v.rate, v.rate_ms, v.until
		  INTO type_concurrency, type_running, type_since, type_rate, type_rate_ms, type_until
		  FROM shoal.limit_view(1, r.type_id) v;
	END IF;
	RETURN NEXT;
END $$;

-- ---------------------------------------------------------------------- retention

-- As in 0003, but a queue may say how long its tasks are kept: at most as many queues as an application has are
-- compared with each finished row that is looked at.
CREATE OR REPLACE FUNCTION shoal.prune(p_apps int[], p_from uuid[], p_bound uuid, p_finished_ms bigint,
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
	own int[];
	own_finished timestamptz[];
	own_failed timestamptz[];
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
			SELECT coalesce(array_agg(q.id), '{}'),
			       array_agg(CASE WHEN q.keep_finished_ms IS NULL THEN finished_before
			                      WHEN q.keep_finished_ms > 0
			                      THEN now() - q.keep_finished_ms * interval '1 millisecond' END),
			       array_agg(CASE WHEN q.keep_failed_ms IS NULL THEN failed_before
			                      WHEN q.keep_failed_ms > 0
			                      THEN now() - q.keep_failed_ms * interval '1 millisecond' END)
			  INTO own, own_finished, own_failed
			  FROM shoal.queue q
			 WHERE q.app_id = p_apps[i]
			   AND (q.keep_finished_ms IS NOT NULL OR q.keep_failed_ms IS NOT NULL);
			IF own = '{}' THEN
				DELETE FROM shoal.task t
				 WHERE t.app_id = p_apps[i] AND t.id > p_from[i] AND t.id <= ids[looked]
				   AND ((t.state IN (3, 5, 6) AND t.finished_at < finished_before)
				     OR (t.state = 4 AND t.finished_at < failed_before));
			ELSE
				DELETE FROM shoal.task t
				 WHERE t.app_id = p_apps[i] AND t.id > p_from[i] AND t.id <= ids[looked]
				   AND t.state > 2 AND t.finished_at < CASE
					WHEN t.queue_id = ANY (own) THEN (
						SELECT CASE t.state WHEN 4 THEN o.failed ELSE o.finished END
						  FROM unnest(own, own_finished, own_failed)
						       AS o (queue_id, finished, failed)
						 WHERE o.queue_id = t.queue_id)
					WHEN t.state = 4 THEN failed_before
					ELSE finished_before END;
			END IF;
			GET DIAGNOSTICS removed = ROW_COUNT;
		END IF;
		RETURN NEXT;
		budget := budget - looked;
		EXIT WHEN budget <= 0;
	END LOOP;
END $$;

-- see the ends of 0001 and 0003
DO $$
BEGIN
	PERFORM shoal.without_jit();
	IF current_setting('server_version_num')::int >= 90600 THEN
		ALTER FUNCTION shoal.prune(int[], uuid[], uuid, bigint, bigint, int)
			SET max_parallel_workers_per_gather = 0;
	END IF;
END $$;
