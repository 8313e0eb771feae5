-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0015-leases: tasks that workers outside of Shoal take over HTTP, and types that applications make.
--
-- A leased task is running, and its owner is the lease: a random id whose bytes 7 and 8 are ff, which no
-- incarnation has (src/model/task.h).  So nothing that is done to what an incarnation holds ever touches it: it
-- outlives every node, and falls by the time of its lease alone, by this database's clock.
--
-- It is claimed by shoal.claim_tasks like any other, under the incarnation of the worker that answers, and changes
-- hands within the same transaction: pauses, limits, keys and deadlines hold by the same statement, and no claim of a
-- dead worker passes.  Its note in shoal.claim is the lease's own from then on, so that all who count what runs
-- see it; a note without its lease is a stray, and recovered like one.  A task that is given back, or whose lease is
-- lost, comes first in line, at its run_at, as one that was adopted (0002).

ALTER TABLE shoal.api_key ADD COLUMN scopes text[];     -- all that the key may do; NULL: everything

-- ---------------------------------------------------------------------- types

-- handler: the numbers of enum handler_kind, src/model/settings.h

-- types of one application
CREATE TABLE shoal.app_type (
	app_id       int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	type_id      int NOT NULL REFERENCES shoal.task_type (id),
	handler      smallint NOT NULL,
	timeout_ms   int,               -- NULL: none
	max_attempts int,               -- NULL: the node's setting
	backoff      text,              -- JSON; NULL: the default rule
	config       text,              -- JSON, the handler's own
	created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
	updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (app_id, type_id)
);
CREATE INDEX app_type_of ON shoal.app_type (type_id);

-- types that nodes have in their settings; the latest node's word counts
CREATE TABLE shoal.node_type (
	type_id      int PRIMARY KEY REFERENCES shoal.task_type (id),
	handler      smallint NOT NULL,
	timeout_ms   bigint,
	max_attempts int,
	backoff      text,
	told_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- counts the changes of both: who has read them sees that there is news
CREATE TABLE shoal.registry (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	rev bigint NOT NULL DEFAULT 1
);
INSERT INTO shoal.registry DEFAULT VALUES;

-- a living worker has it in its settings
CREATE FUNCTION shoal.is_served(p_type int) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT 1 FROM shoal.incarnation i WHERE i.state = 0 AND i.types @> ARRAY[p_type])
$$;

-- attempts of a task that says nothing else: what the application's own type says, or a living node's settings, or all
-- of them
CREATE FUNCTION shoal.type_attempts(p_app int, p_type int) RETURNS int LANGUAGE sql STABLE AS $$
	SELECT coalesce(
		(SELECT a.max_attempts FROM shoal.app_type a WHERE a.app_id = p_app AND a.type_id = p_type),
		(SELECT n.max_attempts FROM shoal.node_type n
		  WHERE n.type_id = p_type AND n.max_attempts IS NOT NULL AND shoal.is_served(p_type)),
		(SELECT c.max_attempts FROM shoal.cluster c))
$$;

