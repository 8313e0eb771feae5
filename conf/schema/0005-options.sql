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

-- ---------------------------------------------------------------------- claim

-- As in 0002, with what a special task needs to run and to be retried; claims return the same (0008).
DROP FUNCTION shoal.claimed_tasks(uuid, int);

CREATE FUNCTION shoal.claimed_tasks(p_me uuid, p_batch int)
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text,
	run_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.attempt, r.type_id, r.queue_id, r.failures::int, r.max_attempts::int,
	       r.timeout_ms, r.payload, r.backoff, r.deadline, r.trace, r.run_at
	  FROM shoal.claim c, LATERAL unnest(c.apps, c.ids) AS u (app_id, id), LATERAL (
		SELECT * FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id
		   AND t.state = 2 AND t.owner = p_me AND t.claim = p_batch OFFSET 0) r
	 WHERE c.owner = p_me AND c.batch = p_batch;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
