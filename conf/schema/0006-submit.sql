-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0006-submit: tasks with keys, parents, groups and retry rules of their own; submitting from SQL.
--
-- Ordinary tasks go through the INSERT in src/store/sql.c.  All others are made by shoal.make_task, one by
-- one, on a connection of their own, so that nothing that one caller's keys make wait or fail
-- concerns another's.

-- the latest node's settings, for tasks that are made by SQL
ALTER TABLE shoal.cluster
	ADD COLUMN aging_ms     int NOT NULL DEFAULT 30000,
	ADD COLUMN max_attempts int NOT NULL DEFAULT 25;

CREATE TABLE shoal.idempotency (
	app_id int NOT NULL,
	key    text NOT NULL,
	print  text NOT NULL,           -- SHA-256 of path and body, in hexadecimal digits
	ids    uuid[] NOT NULL,
	states smallint[] NOT NULL,     -- as they were answered
	run_at timestamptz[] NOT NULL,
	at     timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (app_id, key)
);
CREATE INDEX idempotency_at ON shoal.idempotency (at);

CREATE TABLE shoal.unique_key (
	app_id  int NOT NULL,
	key     text NOT NULL,
	task_id uuid NOT NULL,
	scope   smallint NOT NULL,      -- 0 until it starts, 1 until it has ended, 2 for a time
	until   timestamptz,            -- scope 2
	PRIMARY KEY (app_id, key)
);

CREATE TABLE shoal.task_group (
	app_id        int NOT NULL,
	id            uuid NOT NULL,
	open          boolean NOT NULL,     -- tasks may still be added
	total         int NOT NULL,
	succeeded     int NOT NULL DEFAULT 0,
	failed        int NOT NULL DEFAULT 0,
	cancelled     int NOT NULL DEFAULT 0,
	expired       int NOT NULL DEFAULT 0,
	on_completion text,                 -- specifications for make_task
	on_success    text,
	on_failure    text,
	completion_id uuid,                 -- the tasks that were made of them
	success_id    uuid,
	failure_id    uuid,
	metadata      text,
	error         text,                 -- why one of those could not be made
	created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
	ended_at      timestamptz,
	PRIMARY KEY (app_id, id)
) WITH (fillfactor = 50);
CREATE INDEX task_group_ended ON shoal.task_group (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE shoal.dependency (
	app_id int NOT NULL,
	parent uuid NOT NULL,
	child  uuid NOT NULL,
	run    boolean NOT NULL,            -- however the parent ends; otherwise only if it succeeds
	PRIMARY KEY (app_id, parent, child)
);
CREATE INDEX dependency_child ON shoal.dependency (app_id, child);

-- Tasks of one concurrency_key stand in a line of their own; so many at a time are admitted to their lane.
CREATE TABLE shoal.key_limit (
	app_id  int NOT NULL,
	key     text NOT NULL,
	most    int NOT NULL,
	used_at timestamptz NOT NULL DEFAULT now(),  -- to the hour
	PRIMARY KEY (app_id, key)
);
CREATE INDEX key_limit_used ON shoal.key_limit (used_at);
CREATE TABLE shoal.key_line (
	app_id   int NOT NULL,
	key      text NOT NULL,
	task_id  uuid NOT NULL,
	order_at timestamptz NOT NULL,
	admitted boolean NOT NULL DEFAULT false,
	PRIMARY KEY (app_id, key, task_id)
) WITH (autovacuum_vacuum_cost_delay = 0);
CREATE INDEX key_line_order ON shoal.key_line (app_id, key, admitted, order_at);

-- ---------------------------------------------------------------------- small parts

-- UUIDv7 (RFC 9562): 48 bits of milliseconds, 74 random ones
CREATE FUNCTION shoal.uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
	SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
		|| '7' || substr(m, 1, 3) || substr('89ab', 1 + ascii(substr(m, 4, 1)) % 4, 1)
		|| substr(m, 5, 15))::uuid
	  FROM md5(random()::text || random()::text || clock_timestamp()::text || pg_backend_pid()::text) m
$$;