-- what a node serves, as its settings say; only what changes is written
CREATE FUNCTION shoal.tell_types(p_types int[], p_handlers smallint[], p_timeouts bigint[], p_attempts int[],
	p_backoffs text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	n record;
	changed boolean := false;
BEGIN
	FOR n IN SELECT u.*
		   FROM unnest(p_types, p_handlers, p_timeouts, p_attempts, p_backoffs)
			AS u (type_id, handler, timeout_ms, max_attempts, backoff)
		   LEFT JOIN shoal.node_type t ON t.type_id = u.type_id
		  WHERE t.type_id IS NULL
		     OR (t.handler, t.timeout_ms, t.max_attempts, t.backoff)
			IS DISTINCT FROM (u.handler, u.timeout_ms, u.max_attempts, u.backoff)
		  ORDER BY u.type_id LOOP
		changed := true;
		LOOP
			UPDATE shoal.node_type t
			   SET handler = n.handler, timeout_ms = n.timeout_ms, max_attempts = n.max_attempts,
			       backoff = n.backoff, told_at = clock_timestamp()
			 WHERE t.type_id = n.type_id;
			EXIT WHEN FOUND;
			BEGIN
				INSERT INTO shoal.node_type (type_id, handler, timeout_ms, max_attempts, backoff)
				VALUES (n.type_id, n.handler, n.timeout_ms, n.max_attempts, n.backoff);
				EXIT;
			EXCEPTION WHEN unique_violation THEN NULL; -- another node tells the same
			END;
		END LOOP;
	END LOOP;
	IF changed THEN
		UPDATE shoal.registry r SET rev = r.rev + 1;
	END IF;
END $$;

-- 0 made, 1 replaced, 2 there are p_most of the application already, 3 the operator has one of that name.  More than
-- p_limit new type names raise 54000.
CREATE FUNCTION shoal.put_type(p_app int, p_name text, p_limit int, p_most int, p_handler int, p_timeout_ms int,
	p_max_attempts int, p_backoff text, p_config text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	y int;
BEGIN
	-- one at a time for each application: neither the name nor the count can be raced for
	PERFORM 1 FROM shoal.application a WHERE a.id = p_app FOR NO KEY UPDATE;
	SELECT n.id INTO y FROM shoal.names_of(p_app, '{}', ARRAY[p_name], p_limit) n;
	IF EXISTS (SELECT 1 FROM shoal.node_type n WHERE n.type_id = y) AND shoal.is_served(y) THEN
		RETURN 3;
	END IF;
	UPDATE shoal.app_type t
	   SET handler = p_handler, timeout_ms = p_timeout_ms, max_attempts = p_max_attempts, backoff = p_backoff,
	       config = p_config, updated_at = clock_timestamp()
	 WHERE t.app_id = p_app AND t.type_id = y;
	IF FOUND THEN
		UPDATE shoal.registry r SET rev = r.rev + 1;
		RETURN 1;
	END IF;
	IF (SELECT count(*) FROM shoal.app_type t WHERE t.app_id = p_app) >= p_most THEN
		RETURN 2;
	END IF;
	INSERT INTO shoal.app_type (app_id, type_id, handler, timeout_ms, max_attempts, backoff, config)
	VALUES (p_app, y, p_handler, p_timeout_ms, p_max_attempts, p_backoff, p_config);
	UPDATE shoal.registry r SET rev = r.rev + 1;
	RETURN 0;
END $$;

-- true if there was one
CREATE FUNCTION shoal.delete_type(p_app int, p_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM shoal.app_type t
	 WHERE t.app_id = p_app AND t.type_id = (SELECT y.id FROM shoal.task_type y WHERE y.name = p_name);
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	UPDATE shoal.registry r SET rev = r.rev + 1;
	RETURN true;
END $$;

-- Types that an application may use, by name, behind p_after; p_name: that one.  Where both have one of a name the
-- operator's counts.
CREATE FUNCTION shoal.list_types(p_app int, p_name text, p_after text, p_most int)
RETURNS TABLE (name text, handler smallint, own boolean, timeout_ms bigint, max_attempts int, backoff text,
	config text, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT y.name, k.handler, k.own, k.timeout_ms, k.max_attempts, k.backoff, k.config, k.created_at, k.updated_at
	  FROM (SELECT n.type_id, n.handler, false AS own, n.timeout_ms, n.max_attempts, n.backoff, NULL::text AS config,
		       NULL::timestamptz AS created_at, n.told_at AS updated_at
		  FROM shoal.node_type n WHERE shoal.is_served(n.type_id)
		UNION ALL
		SELECT a.type_id, a.handler, true, a.timeout_ms::bigint, a.max_attempts, a.backoff, a.config,
		       a.created_at, a.updated_at
		  FROM shoal.app_type a
		 WHERE a.app_id = p_app AND NOT (shoal.is_served(a.type_id)
			AND EXISTS (SELECT 1 FROM shoal.node_type n WHERE n.type_id = a.type_id))) k
	  JOIN shoal.task_type y ON y.id = k.type_id
	 WHERE (p_name IS NULL OR y.name = p_name) AND (p_after IS NULL OR y.name COLLATE "C" > p_after COLLATE "C")
	 ORDER BY y.name COLLATE "C" LIMIT p_most;
END $$;

-- ---------------------------------------------------------------------- leases

CREATE TABLE shoal.lease (
	id         uuid PRIMARY KEY,
	app_id     int NOT NULL,
	task_id    uuid NOT NULL,
	queue_id   int NOT NULL,
	claim      int NOT NULL,
	attempt    int NOT NULL,
	worker     text,                -- as it calls itself
	leased_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
	expires_at timestamptz NOT NULL,
	ends_at    timestamptz          -- it is not extended past this, the timeout; NULL: none
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX lease_expires ON shoal.lease (expires_at);

-- As in 0001.  A lease holds what it holds without an incarnation.
CREATE OR REPLACE FUNCTION shoal.strays() RETURNS uuid[] LANGUAGE sql STABLE AS $$
	SELECT ARRAY(
		SELECT DISTINCT c.owner FROM shoal.claim c
		  LEFT JOIN shoal.incarnation i ON i.id = c.owner
		 WHERE (i.id IS NULL OR i.state <> 0)
		   AND NOT EXISTS (SELECT 1 FROM shoal.lease l WHERE l.id = c.owner))
$$;

-- numbers of the types that workers outside may lease for an application; p_names: of these, empty: of all
CREATE FUNCTION shoal.pull_types(p_app int, p_names text[]) RETURNS int[] LANGUAGE plpgsql STABLE
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	RETURN ARRAY(
		SELECT k.type_id
		  FROM (SELECT n.type_id FROM shoal.node_type n WHERE n.handler = 4
			UNION
			SELECT a.type_id FROM shoal.app_type a
			 WHERE a.app_id = p_app AND a.handler = 4 AND NOT EXISTS (
				SELECT 1 FROM shoal.node_type n
				 WHERE n.type_id = a.type_id AND n.handler <> 4 AND shoal.is_served(n.type_id))) k
		  JOIN shoal.task_type y ON y.id = k.type_id
		 WHERE p_names = '{}' OR y.name = ANY (p_names));
END $$;

-- The first tasks of these lanes in the order of order_at, as many as may run now; no more than about 8 MiB of
-- payloads, but one at least.
CREATE FUNCTION shoal.pull_due(p_queues int[], p_types int[], p_most int)
RETURNS TABLE (id uuid, type_id int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	queues int[] := ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 0);
	limited int[] := ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 1);
BEGIN
	RETURN QUERY
	SELECT s.id, s.type_id
	  FROM (SELECT b.*, sum(b.bytes) OVER (ORDER BY b.order_at, b.id) - b.bytes AS before
		  FROM (SELECT r.id, l.type_id, r.order_at, r.bytes
			  FROM (SELECT q.id AS queue_id, y.type_id,
				       CASE WHEN q.id = ANY (queues) OR y.type_id = ANY (limited)
				            THEN shoal.lane_room(q.id, y.type_id) END AS room
				  FROM unnest(p_queues) AS u (id)
				  JOIN shoal.queue q ON q.id = u.id AND NOT q.paused,
				  unnest(p_types) AS y (type_id) OFFSET 0) l, LATERAL (
				SELECT t.id, t.order_at, coalesce(octet_length(t.payload), 0)::bigint AS bytes
				  FROM shoal.task t
				 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id
				   AND t.order_at IS NOT NULL AND t.state = 1
				   AND (t.deadline IS NULL OR t.deadline > now())
				 ORDER BY t.order_at LIMIT least(p_most, l.room)) r
			 ORDER BY r.order_at LIMIT p_most) b) s
	 WHERE s.before < 8388608
	 ORDER BY s.order_at, s.id;
END $$;

-- Leases for many who wait, in asks: ask n is for application p_apps[n], the queues of p_queues and the types of
-- p_types (names; none: all) that are marked with n, and has p_slots[n] slots: leases of p_leases, in a row, with
-- their times and workers.  The first task goes to an ask's first slot, and so on, so that who waits longest comes
-- first in the order of the slots.
--
-- One at a time for each application: whoever else asks for it is told so (slot 0) and comes back.  So no two claims
-- wait for each other's rows, on any version.
CREATE FUNCTION shoal.lease_tasks(p_me uuid, p_batch int, p_apps int[], p_slots int[], p_queues int[],
	p_queue_asks int[], p_types text[], p_type_asks int[], p_leases uuid[], p_ttls_ms int[], p_workers text[])
RETURNS TABLE (slot int, task_id uuid, type text, queue_id int, priority smallint, attempt int, failures int,
	max_attempts int, payload text, metadata text, run_at timestamptz, deadline timestamptz,
	expires_at timestamptz, ends_at timestamptz, trace text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	base int := 0;
	queues int[];
	kinds int[];
	ids uuid[];
	types int[];
	c record;
	lease uuid;
	time_ms bigint;
BEGIN
	FOR n IN 1 .. coalesce(array_length(p_apps, 1), 0) LOOP
		base := base + CASE WHEN n > 1 THEN p_slots[n - 1] ELSE 0 END;
		queues := ARRAY(SELECT u.queue FROM unnest(p_queues, p_queue_asks) AS u (queue, ask) WHERE u.ask = n);
		kinds := shoal.pull_types(p_apps[n], ARRAY(
			SELECT u.name FROM unnest(p_types, p_type_asks) AS u (name, ask) WHERE u.ask = n));
		-- mostly there is nothing, and nobody need wait for that
		CONTINUE WHEN kinds = '{}' OR NOT EXISTS (SELECT 1 FROM shoal.pull_due(queues, kinds, 1));
		IF NOT pg_try_advisory_xact_lock(7292, p_apps[n]) THEN
			slot := 0;
			RETURN NEXT;
			CONTINUE;
		END IF;
		SELECT array_agg(d.id), array_agg(d.type_id) INTO ids, types
		  FROM shoal.pull_due(queues, kinds, p_slots[n]) d;
		CONTINUE WHEN ids IS NULL;
		slot := base;
		FOR c IN SELECT k.* FROM shoal.claim_tasks(p_me, p_batch,
				array_fill(p_apps[n], ARRAY[array_length(ids, 1)]), ids, types, true) k
			   JOIN unnest(ids) WITH ORDINALITY AS o (id, place) ON o.id = k.id ORDER BY o.place LOOP
			slot := slot + 1;
			lease := p_leases[slot];
			time_ms := coalesce(c.timeout_ms,
				(SELECT t.timeout_ms FROM shoal.node_type t WHERE t.type_id = c.type_id AND t.handler = 4),
				(SELECT a.timeout_ms FROM shoal.app_type a
				  WHERE a.app_id = p_apps[n] AND a.type_id = c.type_id));
			ends_at := clock_timestamp() + time_ms * interval '1 millisecond';
			expires_at := least(clock_timestamp() + p_ttls_ms[slot] * interval '1 millisecond', ends_at);
			-- out of its lane: thousands may be leased for long, and none shall be walked over
			UPDATE shoal.task t SET owner = lease, order_at = NULL
			 WHERE t.app_id = p_apps[n] AND t.id = c.id AND t.state = 2 AND t.owner = p_me
			   AND t.claim = p_batch
			RETURNING t.priority, t.metadata, t.run_at INTO priority, metadata, run_at;
			INSERT INTO shoal.lease (id, app_id, task_id, queue_id, claim, attempt, worker, expires_at, ends_at)
			VALUES (lease, p_apps[n], c.id, c.queue_id, p_batch, c.attempt, p_workers[slot], expires_at,
				ends_at);
			INSERT INTO shoal.claim (owner, batch, apps, ids)
			VALUES (lease, p_batch, ARRAY[p_apps[n]], ARRAY[c.id]);
			task_id := c.id;
			type := (SELECT y.name FROM shoal.task_type y WHERE y.id = c.type_id);
			queue_id := c.queue_id;
			attempt := c.attempt;
			failures := c.failures;
			max_attempts := c.max_attempts;
			payload := c.payload;
			deadline := c.deadline;
			trace := c.trace;
			RETURN NEXT;
		END LOOP;
		DELETE FROM shoal.claim k WHERE k.owner = p_me AND k.batch = p_batch;
	END LOOP;
END $$;

-- may a key of these scopes (names of queues; NULL: all) touch a task of this queue?
CREATE FUNCTION shoal.in_scope(p_queue int, p_scope text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT p_scope IS NULL
	    OR EXISTS (SELECT 1 FROM shoal.queue q WHERE q.id = p_queue AND q.name = ANY (p_scope))
$$;

-- outcome: 0 extended, 2 it is held no more, 3 not in the key's scope.  A task that somebody has cancelled keeps the
-- time that it has.  The log's lines are put behind those of the same attempt, of which the end is kept.
CREATE FUNCTION shoal.extend_lease(p_app int, p_task uuid, p_lease uuid, p_ttl_ms int, p_progress text,
	p_log text, p_scope text[])
RETURNS TABLE (outcome int, expires_at timestamptz, cancelled boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	l shoal.lease;
BEGIN
	outcome := 2;
	SELECT * INTO l FROM shoal.lease x
	 WHERE x.id = p_lease AND x.app_id = p_app AND x.task_id = p_task FOR UPDATE;
	IF FOUND AND NOT shoal.in_scope(l.queue_id, p_scope) THEN
		outcome := 3;
	ELSIF FOUND THEN
		SELECT 0, t.cancel_at IS NOT NULL INTO outcome, cancelled FROM shoal.task t
		 WHERE t.app_id = p_app AND t.id = p_task AND t.state = 2 AND t.owner = p_lease;
		outcome := coalesce(outcome, 2);
	END IF;
	IF outcome = 0 THEN
		expires_at := CASE WHEN cancelled THEN l.expires_at
		              ELSE least(clock_timestamp() + p_ttl_ms * interval '1 millisecond', l.ends_at) END;
		UPDATE shoal.lease x SET expires_at = extend_lease.expires_at WHERE x.id = p_lease AND NOT cancelled;
		IF p_progress IS NOT NULL OR p_log IS NOT NULL THEN
			UPDATE shoal.task_report r
			   SET attempt = l.attempt,
			       progress = coalesce(p_progress, CASE WHEN r.attempt = l.attempt THEN r.progress END),
			       log = right(coalesce(CASE WHEN r.attempt = l.attempt THEN r.log END, '')
					|| coalesce(p_log, ''), 16384),
			       updated_at = clock_timestamp()
			 WHERE r.app_id = p_app AND r.id = p_task AND r.attempt <= l.attempt;
			IF NOT FOUND THEN
				-- the row of the lease is locked: nobody else writes for this attempt
				INSERT INTO shoal.task_report (app_id, id, attempt, progress, log)
				SELECT p_app, p_task, l.attempt, p_progress, right(p_log, 16384)
				 WHERE NOT EXISTS (SELECT 1 FROM shoal.task_report r
				                    WHERE r.app_id = p_app AND r.id = p_task);
			END IF;
		END IF;
	END IF;
	RETURN NEXT;
END $$;

-- The ends of leased tasks, each by itself.  p_states: 3 succeeded, 0 failed, to be tried again after p_delays ms if
-- attempts are left, 4 failed for good, 1 given back at no cost.
--
-- outcome: 0 done, 1 this lease had ended before (its answer was lost), 2 it was held no more, 3 not in the key's scope.  The state
-- is the task's, and waiter and special are as in finish_tasks.
CREATE FUNCTION shoal.end_leases(p_app int, p_tasks uuid[], p_leases uuid[], p_states smallint[], p_delays bigint[],
	p_results text[], p_codes text[], p_messages text[], p_scope text[])
RETURNS TABLE (n int, outcome int, state smallint, waiter uuid, special int, queue_id int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	t record;
	ends smallint;
	watched boolean := EXISTS (SELECT 1 FROM shoal.watched);
BEGIN
	-- in the order of the tasks, so that no two of these wait for each other
	FOR n IN SELECT u.n::int FROM unnest(p_tasks) WITH ORDINALITY AS u (id, n) ORDER BY u.id LOOP
		outcome := 2;
		state := NULL;
		waiter := NULL;
		special := NULL;
		-- before the task, as whoever lets it expire does
		PERFORM 1 FROM shoal.lease l WHERE l.id = p_leases[n] FOR UPDATE;
		SELECT x.state, x.owner, x.attempt, x.claim, x.failures, x.max_attempts, x.cancel_at, x.queue_id INTO t
		  FROM shoal.task x WHERE x.app_id = p_app AND x.id = p_tasks[n];
		queue_id := t.queue_id;
		IF NOT FOUND OR t.owner IS DISTINCT FROM p_leases[n] THEN
			RETURN NEXT;
			CONTINUE;
		END IF;
		state := t.state;
		IF NOT shoal.in_scope(t.queue_id, p_scope) THEN
			outcome := 3;
			RETURN NEXT;
			CONTINUE;
		ELSIF t.state <> 2 THEN
			-- told again; but who failed and then succeeds has changed his mind too late
			outcome := CASE WHEN (p_states[n] = 3) = (t.state = 3) THEN 1 ELSE 2 END;
			RETURN NEXT;
			CONTINUE;
		END IF;
		ends := CASE WHEN p_states[n] <> 3 AND t.cancel_at IS NOT NULL THEN 5
		             WHEN p_states[n] = 0 AND t.failures + 1 >= t.max_attempts THEN 4
		             ELSE p_states[n] END;
		IF ends = 3 THEN
			UPDATE shoal.task x
			   SET state = 3, finished_at = clock_timestamp(), order_at = NULL, due_at = NULL,
			       expire_at = NULL, error_code = NULL, error_message = NULL, result = p_results[n]
			 WHERE x.app_id = p_app AND x.id = p_tasks[n] AND x.state = 2 AND x.owner = p_leases[n]
			RETURNING x.state, x.waiter, x.special INTO state, waiter, special;
		ELSE
			SELECT f.state, f.waiter, f.special INTO state, waiter, special
			  FROM shoal.finish_tasks(p_leases[n], ARRAY[p_app], ARRAY[p_tasks[n]], ARRAY[t.attempt],
				ARRAY[t.claim], ARRAY[ends], ARRAY[p_delays[n]], ARRAY[NULL::text],
				ARRAY[p_codes[n]], ARRAY[p_messages[n]], NULL) f;
		END IF;
		IF FOUND THEN
			outcome := 0;
			DELETE FROM shoal.lease l WHERE l.id = p_leases[n];
			DELETE FROM shoal.claim k WHERE k.owner = p_leases[n];
			IF t.cancel_at IS NOT NULL THEN
				DELETE FROM shoal.cancel_request r WHERE r.owner = p_leases[n];
			END IF;
			IF watched AND ends = 3 THEN
				PERFORM shoal.note_ended(ARRAY[p_app], ARRAY[p_tasks[n]]);
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END $$;

-- What a failure needs to know of its task before its rest can be computed: failures before it, the task's own rule, or
-- its type's.
CREATE FUNCTION shoal.lease_rules(p_app int, p_tasks uuid[], p_leases uuid[])
RETURNS TABLE (n int, failures int, backoff text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT u.n::int, r.failures::int, coalesce(r.backoff,
		(SELECT y.backoff FROM shoal.node_type y WHERE y.type_id = r.type_id AND y.handler IN (3, 4)),
		(SELECT a.backoff FROM shoal.app_type a WHERE a.app_id = p_app AND a.type_id = r.type_id))
	  FROM unnest(p_tasks, p_leases) WITH ORDINALITY AS u (id, lease, n), LATERAL (
		SELECT t.failures, t.backoff, t.type_id FROM shoal.task t
		 WHERE t.app_id = p_app AND t.id = u.id AND t.state = 2 AND t.owner = u.lease OFFSET 0) r;
END $$;

-- Leases whose answer never reached anybody: given back at no cost.
CREATE FUNCTION shoal.undo_leases(p_leases uuid[])
RETURNS TABLE (app_id int, queue_id int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	l record;
BEGIN
	FOR l IN SELECT x.app_id, x.task_id, x.id, x.queue_id FROM unnest(p_leases) AS u (id), LATERAL (
			SELECT * FROM shoal.lease k WHERE k.id = u.id OFFSET 0) x ORDER BY x.task_id LOOP
		PERFORM e.n FROM shoal.end_leases(l.app_id, ARRAY[l.task_id], ARRAY[l.id], '{1}', '{0}', '{NULL}',
			'{NULL}', '{NULL}', NULL) e;
		app_id := l.app_id;
		queue_id := l.queue_id;
		RETURN NEXT;
	END LOOP;
END $$;

-- Leases whose time is over, at most p_most.  A lost lease uses a number and no budget, as any lost attempt; each fifth
-- of a task fails it.  One that came to the end of the task's timeout is a failed attempt.  What somebody wants
-- cancelled is cancelled.  Rows: what became of each task, then one without an id that says in how many ms the next one
-- is over (NULL: there is none).
CREATE FUNCTION shoal.expire_leases(p_most int)
RETURNS TABLE (app_id int, id uuid, queue_id int, state smallint, waiter uuid, special int, next_ms bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	l record;
	t record;
	over boolean;
BEGIN
	-- now() and not clock_timestamp(), which is volatile: no index can be searched for it
	FOR l IN SELECT x.* FROM (
			SELECT k.* FROM shoal.lease k WHERE k.expires_at <= now() ORDER BY k.expires_at LIMIT p_most) x
		  ORDER BY x.task_id LOOP
		-- extended meanwhile, or ended: it is not ours to take
		DELETE FROM shoal.lease k WHERE k.id = l.id AND k.expires_at <= now();
		CONTINUE WHEN NOT FOUND;
		DELETE FROM shoal.claim c WHERE c.owner = l.id;
		over := coalesce(l.expires_at >= l.ends_at, false);
		UPDATE shoal.task x
		   SET state = d.state,
		       owner = NULL,            -- whoever held it has not ended it
		       order_at = CASE WHEN d.state = 1 THEN coalesce(x.order_at, x.run_at) END,
		       finished_at = CASE WHEN d.state <> 1 THEN clock_timestamp() END,
		       expire_at = CASE WHEN d.state = 1 THEN x.deadline END,
		       failures = x.failures + CASE WHEN over OR d.state = 4 THEN 1 ELSE 0 END,
		       crashes = CASE WHEN over THEN x.crashes ELSE coalesce(x.crashes, 0) + 1 END,
		       error_code = CASE WHEN d.state = 5 THEN 'cancelled' WHEN over THEN 'timeout'
		                         ELSE 'lease_expired' END,
		       error_message = CASE
				WHEN d.state = 5 THEN 'its lease ran out after it was to be cancelled'
				WHEN over THEN 'it was not done within its timeout'
				ELSE 'its lease ran out' || coalesce(', held by ' || l.worker, '') END
		  FROM (SELECT CASE
				WHEN y.cancel_at IS NOT NULL THEN 5
				WHEN over AND y.failures + 1 >= y.max_attempts THEN 4
				WHEN NOT over AND (coalesce(y.crashes, 0) + 1) % 5 = 0 THEN 4
				ELSE 1 END AS state
			  FROM shoal.task y WHERE y.app_id = l.app_id AND y.id = l.task_id OFFSET 0) d
		 WHERE x.app_id = l.app_id AND x.id = l.task_id AND x.state = 2 AND x.owner = l.id
		RETURNING x.state, x.waiter, x.special, x.attempt, x.started_at, x.error_code, x.error_message INTO t;
		CONTINUE WHEN NOT FOUND;
		INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, owner, code, message, detail)
		VALUES (l.app_id, l.task_id, CASE t.state WHEN 1 THEN 6 WHEN 4 THEN 5 ELSE 8 END, t.state, t.attempt, l.id,
			t.error_code, t.error_message, '{"duration_ms":' || greatest(0,
				(date_part('epoch', clock_timestamp() - t.started_at) * 1000)::bigint) || '}');
		DELETE FROM shoal.cancel_request r WHERE r.owner = l.id;
		app_id := l.app_id;
		id := l.task_id;
		queue_id := l.queue_id;
		state := t.state;
		waiter := t.waiter;
		special := t.special;
		RETURN NEXT;
	END LOOP;
	app_id := NULL;
	id := NULL;
	queue_id := NULL;
	state := NULL;
	waiter := NULL;
	special := NULL;
	next_ms := (SELECT ceil(date_part('epoch', k.expires_at - clock_timestamp()) * 1000)::bigint
	              FROM shoal.lease k ORDER BY k.expires_at LIMIT 1);
	RETURN NEXT;
END $$;

-- Every type that is known by more than its name, of the operator's (application 0) and of applications, with the number
-- that changes with them.  One row without a type if there are none.  In a function, since without one each worker has
-- it compiled at its start (jit): the planner believes the worst of the subquery and of tables that nobody has analysed.
CREATE FUNCTION shoal.types_known(p_most int)
RETURNS TABLE (rev bigint, app_id int, type_id int, handler smallint, max_attempts int, name text)
LANGUAGE sql STABLE AS $$
	SELECT r.rev, k.app_id, k.type_id, k.handler, k.max_attempts,
	       (SELECT y.name FROM shoal.task_type y WHERE y.id = k.type_id)
	  FROM shoal.registry r LEFT JOIN (
		SELECT 0 AS app_id, n.type_id, n.handler, n.max_attempts FROM shoal.node_type n
		UNION ALL
		SELECT a.app_id, a.type_id, a.handler, a.max_attempts FROM shoal.app_type a
		 ORDER BY app_id, type_id LIMIT p_most) k ON true
	 ORDER BY k.app_id, k.type_id
$$;

-- what why_task does not know of a task: is it for outside workers, who holds it, until when; how many of its
-- application's queue are leased now (up to 1,000), and when the last lease there began
CREATE FUNCTION shoal.why_lease(p_app int, p_id uuid)
RETURNS TABLE (pull boolean, worker text, leased_at timestamptz, expires_at timestamptz, others int,
	latest_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	t record;
BEGIN
	SELECT x.type_id, x.owner, x.state, x.queue_id INTO t FROM shoal.task x WHERE x.app_id = p_app AND x.id = p_id;
	pull := t.type_id = ANY (shoal.pull_types(p_app, '{}'));
	IF pull AND t.state = 1 THEN
		SELECT count(*), max(r.leased_at) INTO others, latest_at FROM (
			SELECT l.leased_at FROM shoal.lease l WHERE l.queue_id = t.queue_id LIMIT 1000) r;
	END IF;
	SELECT l.worker, l.leased_at, l.expires_at INTO worker, leased_at, expires_at
	  FROM shoal.lease l WHERE l.id = t.owner AND t.state = 2;
	RETURN NEXT;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
