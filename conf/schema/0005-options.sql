-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0005-options: what a task may ask for beyond the ordinary, and the record of what happens to it.
--
-- All columns added here are NULL in an ordinary task, which therefore pays nothing for them: a NULL costs a
-- bit, and the indexes have only the rows that use them.  "special" says what a task uses, so that
-- statements of the hot path need to look at one value:
--
--     1 keyed     it has a concurrency_key: at most so many of one key are let into the line
--     2 grouped   it belongs to a group, which counts how its tasks end
--     4 parent    other tasks wait for its end
--     8 retry     it has retry rules of its own: backoff, retry_until or deadline
--
-- The numbers are those of src/model/task.h.

ALTER TABLE shoal.task
	ADD COLUMN special         int,
	ADD COLUMN backoff         text,         -- JSON as src/model/backoff.h reads it
	ADD COLUMN retry_until     timestamptz,  -- no attempt begins later, but the first
	ADD COLUMN deadline        timestamptz,  -- no attempt begins later
	ADD COLUMN expire_at       timestamptz,  -- the deadline, while it waits
	ADD COLUMN cancel_at       timestamptz,  -- running, and somebody has asked to cancel it
	ADD COLUMN waits_for       int,          -- parents that have not ended
	ADD COLUMN group_id        uuid,
	ADD COLUMN concurrency_key text;

CREATE INDEX task_expire ON shoal.task (expire_at) WHERE expire_at IS NOT NULL;
CREATE INDEX task_in_group ON shoal.task (group_id, id) WHERE group_id IS NOT NULL;

-- ---------------------------------------------------------------------- events

-- What a task's own row cannot tell: retries, losses, changes by people, progress.  An ordinary life leaves
-- nothing here, unless its application is watched (below).  kind: the numbers of src/model/event.h.
--
-- Readers that follow the events go by (xid, seq) and no further than the oldest transaction that is
-- still open, so that none is ever passed by.
CREATE TABLE shoal.event (
	seq     bigserial,
	xid     bigint NOT NULL DEFAULT txid_current(),
	app_id  int NOT NULL,
	task_id uuid,
	at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	kind    smallint NOT NULL,
	state   smallint,               -- that the task was in afterwards
	attempt int,
	owner   uuid,
	code    text,
	message text,
	detail  text                    -- JSON
) WITH (autovacuum_vacuum_cost_delay = 0);
CREATE INDEX event_task ON shoal.event (app_id, task_id, seq);
CREATE INDEX event_feed ON shoal.event (app_id, xid, seq);

-- applications whose tasks' ordinary lives are recorded too: somebody follows their events
CREATE TABLE shoal.watched (
	app_id int PRIMARY KEY REFERENCES shoal.application (id) ON DELETE CASCADE,
	until  timestamptz NOT NULL
);

CREATE FUNCTION shoal.add_event(p_app int, p_id uuid, p_kind int, p_state int, p_attempt int, p_owner uuid,
	p_code text, p_message text, p_detail text) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, owner, code, message, detail)
	VALUES (p_app, p_id, p_kind, p_state, p_attempt, p_owner, p_code, p_message, p_detail)
$$;

-- ---------------------------------------------------------------------- the end of special tasks

-- What ended and concerns others: the leader's pass settles it over committed rows (shoal.settle), so that no
-- two finishes ever wait for each other, and a group of any size has no hot row.
CREATE TABLE shoal.ended (
	seq             bigserial PRIMARY KEY,
	app_id          int NOT NULL,
	task_id         uuid NOT NULL,
	state           smallint NOT NULL,
	special         int NOT NULL,
	group_id        uuid,
	concurrency_key text
) WITH (autovacuum_vacuum_cost_delay = 0);

-- One place sees every change of a special task's state, whoever made it.  A keyed task that rests between
-- attempts leaves its place to others, and comes in line again.
CREATE FUNCTION shoal.special_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.state >= 3 AND OLD.state < 3 AND NEW.special & 7 <> 0
	   OR NEW.state = 0 AND NEW.special & 1 <> 0 THEN
		INSERT INTO shoal.ended (app_id, task_id, state, special, group_id, concurrency_key)
		VALUES (NEW.app_id, NEW.id, NEW.state, NEW.special, NEW.group_id, NEW.concurrency_key);
	END IF;
	RETURN NULL;
END $$;

CREATE TRIGGER special_moved AFTER UPDATE ON shoal.task FOR EACH ROW
	WHEN (NEW.special IS NOT NULL AND OLD.state <> NEW.state)
	EXECUTE PROCEDURE shoal.special_moved();

-- ---------------------------------------------------------------------- claim

-- As in 0002, with what a special task needs to run and to be retried.  A deadline is kept here too: expiring
-- is the leader's, but what it has not come to yet must not start.
DROP FUNCTION shoal.claim_direct(uuid, int, int, int[], int[], int);
DROP FUNCTION shoal.claim_tasks(uuid, int, int[], uuid[], int[]);
DROP FUNCTION shoal.claimed_tasks(uuid, int);

CREATE FUNCTION shoal.claim_tasks(p_me uuid, p_batch int, p_apps int[], p_ids uuid[], p_types int[])
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	paused int[] := ARRAY(SELECT q.id FROM shoal.queue q WHERE q.paused);
	places tid[];
	n int;
	picked int := 0;
BEGIN
	-- a dead incarnation claims nothing; recovery marks first and takes afterwards
	IF NOT EXISTS (SELECT 1 FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0) THEN
		RETURN;
	END IF;
	LOOP
		places := ARRAY(SELECT r.place
			  FROM unnest(p_apps, p_ids, p_types) AS u (app_id, id, type_id), LATERAL (
				SELECT t.ctid AS place FROM shoal.task t
				 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 1
				   AND t.type_id = u.type_id AND t.queue_id <> ALL (paused)
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
	-- the note lists all of the batch: which rows of it are the owner's, they say themselves
	IF picked > 0 THEN
		INSERT INTO shoal.claim (owner, batch, apps, ids) VALUES (p_me, p_batch, p_apps, p_ids);
	END IF;
END $$;

CREATE FUNCTION shoal.claimed_tasks(p_me uuid, p_batch int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.attempt, r.type_id, r.queue_id, r.failures::int, r.max_attempts::int,
	       r.timeout_ms, r.payload, r.backoff, r.deadline
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS u (app_id, id), LATERAL (
		SELECT * FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id
		   AND t.state = 2 AND t.owner = p_me AND t.claim = p_batch OFFSET 0) r
	 WHERE c.owner = p_me AND c.batch = p_batch;
END $$;

CREATE FUNCTION shoal.claim_direct(p_me uuid, p_batch int, p_aging_ms int, p_types int[],
	p_takes int[], p_most int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz)
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

-- ---------------------------------------------------------------------- the pass

-- Parts of the leader's pass that later steps fill: what ended special tasks mean for others, and what has
-- waited past its deadline; each looks at p_most rows.
CREATE FUNCTION shoal.settle(p_most int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
END $$;

CREATE FUNCTION shoal.expire(p_most int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
END $$;

-- how many more of a lane may run now by the limits of its queue and type; NULL: as many as there are places
CREATE FUNCTION shoal.lane_room(p_queue int, p_type int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN NULL;
END $$;

-- as in 0004, with these parts
CREATE OR REPLACE FUNCTION shoal.feed(p_me uuid, p_lease_ms int, p_aging_ms int, p_types int[], p_takes int[], p_most int,
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
	PERFORM shoal.settle(1000);
	PERFORM shoal.expire(1000);
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