-- Whoever decides by a key holds its lock to the end of the transaction; of several they are taken in order.
CREATE FUNCTION shoal.lock_keys(p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	h int;
BEGIN
	FOR h IN SELECT DISTINCT hashtext(k) AS n FROM unnest(p_keys) k WHERE k IS NOT NULL ORDER BY n LOOP
		PERFORM pg_advisory_xact_lock(7291, h);
	END LOOP;
END $$;

CREATE FUNCTION shoal.lock_name(p_kind text, p_app int, p_key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT p_kind || p_app::text || ':' || p_key
$$;

-- how many of a key may be admitted now are, in order; the caller holds the key's lock
CREATE FUNCTION shoal.admit(p_app int, p_key text) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	room int;
	next record;
BEGIN
	SELECT l.most - (SELECT count(*) FROM shoal.key_line k
	                  WHERE k.app_id = p_app AND k.key = p_key AND k.admitted) INTO room
	  FROM shoal.key_limit l WHERE l.app_id = p_app AND l.key = p_key;
	WHILE room > 0 LOOP
		SELECT k.task_id, k.order_at INTO next FROM shoal.key_line k
		 WHERE k.app_id = p_app AND k.key = p_key AND NOT k.admitted
		 ORDER BY k.order_at LIMIT 1;
		EXIT WHEN NOT FOUND;
		UPDATE shoal.task t SET order_at = next.order_at
		 WHERE t.app_id = p_app AND t.id = next.task_id AND t.state = 1 AND t.order_at IS NULL;
		IF FOUND THEN
			UPDATE shoal.key_line k SET admitted = true
			 WHERE k.app_id = p_app AND k.key = p_key AND k.task_id = next.task_id;
			room := room - 1;
		ELSE
			DELETE FROM shoal.key_line k
			 WHERE k.app_id = p_app AND k.key = p_key AND k.task_id = next.task_id;
		END IF;
	END LOOP;
END $$;

-- One place sees every change of a special task's state, whoever made it: what ended and concerns others is
-- noted for the leader (0005).  A keyed task that comes due goes to its key's line, out of its lane, and leaves it when it rests or
-- ends; who is admitted then is settled by the leader.  A task that is taken up again by hand is not counted as
-- ended any more (state + 10).
CREATE FUNCTION shoal.special_moved() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	-- 16: it was claimed under a limit, and holds a part of it (0008)
	IF OLD.special & 16 <> 0 AND OLD.state = 2 AND NEW.state <> 2 THEN
		DELETE FROM shoal.holding h WHERE h.app_id = OLD.app_id AND h.task_id = OLD.id;
	END IF;
	IF NEW.state = 1 AND OLD.state <> 2 AND NEW.special & 1 <> 0 AND NEW.order_at IS NOT NULL THEN
		INSERT INTO shoal.key_line (app_id, key, task_id, order_at)
		SELECT NEW.app_id, NEW.concurrency_key, NEW.id, NEW.order_at
		 WHERE NOT EXISTS (SELECT 1 FROM shoal.key_line k WHERE k.app_id = NEW.app_id
		                      AND k.key = NEW.concurrency_key AND k.task_id = NEW.id);
		UPDATE shoal.task t SET order_at = NULL WHERE t.app_id = NEW.app_id AND t.id = NEW.id;
	END IF;
	IF NEW.special & 1 <> 0 AND (NEW.state = 0 OR NEW.state >= 3) THEN
		DELETE FROM shoal.key_line k
		 WHERE k.app_id = NEW.app_id AND k.key = NEW.concurrency_key AND k.task_id = NEW.id;
	END IF;
	IF (NEW.state >= 3 AND OLD.state < 3 AND NEW.special & 7 <> 0)
	   OR (NEW.state < 2 AND OLD.state <> NEW.state AND NEW.special & 1 <> 0) THEN
		INSERT INTO shoal.ended (app_id, task_id, state, special, group_id, concurrency_key)
		VALUES (NEW.app_id, NEW.id, NEW.state, NEW.special, NEW.group_id, NEW.concurrency_key);
	END IF;
	IF NEW.state < 3 AND OLD.state >= 3 AND NEW.special & 2 <> 0 THEN
		INSERT INTO shoal.ended (app_id, task_id, state, special, group_id)
		VALUES (NEW.app_id, NEW.id, OLD.state + 10, 2, NEW.group_id);
	END IF;
	RETURN NULL;
END $$;

CREATE TRIGGER special_moved AFTER UPDATE ON shoal.task FOR EACH ROW
	WHEN (NEW.special IS NOT NULL AND OLD.state <> NEW.state)
	EXECUTE PROCEDURE shoal.special_moved();

-- ---------------------------------------------------------------------- making a task

-- What a task asks for comes as one JSON object, checked by its caller (src/api/task_request.c, shoal.submit):
--
--     id           made here if it is missing
--     type, queue  names; or type_id, queue_id
--     payload, metadata                    JSON
--     priority, default_priority, max_attempts, timeout_ms     default: if neither it nor its queue says one
--     run_at_us, delay_ms                  microseconds since 1970; milliseconds from now
--     deadline_us, retry_until_us, backoff
--     unique_key, unique_scope, unique_ms, on_conflict    0 existing, 1 reject, 2 replace, 3 postpone
--     concurrency_key, concurrency_limit
--     after, run_anyway, group_id, waiter
--
-- outcome: 0 made; a task with the same unique_key was 1 found, 2 given this payload, 3 postponed as well.
--
-- Refusals, by SQLSTATE: SH001 unique_key is taken, SH002 there is no such parent, 54000 too many names.
CREATE FUNCTION shoal.make_task(p_app int, p_spec json, p_aging_ms int)
RETURNS TABLE (id uuid, state smallint, run_at timestamptz, outcome smallint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	x record;
	held record;
	mark int := 0;
	prio smallint;
	parent uuid;
	open_parents uuid[] := '{}';
	ended smallint;
	stopped_by uuid;
	at timestamptz;
	due timestamptz;
	line timestamptz;
BEGIN
	SELECT * INTO x FROM json_to_record(p_spec) AS r (id uuid, type text, queue text, type_id int,
		queue_id int, payload json, metadata json, priority smallint,
		default_priority smallint, max_attempts smallint, timeout_ms int, run_at_us bigint, delay_ms bigint, deadline_us bigint, retry_until_us bigint,
		backoff json, unique_key text, unique_scope smallint, unique_ms bigint, on_conflict smallint,
		concurrency_key text, concurrency_limit int, after json, run_anyway boolean, group_id uuid,
		waiter uuid, trace text);
	IF x.type_id IS NULL OR x.queue_id IS NULL THEN
		SELECT max(n.id) FILTER (WHERE n.kind = 0), max(n.id) FILTER (WHERE n.kind = 1)
		  INTO x.queue_id, x.type_id
		  FROM shoal.names_of(p_app, ARRAY[coalesce(x.queue, 'default')], ARRAY[x.type], 1000) n;
	END IF;
	id := coalesce(x.id, shoal.uuid_v7());
	prio := coalesce(x.priority, (SELECT q.priority FROM shoal.queue q WHERE q.id = x.queue_id),
		x.default_priority, 5);
	at := CASE
		WHEN x.run_at_us IS NOT NULL
			THEN timestamptz 'epoch' + x.run_at_us * interval '1 microsecond'
		WHEN x.delay_ms IS NOT NULL THEN now() + x.delay_ms * interval '1 millisecond'
		ELSE now() END;

	IF x.unique_key IS NOT NULL THEN
		PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('u', p_app, x.unique_key)]);
		SELECT t.id, t.state, t.run_at, t.special INTO held
		  FROM shoal.unique_key k, LATERAL (
			SELECT * FROM shoal.task t WHERE t.app_id = k.app_id AND t.id = k.task_id OFFSET 0) t
		 WHERE k.app_id = p_app AND k.key = x.unique_key
		   AND CASE k.scope WHEN 0 THEN t.state IN (0, 1) AND t.attempt = 0
		                    WHEN 1 THEN t.state < 3
		                    ELSE k.until > now() END;
		IF FOUND THEN
			IF x.on_conflict = 1 THEN
				RAISE EXCEPTION 'unique_key is taken by task %', held.id USING ERRCODE = 'SH001';
			END IF;
			outcome := 1;
			IF x.on_conflict IN (2, 3) THEN
				-- what has started keeps what it was started with; a task that waits for
				-- parents, or in a key's line, keeps its place
				UPDATE shoal.task t
				   SET payload = x.payload::text, metadata = x.metadata::text, trace = x.trace,
				       state = CASE WHEN v.later THEN 0 ELSE t.state END,
				       run_at = CASE WHEN v.later THEN at ELSE t.run_at END,
				       due_at = CASE WHEN v.later THEN at ELSE t.due_at END,
				       order_at = CASE WHEN v.later THEN NULL ELSE t.order_at END
				  FROM (SELECT x.on_conflict = 3 AND at > now() AS later) v
				 WHERE t.app_id = p_app AND t.id = held.id AND t.state IN (0, 1)
				   AND t.waits_for IS NULL
				RETURNING t.state, t.run_at, CASE WHEN v.later THEN 3 ELSE 2 END
				  INTO held.state, held.run_at, outcome;
				IF NOT FOUND THEN
					outcome := 1;
				ELSE
					PERFORM shoal.add_event(p_app, held.id, CASE outcome WHEN 3 THEN 12
						ELSE 11 END, held.state, NULL, NULL, NULL, NULL, NULL);
				END IF;
			END IF;
			id := held.id;
			state := held.state;
			run_at := held.run_at;
			RETURN NEXT;
			RETURN;
		END IF;
		DELETE FROM shoal.unique_key k WHERE k.app_id = p_app AND k.key = x.unique_key;
		INSERT INTO shoal.unique_key (app_id, key, task_id, scope, until)
		VALUES (p_app, x.unique_key, id, coalesce(x.unique_scope, 1),
			now() + x.unique_ms * interval '1 millisecond');
	END IF;

	-- A parent's row is locked, so that its end is either seen here or sees this child.
	IF x.after IS NOT NULL THEN
		FOR parent IN SELECT DISTINCT p.value::uuid AS n
		                FROM json_array_elements_text(x.after) p ORDER BY n LOOP
			SELECT t.state INTO ended FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = parent FOR UPDATE;
			IF NOT FOUND THEN
				RAISE EXCEPTION 'there is no task % to run after', parent
					USING ERRCODE = 'SH002';
			ELSIF ended < 3 THEN
				UPDATE shoal.task t SET special = coalesce(t.special, 0) | 4
				 WHERE t.app_id = p_app AND t.id = parent AND coalesce(t.special, 0) & 4 = 0;
				open_parents := open_parents || parent;
			ELSIF ended <> 3 AND NOT coalesce(x.run_anyway, false) THEN
				stopped_by := parent;
			END IF;
		END LOOP;
	END IF;

	IF x.concurrency_key IS NOT NULL THEN
		mark := mark | 1;
	END IF;
	IF x.group_id IS NOT NULL THEN
		mark := mark | 2;
	END IF;
	IF x.backoff IS NOT NULL OR x.deadline_us IS NOT NULL OR x.retry_until_us IS NOT NULL THEN
		mark := mark | 8;
	END IF;
	state := CASE WHEN stopped_by IS NOT NULL THEN 5
	              WHEN open_parents <> '{}' OR at > now() THEN 0 ELSE 1 END;
	due := CASE WHEN state = 0 AND open_parents = '{}' THEN at END;
	line := CASE WHEN state = 1 THEN
		at + prio * p_aging_ms * interval '1 millisecond' END;
	INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts, timeout_ms,
		run_at, order_at, due_at, finished_at, waiter, payload, metadata, error_code,
		error_message, special, backoff, retry_until, deadline, expire_at, waits_for,
		group_id, concurrency_key, trace)
	VALUES (id, p_app, x.queue_id, x.type_id, state, prio,
		coalesce(x.max_attempts, shoal.type_attempts(p_app, x.type_id)), x.timeout_ms,
		at, CASE WHEN mark & 1 = 0 THEN line END, due, CASE WHEN state = 5 THEN clock_timestamp() END,
		x.waiter, x.payload::text, x.metadata::text,
		CASE WHEN state = 5 THEN 'parent_failed' END,
		CASE WHEN state = 5 THEN 'task ' || stopped_by || ', which it was to run after, did not succeed' END,
		nullif(mark, 0), x.backoff::text,
		timestamptz 'epoch' + x.retry_until_us * interval '1 microsecond',
		timestamptz 'epoch' + x.deadline_us * interval '1 microsecond',
		CASE WHEN state < 2 THEN timestamptz 'epoch' + x.deadline_us * interval '1 microsecond' END,
		nullif(CASE WHEN state = 0 THEN coalesce(array_length(open_parents, 1), 0) ELSE 0 END, 0),
		x.group_id, x.concurrency_key, x.trace);
	IF state = 0 THEN
		INSERT INTO shoal.dependency (app_id, parent, child, run)
		SELECT p_app, o, id, coalesce(x.run_anyway, false) FROM unnest(open_parents) o;
	ELSIF state = 5 THEN
		PERFORM shoal.add_event(p_app, id, 8, 5, NULL, NULL, 'parent_failed', stopped_by::text, NULL);
		IF mark & 2 <> 0 THEN
			INSERT INTO shoal.ended (app_id, task_id, state, special, group_id)
			VALUES (p_app, id, 5, 2, x.group_id);
		END IF;
	END IF;
	IF mark & 1 <> 0 THEN
		PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('k', p_app, x.concurrency_key)]);
		UPDATE shoal.key_limit l SET most = coalesce(x.concurrency_limit, l.most), used_at = now()
		 WHERE l.app_id = p_app AND l.key = x.concurrency_key
		   AND (l.most <> coalesce(x.concurrency_limit, l.most)
		     OR l.used_at < now() - interval '1 hour');
		IF NOT FOUND THEN
			INSERT INTO shoal.key_limit (app_id, key, most)
			SELECT p_app, x.concurrency_key, coalesce(x.concurrency_limit, 1)
			 WHERE NOT EXISTS (SELECT 1 FROM shoal.key_limit l
			                    WHERE l.app_id = p_app AND l.key = x.concurrency_key);
		END IF;
		IF state = 1 THEN
			INSERT INTO shoal.key_line (app_id, key, task_id, order_at)
			VALUES (p_app, x.concurrency_key, id, line);
		END IF;
		PERFORM shoal.admit(p_app, x.concurrency_key);
	END IF;
	run_at := at;
	outcome := 0;
	RETURN NEXT;
END $$;

-- ---------------------------------------------------------------------- groups and children

-- The task that follows a group; all zeros if it cannot be made, and then the group says why: nobody waits for
-- the answer, and the leader's pass must go on.
CREATE FUNCTION shoal.make_callback(p_app int, p_group uuid, p_spec text, p_aging_ms int) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
	made uuid;
BEGIN
	SELECT m.id INTO made FROM shoal.make_task(p_app, p_spec::json, p_aging_ms) m;
	RETURN made;
EXCEPTION WHEN OTHERS THEN
	IF substr(SQLSTATE, 1, 2) IN ('40', '53', '57') THEN
		RAISE;
	END IF;
	UPDATE shoal.task_group g SET error = SQLERRM WHERE g.app_id = p_app AND g.id = p_group;
	RETURN '00000000-0000-0000-0000-000000000000';
END $$;

-- A group's callbacks, when their time has come; p_group is locked by the caller.
CREATE FUNCTION shoal.group_moved(p_group shoal.task_group, p_aging_ms int) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	bad int := p_group.failed + p_group.cancelled + p_group.expired;
	done boolean := NOT p_group.open AND p_group.succeeded + bad >= p_group.total;
	made uuid;
BEGIN
	IF bad > 0 AND p_group.on_failure IS NOT NULL AND p_group.failure_id IS NULL THEN
		made := shoal.make_callback(p_group.app_id, p_group.id, p_group.on_failure, p_aging_ms);
		UPDATE shoal.task_group g SET failure_id = made
		 WHERE g.app_id = p_group.app_id AND g.id = p_group.id;
	END IF;
	IF done AND p_group.ended_at IS NULL THEN
		UPDATE shoal.task_group g SET ended_at = clock_timestamp()
		 WHERE g.app_id = p_group.app_id AND g.id = p_group.id;
	END IF;
	IF done AND bad = 0 AND p_group.on_success IS NOT NULL AND p_group.success_id IS NULL THEN
		made := shoal.make_callback(p_group.app_id, p_group.id, p_group.on_success, p_aging_ms);
		UPDATE shoal.task_group g SET success_id = made
		 WHERE g.app_id = p_group.app_id AND g.id = p_group.id;
	END IF;
	IF done AND p_group.on_completion IS NOT NULL AND p_group.completion_id IS NULL THEN
		made := shoal.make_callback(p_group.app_id, p_group.id, p_group.on_completion, p_aging_ms);
		UPDATE shoal.task_group g SET completion_id = made
		 WHERE g.app_id = p_group.app_id AND g.id = p_group.id;
	END IF;
END $$;

-- One child has one parent less to wait for; true if it may go on.
CREATE FUNCTION shoal.release_child(p_app int, p_child uuid, p_aging_ms int) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
	UPDATE shoal.task t SET waits_for = t.waits_for - 1
	 WHERE t.app_id = p_app AND t.id = p_child AND t.state = 0 AND t.waits_for > 1;
	IF NOT FOUND THEN
		UPDATE shoal.task t
		   SET waits_for = NULL,
		       state = CASE WHEN t.run_at > now() THEN 0 ELSE 1 END,
		       due_at = CASE WHEN t.run_at > now() THEN t.run_at END,
		       run_at = greatest(t.run_at, now()),
		       order_at = CASE WHEN t.run_at <= now()
			    THEN now() + t.priority * p_aging_ms * interval '1 millisecond' END
		 WHERE t.app_id = p_app AND t.id = p_child AND t.state = 0 AND t.waits_for = 1;
	END IF;
END $$;

-- What it means for others that tasks have ended: by the leader, over committed rows.  In the order of the locks
-- that submit_each takes: keys, groups, tasks.
CREATE FUNCTION shoal.settle(p_most int) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
	children CONSTANT int := 1000;
	aging int := (SELECT c.aging_ms FROM shoal.cluster c);
	seqs bigint[] := ARRAY(SELECT e.seq FROM shoal.ended e ORDER BY e.seq LIMIT p_most);
	done shoal.ended[];
	g record;
	e shoal.ended;
	c record;
	n int;
BEGIN
	IF seqs = '{}' THEN
		RETURN;
	END IF;
	WITH gone AS (DELETE FROM shoal.ended d WHERE d.seq = ANY (seqs) RETURNING d.*)
	SELECT array_agg(x::shoal.ended) INTO done
	  FROM (SELECT k.* FROM gone k ORDER BY k.seq) x;
	IF done IS NULL THEN
		RETURN;
	END IF;
	PERFORM shoal.lock_keys(ARRAY(
		SELECT DISTINCT shoal.lock_name('k', d.app_id, d.concurrency_key) FROM unnest(done) d
		 WHERE d.concurrency_key IS NOT NULL));
	FOR c IN SELECT DISTINCT d.app_id, d.concurrency_key AS key FROM unnest(done) d
	          WHERE d.concurrency_key IS NOT NULL LOOP
		PERFORM shoal.admit(c.app_id, c.key);
	END LOOP;
	FOR g IN SELECT d.app_id, d.group_id,
	                sum(CASE d.state WHEN 3 THEN 1 WHEN 13 THEN -1 ELSE 0 END)::int AS succeeded,
	                sum(CASE d.state WHEN 4 THEN 1 WHEN 14 THEN -1 ELSE 0 END)::int AS failed,
	                sum(CASE d.state WHEN 5 THEN 1 WHEN 15 THEN -1 ELSE 0 END)::int AS cancelled,
	                sum(CASE d.state WHEN 6 THEN 1 WHEN 16 THEN -1 ELSE 0 END)::int AS expired
	           FROM unnest(done) d WHERE d.group_id IS NOT NULL AND d.state >= 3
	          GROUP BY d.app_id, d.group_id ORDER BY d.app_id, d.group_id LOOP
		FOR c IN UPDATE shoal.task_group t
			    SET succeeded = t.succeeded + g.succeeded, failed = t.failed + g.failed,
			        cancelled = t.cancelled + g.cancelled, expired = t.expired + g.expired
			  WHERE t.app_id = g.app_id AND t.id = g.group_id RETURNING t AS moved LOOP
			PERFORM shoal.group_moved(c.moved, aging);
		END LOOP;
	END LOOP;
	FOREACH e IN ARRAY done LOOP
		CONTINUE WHEN e.special & 4 = 0 OR e.state NOT BETWEEN 3 AND 6;
		n := 0;
		FOR c IN DELETE FROM shoal.dependency d
			  WHERE d.app_id = e.app_id AND d.parent = e.task_id AND d.child = ANY (ARRAY(
				SELECT o.child FROM shoal.dependency o
				 WHERE o.app_id = e.app_id AND o.parent = e.task_id
				 ORDER BY o.child LIMIT children))
			 RETURNING d.child, d.run LOOP
			n := n + 1;
			IF e.state = 3 OR c.run THEN
				PERFORM shoal.release_child(e.app_id, c.child, aging);
				CONTINUE;
			END IF;
			UPDATE shoal.task t
			   SET state = 5, finished_at = clock_timestamp(), due_at = NULL, order_at = NULL,
			       expire_at = NULL, waits_for = NULL, error_code = 'parent_failed',
			       error_message = 'task ' || e.task_id
					|| ', which it was to run after, did not succeed'
			 WHERE t.app_id = e.app_id AND t.id = c.child AND t.state = 0 AND t.waits_for > 0;
			IF FOUND THEN
				PERFORM shoal.add_event(e.app_id, c.child, 8, 5, NULL, NULL, 'parent_failed',
					e.task_id::text, NULL);
			END IF;
		END LOOP;
		-- the rest with the next pass
		IF n = children THEN
			INSERT INTO shoal.ended (app_id, task_id, state, special)
			VALUES (e.app_id, e.task_id, e.state, 4);
		END IF;
	END LOOP;
END $$;

-- ---------------------------------------------------------------------- requests

-- Many requests, each by itself: what one is refused for, or waits for, is its own.  Request r has the p_counts[r]
-- specifications that follow those of the requests before it.  p_groups[r]: NULL, or {"id", "add", "open",
-- "metadata", "on_completion", "on_success", "on_failure"} of the group that its tasks belong to; add: one
-- that exists.
--
-- A row for each task, and one for a request without any; code tells why a request was refused, and nothing of it was done then:
-- SH001 and SH002 as above, SH003 its Idempotency-Key belongs to another request, SH004 the group is closed
-- or not there.  replayed: it was done before under its key, and these are the tasks of that time.
--
-- p_bounded: queues that have a max_length, as their callers know: each task that is made in one of them needs a place.
-- SH005: there is none.
CREATE FUNCTION shoal.submit_each(p_apps int[], p_keys text[], p_prints text[], p_groups text[],
	p_counts int[], p_specs text[], p_aging_ms int, p_bounded int[])
RETURNS TABLE (request int, id uuid, state smallint, run_at timestamptz, outcome smallint, replayed boolean,
	code text, message text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET lock_timeout = '10s' AS $$
#variable_conflict use_column
DECLARE
	at int := 0;
	found_key record;
	grp record;
	moved shoal.task_group;
	ids uuid[];
	states smallint[];
	times timestamptz[];
	outcomes smallint[];
	m record;
	queues int[];
	rooms int[];
	rooms_before int[];
	place int;
BEGIN
	-- all locks at once, in one order for everybody
	PERFORM shoal.lock_keys(ARRAY(
		SELECT shoal.lock_name('i', a, k) FROM unnest(p_apps, p_keys) AS r (a, k) WHERE k IS NOT NULL
		UNION ALL
		SELECT shoal.lock_name('q', 0, b::text) FROM unnest(p_bounded) b
		UNION ALL
		SELECT l.name FROM (
			SELECT shoal.lock_name('u', p_apps[r.n], s.spec->>'unique_key') AS name
			  FROM (SELECT n, sum(p_counts[n]) OVER (ORDER BY n) AS last
			          FROM generate_series(1, array_length(p_counts, 1)) n) r
			  JOIN (SELECT o.spec::json AS spec, o.n FROM unnest(p_specs) WITH ORDINALITY AS o (spec, n)) s
			    ON s.n > r.last - p_counts[r.n] AND s.n <= r.last
			UNION ALL
			SELECT shoal.lock_name('k', p_apps[r.n], s.spec->>'concurrency_key')
			  FROM (SELECT n, sum(p_counts[n]) OVER (ORDER BY n) AS last
			          FROM generate_series(1, array_length(p_counts, 1)) n) r
			  JOIN (SELECT o.spec::json AS spec, o.n FROM unnest(p_specs) WITH ORDINALITY AS o (spec, n)) s
			    ON s.n > r.last - p_counts[r.n] AND s.n <= r.last) l
		 WHERE l.name IS NOT NULL));
	IF p_bounded <> '{}' THEN
		SELECT array_agg(q.id), array_agg(q.max_length) INTO queues, rooms
		  FROM shoal.queue q WHERE q.id = ANY (p_bounded) AND q.max_length IS NOT NULL;
		SELECT array_agg(u.id), array_agg(u.most - l.waiting::int) INTO queues, rooms
		  FROM unnest(queues, rooms) AS u (id, most)
		  JOIN shoal.queue_lengths(queues, rooms) l ON l.queue_id = u.id;
	END IF;
	FOR r IN 1 .. coalesce(array_length(p_apps, 1), 0) LOOP
		ids := '{}';
		states := '{}';
		times := '{}';
		outcomes := '{}';
		replayed := false;
		code := NULL;
		message := NULL;
		found_key := NULL;
		rooms_before := rooms;
		IF p_keys[r] IS NOT NULL THEN
			SELECT i.* INTO found_key FROM shoal.idempotency i
			 WHERE i.app_id = p_apps[r] AND i.key = p_keys[r]
			   AND i.at > now() - interval '24 hours';
			IF FOUND THEN
				IF found_key.print = p_prints[r] THEN
					ids := found_key.ids;
					states := found_key.states;
					times := found_key.run_at;
					replayed := true;
				ELSE
					code := 'SH003';
					message := 'its Idempotency-Key belongs to another request';
				END IF;
			END IF;
		END IF;
		IF NOT replayed AND code IS NULL THEN
			BEGIN
				IF p_groups[r] IS NOT NULL THEN
					SELECT * INTO grp FROM json_to_record(p_groups[r]::json) AS x (id uuid,
						add boolean, open boolean, metadata json, on_completion json,
						on_success json, on_failure json);
					IF grp.add THEN
						UPDATE shoal.task_group g
						   SET total = g.total + p_counts[r],
						       open = coalesce(grp.open, g.open)
						 WHERE g.app_id = p_apps[r] AND g.id = grp.id AND g.open
						RETURNING g.* INTO moved;
						IF NOT FOUND THEN
							RAISE EXCEPTION 'there is no such group, or it is closed'
								USING ERRCODE = 'SH004';
						END IF;
					ELSE
						INSERT INTO shoal.task_group (app_id, id, open, total, on_completion,
							on_success, on_failure, metadata)
						VALUES (p_apps[r], grp.id, coalesce(grp.open, false), p_counts[r],
							grp.on_completion::text, grp.on_success::text,
							grp.on_failure::text, grp.metadata::text)
						RETURNING * INTO moved;
					END IF;
				END IF;
				FOR k IN at + 1 .. at + p_counts[r] LOOP
					place := NULL;
					IF queues IS NOT NULL THEN
						place := (SELECT n FROM generate_series(1, array_length(queues, 1)) n
							   WHERE queues[n] = (p_specs[k]::json->>'queue_id')::int);
						-- what may be another's already is looked for first
						IF rooms[place] <= 0 AND (p_specs[k]::json->>'unique_key') IS NULL THEN
							PERFORM shoal.refuse_full();
						END IF;
					END IF;
					SELECT t.* INTO m
					  FROM shoal.make_task(p_apps[r], p_specs[k]::json, p_aging_ms) t;
					IF place IS NOT NULL AND m.outcome = 0 THEN
						IF rooms[place] <= 0 THEN
							PERFORM shoal.refuse_full();
						END IF;
						rooms[place] := rooms[place] - 1;
					END IF;
					ids := ids || m.id;
					states := states || m.state;
					times := times || m.run_at;
					outcomes := outcomes || m.outcome;
				END LOOP;
				IF p_groups[r] IS NOT NULL THEN
					PERFORM shoal.group_moved(moved, p_aging_ms);
				END IF;
				IF p_keys[r] IS NOT NULL THEN
					DELETE FROM shoal.idempotency i
					 WHERE i.app_id = p_apps[r] AND i.key = p_keys[r];
					INSERT INTO shoal.idempotency (app_id, key, print, ids, states, run_at)
					VALUES (p_apps[r], p_keys[r], p_prints[r], ids, states, times);
				END IF;
			EXCEPTION WHEN OTHERS THEN
				-- trouble of the server's, and deadlocks, are for the whole batch
				IF substr(SQLSTATE, 1, 2) NOT IN ('SH', '22', '23', '54') THEN
					RAISE;
				END IF;
				code := SQLSTATE;
				message := SQLERRM;
				ids := '{}';
				rooms := rooms_before;
			END;
		END IF;
		at := at + p_counts[r];
		request := r;
		IF ids = '{}' THEN
			RETURN QUERY SELECT r, NULL::uuid, NULL::smallint, NULL::timestamptz, NULL::smallint,
				replayed, code, message;
		ELSE
			RETURN QUERY SELECT r, ids[n], states[n], times[n], coalesce(outcomes[n], 0::smallint),
				replayed, code, message FROM generate_series(1, array_length(ids, 1)) n;
		END IF;
	END LOOP;
END $$;

-- ---------------------------------------------------------------------- submitting from SQL

-- a task's type or queue; deliveries are made by webhooks alone
CREATE FUNCTION shoal.check_name(p_what text, p_name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF p_name IS NULL OR p_name !~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$' THEN
		RAISE EXCEPTION 'shoal.submit: % must have 1 to 64 letters, digits and . _ - : /, and begin with a letter or a digit, not %',
			p_what, coalesce(quote_literal(p_name), 'NULL') USING ERRCODE = '22023';
	END IF;
	IF p_what = 'type' AND p_name = 'shoal.webhook' THEN
		RAISE EXCEPTION 'shoal.submit: tasks of the type shoal.webhook are made by webhooks alone: choose another type'
			USING ERRCODE = '22023';
	END IF;
	RETURN p_name;
END $$;

-- A task in the caller's own transaction: it exists if that commits, and not before.  options has the members of
-- POST /v1/tasks but type and payload.
CREATE FUNCTION shoal.submit(application text, type text, payload json DEFAULT NULL,
	options json DEFAULT '{}')
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	year CONSTANT bigint := 366 * 86400000::bigint;
	now_us CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
	app int;
	name text;
	queue text;
	o json := options;
	c shoal.cluster;
	at_us bigint;
	deadline_us bigint;
	conflict text;
	until text;
	parents json;
	priority int;
	made record;
	spec json;
BEGIN
	SELECT * INTO c FROM shoal.cluster;
	SELECT a.id INTO app FROM shoal.application a WHERE a.name = application;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'shoal.submit: there is no application "%"', application USING ERRCODE = '22023';
	END IF;
	PERFORM shoal.check_name('type', type);
	IF o IS NULL OR json_typeof(o) <> 'object' THEN
		RAISE EXCEPTION 'shoal.submit: options must be an object' USING ERRCODE = '22023';
	END IF;
	IF octet_length(payload::text) > c.max_payload_bytes THEN
		RAISE EXCEPTION 'shoal.submit: payload has % bytes, and % are the most', octet_length(payload::text),
			c.max_payload_bytes USING ERRCODE = '22023';
	END IF;
	FOR name IN SELECT json_object_keys(o) LOOP
		IF name NOT IN ('queue', 'priority', 'run_at', 'delay', 'timeout', 'max_attempts', 'backoff', 'deadline',
			'retry_until', 'unique_key', 'unique_until', 'unique_for', 'on_conflict', 'concurrency_key',
			'concurrency_limit', 'after', 'after_failure', 'metadata', 'traceparent', 'tracestate') THEN
			RAISE EXCEPTION 'shoal.submit: there is no option "%"', left(name, 100) USING ERRCODE = '22023';
		END IF;
	END LOOP;
	IF (SELECT count(*) <> count(DISTINCT k) FROM json_object_keys(o) k) THEN
		RAISE EXCEPTION 'shoal.submit: an option is said twice' USING ERRCODE = '22023';
	END IF;
	-- null is not given
	o := (SELECT coalesce(('{' || string_agg(to_json(e.key) || ':' || e.value, ',') || '}')::json, '{}')
	        FROM json_each(o) AS e (key, value) WHERE json_typeof(e.value) <> 'null');
	IF (o->'run_at') IS NOT NULL AND (o->'delay') IS NOT NULL THEN
		RAISE EXCEPTION 'shoal.submit: run_at and delay exclude each other' USING ERRCODE = '22023';
	END IF;
	IF (o->'unique_for') IS NOT NULL AND (o->'unique_until') IS NOT NULL THEN
		RAISE EXCEPTION 'shoal.submit: unique_for and unique_until exclude each other' USING ERRCODE = '22023';
	END IF;
	FOR name, until IN VALUES ('unique_until', 'unique_key'), ('unique_for', 'unique_key'),
		('on_conflict', 'unique_key'), ('concurrency_limit', 'concurrency_key'), ('after_failure', 'after') LOOP
		IF (o->name) IS NOT NULL AND (o->until) IS NULL THEN
			RAISE EXCEPTION 'shoal.submit: % goes with %, which is missing', name, until USING ERRCODE = '22023';
		END IF;
	END LOOP;
	IF (o->'metadata') IS NOT NULL AND (json_typeof(o->'metadata') <> 'object'
	                                  OR octet_length((o->'metadata')::text) > 16384) THEN
		RAISE EXCEPTION 'shoal.submit: metadata must be an object of up to 16384 bytes' USING ERRCODE = '22023';
	END IF;
	-- what is no trace is none, as over HTTP; what is no text is a mistake
	FOREACH name IN ARRAY ARRAY['traceparent', 'tracestate'] LOOP
		IF (o->name) IS NOT NULL AND json_typeof(o->name) <> 'string' THEN
			PERFORM shoal.refuse_option(name, 'must be a string', o->name);
		END IF;
	END LOOP;
	at_us := shoal.option_instant('run_at', o->'run_at');
	IF at_us > now_us + year * 1000 THEN
		RAISE EXCEPTION 'shoal.submit: run_at is more than 366 days away' USING ERRCODE = '22023';
	END IF;
	deadline_us := CASE WHEN shoal.duration_ms(o->'deadline') BETWEEN 0 AND year
		THEN now_us + shoal.duration_ms(o->'deadline')::bigint * 1000
		ELSE shoal.instant_us(o->'deadline') END;
	IF (o->'deadline') IS NOT NULL AND deadline_us IS NULL THEN
		PERFORM shoal.refuse_option('deadline', 'must be a time with its offset, or a duration of at most 366 days',
			o->'deadline');
	ELSIF deadline_us > now_us + 2 * year * 1000 THEN
		RAISE EXCEPTION 'shoal.submit: deadline is more than 732 days away' USING ERRCODE = '22023';
	END IF;
	conflict := shoal.option_word('on_conflict', o->'on_conflict', '{existing,reject,replace,postpone}');
	until := shoal.option_word('unique_until', o->'unique_until', '{start,finish}');
	parents := o->'after';
	IF parents IS NOT NULL THEN
		IF json_typeof(parents) <> 'array' OR json_array_length(parents) > 100 THEN
			PERFORM shoal.refuse_option('after', 'must be a list of up to 100 ids', parents);
		END IF;
		IF EXISTS (SELECT 1 FROM json_array_elements(parents) AS p (value)
		            WHERE coalesce(shoal.text_of(p.value)
				!~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$', true)) THEN
			PERFORM shoal.refuse_option('after', 'must be a list of ids of tasks', parents);
		END IF;
		IF json_array_length(parents) = 0 THEN
			parents := NULL;
		END IF;
	END IF;
	queue := shoal.check_name('queue', CASE WHEN (o->'queue') IS NULL THEN 'default' ELSE shoal.text_of(o->'queue') END);
	priority := shoal.option_whole('priority', o->'priority', 0, 9);
	SELECT row_to_json(r) INTO spec FROM (SELECT
		type AS type,
		queue AS queue,
		shoal.check_json('payload', coalesce(payload, 'null'), 31) AS payload,
		shoal.check_json('metadata', o->'metadata', 31) AS metadata,
		priority AS priority,
		shoal.option_whole('max_attempts', o->'max_attempts', 1, 1000) AS max_attempts,
		shoal.option_ms('timeout', o->'timeout', 1, 7 * 86400000) AS timeout_ms,
		-- what is past is due now: an older date must not buy a better place in the queue
		CASE WHEN at_us > now_us THEN at_us END AS run_at_us,
		shoal.option_ms('delay', o->'delay', 0, year) AS delay_ms,
		deadline_us AS deadline_us,
		shoal.option_instant('retry_until', o->'retry_until') AS retry_until_us,
		shoal.check_backoff(o->'backoff') AS backoff,
		shoal.option_key('unique_key', o->'unique_key') AS unique_key,
		CASE WHEN (o->'unique_for') IS NOT NULL THEN 2
		     WHEN coalesce(until, CASE WHEN conflict IN ('replace', 'postpone')
		                               THEN 'start' ELSE 'finish' END) = 'start' THEN 0
		     ELSE 1 END AS unique_scope,
		shoal.option_ms('unique_for', o->'unique_for', 1, year) AS unique_ms,
		CASE conflict WHEN 'reject' THEN 1 WHEN 'replace' THEN 2 WHEN 'postpone' THEN 3 ELSE 0 END
			AS on_conflict,
		shoal.option_key('concurrency_key', o->'concurrency_key') AS concurrency_key,
		shoal.option_whole('concurrency_limit', o->'concurrency_limit', 1, 10000) AS concurrency_limit,
		parents AS after,
		shoal.option_word('after_failure', o->'after_failure', '{cancel,run}') = 'run' AS run_anyway,
		shoal.trace_of_option(shoal.text_of(o->'traceparent'), shoal.text_of(o->'tracestate')) AS trace) r;
	PERFORM shoal.check_shed(app, queue, priority);
	-- what may be another's already is looked for first
	IF (o->'unique_key') IS NULL THEN
		PERFORM shoal.check_room(app, queue, 0);
	END IF;
	SELECT m.id, m.outcome INTO made FROM shoal.make_task(app, spec, c.aging_ms) m;
	IF (o->'unique_key') IS NOT NULL AND made.outcome = 0 THEN
		PERFORM shoal.check_room(app, queue, 1);
	END IF;
	RETURN made.id;
END $$;

-- A role that may do this and nothing else, where whoever applies this step may make roles.
DO $$
BEGIN
	IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'shoal_submit') THEN
		CREATE ROLE shoal_submit NOLOGIN;
	END IF;
	REVOKE ALL ON FUNCTION shoal.submit(text, text, json, json) FROM PUBLIC;
	GRANT USAGE ON SCHEMA shoal TO shoal_submit;
	GRANT EXECUTE ON FUNCTION shoal.submit(text, text, json, json) TO shoal_submit;
EXCEPTION WHEN insufficient_privilege THEN
	RAISE NOTICE 'no role shoal_submit: make it, and grant it USAGE on schema shoal and EXECUTE on shoal.submit';
END $$;

-- ---------------------------------------------------------------------- tidying

-- A walk over the unique keys from behind (p_app, p_key) on, p_look of them, which removes those that are free again; at
-- its end (app_id is NULL) also what else is over: Idempotency-Keys after their day, groups that ended and limits of
-- keys that nobody has used for p_keep_ms, NULL: for ever.
CREATE FUNCTION shoal.prune_keys(p_app int, p_key text, p_look int, p_keep_ms bigint,
	OUT app_id int, OUT key text, OUT removed int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_sort = off SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
	kept_from timestamptz := now() - p_keep_ms * interval '1 millisecond';
	n int;
	k record;
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true);
	removed := 0;
	n := 0;
	FOR k IN SELECT u.app_id AS app, u.key AS name, u.ctid AS place, u.scope, u.until,
	                (SELECT t.state FROM shoal.task t
	                  WHERE t.app_id = u.app_id AND t.id = u.task_id) AS state
	           FROM shoal.unique_key u
	          WHERE (u.app_id, u.key) > (p_app, p_key)
	          ORDER BY u.app_id, u.key LIMIT p_look LOOP
		n := n + 1;
		app_id := k.app;
		key := k.name;
		-- the row of a key that is taken again meanwhile lies at another place
		IF (CASE k.scope WHEN 2 THEN k.until < now() ELSE coalesce(k.state >= 3, true) END) THEN
			DELETE FROM shoal.unique_key u WHERE u.ctid = k.place AND u.key = k.name;
			removed := removed + 1;
		END IF;
	END LOOP;
	IF n = p_look THEN
		RETURN;
	END IF;
	app_id := NULL;
	DELETE FROM shoal.idempotency i WHERE i.ctid = ANY (ARRAY(
		SELECT o.ctid FROM shoal.idempotency o WHERE o.at < now() - interval '24 hours'
		 ORDER BY o.at LIMIT p_look * 10));
	GET DIAGNOSTICS n = ROW_COUNT;
	removed := removed + n;
	DELETE FROM shoal.task_group g WHERE g.ctid = ANY (ARRAY(
		SELECT o.ctid FROM shoal.task_group o WHERE o.ended_at < kept_from
		 ORDER BY o.ended_at LIMIT p_look));
	GET DIAGNOSTICS n = ROW_COUNT;
	removed := removed + n;
	DELETE FROM shoal.key_limit l WHERE l.ctid = ANY (ARRAY(
		SELECT o.ctid FROM shoal.key_limit o WHERE o.used_at < kept_from
		   AND NOT EXISTS (SELECT 1 FROM shoal.key_line e WHERE e.app_id = o.app_id AND e.key = o.key)
		 ORDER BY o.used_at LIMIT p_look));
	GET DIAGNOSTICS n = ROW_COUNT;
	removed := removed + n;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
