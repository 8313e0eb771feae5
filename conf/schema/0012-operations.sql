-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0012-operations: what people do to tasks - cancel, again by hand, delete, erase; one by one and by filter.
--
-- Each change is guarded by the state that it starts from and goes from id to place to row, as 0002 explains.
-- What a guard refuses changes nothing, and the caller is told in which state the task is.
--
-- A waiting task is cancelled at once.  A running one belongs to its holder: cancel_at says that its end is
-- wanted, and shoal.cancel_request lets the holder find that out without a look at each of its tasks.
-- Both are written in one transaction, and are truth; messages through Redis only make it quick.

CREATE TABLE shoal.cancel_request (
	owner   uuid NOT NULL,           -- who held it when it was asked
	app_id  int NOT NULL,
	task_id uuid NOT NULL,
	attempt int NOT NULL,
	claim   int NOT NULL,
	at      timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_cost_delay = 0);
CREATE INDEX cancel_request_owner ON shoal.cancel_request (owner);

-- ---------------------------------------------------------------------- cancel

-- Those of p_ids that are in one of p_states: cancelled if they wait, asked to end if they run.  A row for each
-- that was changed: its state afterwards, and whom to tell of it, the waiter of one that has ended (NULL: nobody)
-- or the holder of one that runs.  p_detail: JSON, by whom and why.
CREATE FUNCTION shoal.cancel_tasks(p_app int, p_ids uuid[], p_states smallint[], p_detail text)
RETURNS TABLE (id uuid, state smallint, tell uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	places tid[];
	ids uuid[];
	states smallint[];
	attempts int[];
	claims int[];
	owners uuid[];
	waiters uuid[];
BEGIN
	LOOP
		places := ARRAY(SELECT r.place FROM unnest(p_ids) AS u (id), LATERAL (
			SELECT t.ctid AS place FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = u.id AND t.state = ANY (p_states)
			   AND (t.state < 2 OR t.state = 2 AND t.cancel_at IS NULL) OFFSET 0) r);
		EXIT WHEN places = '{}';
		WITH changed AS (
			UPDATE shoal.task t
			   SET state = CASE WHEN t.state = 2 THEN 2 ELSE 5 END,
			       cancel_at = CASE WHEN t.state = 2 THEN clock_timestamp() END,
			       finished_at = CASE WHEN t.state < 2 THEN clock_timestamp() END,
			       order_at = CASE WHEN t.state = 2 THEN t.order_at END,
			       due_at = CASE WHEN t.state = 2 THEN t.due_at END,
			       expire_at = CASE WHEN t.state = 2 THEN t.expire_at END,
			       error_code = CASE WHEN t.state = 2 THEN t.error_code ELSE 'cancelled' END,
			       error_message = CASE WHEN t.state = 2 THEN t.error_message
			                            ELSE 'cancelled before it ran' END
			 WHERE t.ctid = ANY (places) AND t.state = ANY (p_states)
			   AND (t.state < 2 OR t.state = 2 AND t.cancel_at IS NULL)
			RETURNING t.id, t.state, t.attempt, t.claim, t.owner, t.waiter)
		SELECT array_agg(c.id), array_agg(c.state), array_agg(c.attempt), array_agg(c.claim),
		       array_agg(c.owner), array_agg(c.waiter)
		  INTO ids, states, attempts, claims, owners, waiters FROM changed c;
		-- what somebody changed between the two steps is looked at again
		CONTINUE WHEN ids IS NULL;
		INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, owner, code, detail)
		SELECT p_app, u.id, CASE WHEN u.state = 2 THEN 7 ELSE 8 END, u.state, u.attempt,
		       CASE WHEN u.state = 2 THEN u.owner END, 'cancelled', p_detail
		  FROM unnest(ids, states, attempts, owners) AS u (id, state, attempt, owner);
		INSERT INTO shoal.cancel_request (owner, app_id, task_id, attempt, claim)
		SELECT u.owner, p_app, u.id, u.attempt, u.claim
		  FROM unnest(ids, states, attempts, claims, owners) AS u (id, state, attempt, claim, owner)
		 WHERE u.state = 2 AND u.owner IS NOT NULL;
		RETURN QUERY SELECT u.id, u.state, CASE WHEN u.state = 2 THEN u.owner ELSE u.waiter END
			FROM unnest(ids, states, owners, waiters) AS u (id, state, owner, waiter);
		EXIT WHEN array_length(ids, 1) = array_length(places, 1);
	END LOOP;
END $$;

-- one task.  changed: by this call; state and tell as above, of a task that was asked to end before too.
CREATE FUNCTION shoal.cancel_task(p_app int, p_id uuid, p_detail text)
RETURNS TABLE (changed boolean, state smallint, tell uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	LOOP
		RETURN QUERY SELECT true, c.state, c.tell
			FROM shoal.cancel_tasks(p_app, ARRAY[p_id], '{0,1,2}', p_detail) c;
		EXIT WHEN FOUND;
		RETURN QUERY SELECT false, t.state, CASE WHEN t.state = 2 THEN t.owner END
			FROM shoal.task_of(p_app, p_id) t WHERE t.state >= 2;
		-- one that was given back between the two begins anew
		EXIT WHEN FOUND OR NOT EXISTS (SELECT 1 FROM shoal.task_of(p_app, p_id));
	END LOOP;
END $$;

-- What p_me still runs and shall end.  Requests for what has ended meanwhile, however it did, are removed.
CREATE FUNCTION shoal.cancels_of(p_me uuid)
RETURNS TABLE (app_id int, id uuid, attempt int, claim int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	over tid[];
BEGIN
	over := ARRAY(SELECT c.ctid FROM shoal.cancel_request c WHERE c.owner = p_me AND NOT EXISTS (
		SELECT 1 FROM (SELECT t.state, t.owner, t.attempt, t.claim FROM shoal.task t
		                WHERE t.app_id = c.app_id AND t.id = c.task_id OFFSET 0) r
		 WHERE r.state = 2 AND r.owner = p_me AND r.attempt = c.attempt AND r.claim = c.claim));
	IF over <> '{}' THEN
		DELETE FROM shoal.cancel_request c WHERE c.ctid = ANY (over);
	END IF;
	RETURN QUERY
		SELECT c.app_id, c.task_id, c.attempt, c.claim FROM shoal.cancel_request c
		 WHERE c.owner = p_me;
END $$;

-- ---------------------------------------------------------------------- again by hand

-- Those of p_ids that are in one of p_states and have ended without success: queued again and due now, with room
-- for p_attempts more.  The attempt number goes on.  Deadlines that have passed are dropped, and so is the wait
-- for parents; a task whose payload was erased stays as it is.
CREATE FUNCTION shoal.retry_tasks(p_app int, p_ids uuid[], p_states smallint[], p_attempts int, p_aging_ms int,
	p_detail text)
RETURNS TABLE (id uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	places tid[];
	ids uuid[];
	attempts int[];
BEGIN
	LOOP
		places := ARRAY(SELECT r.place FROM unnest(p_ids) AS u (id), LATERAL (
			SELECT t.ctid AS place FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = u.id AND t.state = ANY (p_states)
			   AND t.state IN (4, 5, 6) OFFSET 0) r
			  LEFT JOIN LATERAL (
				SELECT true AS erased FROM (
					SELECT e.kind FROM shoal.event e
					 WHERE e.app_id = p_app AND e.task_id = u.id ORDER BY e.seq OFFSET 0) k
				 WHERE k.kind = 14 LIMIT 1) x ON true
			 WHERE x.erased IS NULL);
		EXIT WHEN places = '{}';
		-- the last digits of the id as in promote_since: many at once do not share one place in the lane
		WITH changed AS (
			UPDATE shoal.task t
			   SET state = 1, run_at = now(), due_at = NULL,
			       order_at = now() + t.priority * p_aging_ms * interval '1 millisecond'
					+ (get_byte(uuid_send(t.id), 14) % 16 * 256
					   + get_byte(uuid_send(t.id), 15)) * interval '1 microsecond',
			       finished_at = NULL, result = NULL, error_code = NULL, error_message = NULL,
			       cancel_at = NULL, waits_for = NULL, waiter = NULL,
			       max_attempts = least(32767, greatest(t.max_attempts, t.failures + p_attempts)),
			       deadline = CASE WHEN t.deadline > now() THEN t.deadline END,
			       expire_at = CASE WHEN t.deadline > now() THEN t.deadline END,
			       retry_until = CASE WHEN t.retry_until > now() THEN t.retry_until END
			 WHERE t.ctid = ANY (places) AND t.state = ANY (p_states) AND t.state IN (4, 5, 6)
			RETURNING t.id, t.attempt)
		SELECT array_agg(c.id), array_agg(c.attempt) INTO ids, attempts FROM changed c;
		CONTINUE WHEN ids IS NULL;
		INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, detail)
		SELECT p_app, u.id, 10, 1, u.attempt, p_detail FROM unnest(ids, attempts) AS u (id, attempt);
		RETURN QUERY SELECT u.id FROM unnest(ids) AS u (id);
		EXIT WHEN array_length(ids, 1) = array_length(places, 1);
	END LOOP;
END $$;

-- was the payload erased?  The event of that says it, which stays as long as the task.
CREATE FUNCTION shoal.is_erased(p_app int, p_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
	RETURN EXISTS (SELECT 1 FROM (
		SELECT e.kind FROM shoal.event e WHERE e.app_id = p_app AND e.task_id = p_id
		 ORDER BY e.seq OFFSET 0) r WHERE r.kind = 14);
END $$;

-- one task.  Not changed: the state that refuses it, or erased.
CREATE FUNCTION shoal.retry_task(p_app int, p_id uuid, p_attempts int, p_aging_ms int, p_detail text)
RETURNS TABLE (changed boolean, state smallint, erased boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY SELECT true, 1::smallint, false
		FROM shoal.retry_tasks(p_app, ARRAY[p_id], '{4,5,6}', p_attempts, p_aging_ms, p_detail);
	IF NOT FOUND THEN
		RETURN QUERY SELECT false, t.state, shoal.is_erased(p_app, p_id) FROM shoal.task_of(p_app, p_id) t;
	END IF;
END $$;

-- ---------------------------------------------------------------------- delete and erase

CREATE FUNCTION shoal.delete_task(p_app int, p_id uuid)
RETURNS TABLE (changed boolean, state smallint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY SELECT true, NULL::smallint FROM shoal.delete_tasks(p_app, ARRAY[p_id], '{3,4,5,6}');
	IF NOT FOUND THEN
		RETURN QUERY SELECT false, t.state FROM shoal.task_of(p_app, p_id) t;
	END IF;
END $$;

-- What an application told of a person, and what was made of it, is gone from an ended task: payload, metadata,
-- result, and the words of its handler, in the row and in its events.  The record stays.
CREATE FUNCTION shoal.erase_task(p_app int, p_id uuid, p_detail text)
RETURNS TABLE (changed boolean, state smallint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	ended smallint;
	number int;
BEGIN
	UPDATE shoal.task t
	   SET payload = NULL, metadata = NULL, result = NULL, error_message = NULL
	 WHERE t.app_id = p_app AND t.id = p_id AND t.state >= 3
	RETURNING t.state, t.attempt INTO ended, number;
	IF FOUND THEN
		UPDATE shoal.event e SET message = NULL,
		       detail = CASE WHEN e.kind IN (7, 8, 10, 14) THEN e.detail END
		 WHERE e.ctid = ANY (ARRAY(SELECT x.ctid FROM shoal.event x
			WHERE x.app_id = p_app AND x.task_id = p_id ORDER BY x.seq));
		-- what it reported while it ran
		DELETE FROM shoal.task_report r WHERE r.app_id = p_app AND r.id = p_id;
		IF NOT shoal.is_erased(p_app, p_id) THEN
			PERFORM shoal.add_event(p_app, p_id, 14, ended, number, NULL, NULL, NULL, p_detail);
		END IF;
		RETURN QUERY SELECT true, ended;
	ELSE
		RETURN QUERY SELECT false, t.state FROM shoal.task_of(p_app, p_id) t;
	END IF;
END $$;

-- ---------------------------------------------------------------------- by filter

-- A filter walks an application's tasks in the order of their ids, from the time of a submit to another, and
-- never beyond the operation's own: an id begins with the millisecond of its making.  Each batch is one transaction that changes its tasks, counts them
-- and moves "at": whoever leads goes on there, and no task is counted twice or left out.
CREATE TABLE shoal.operation (
	id          uuid PRIMARY KEY,
	app_id      int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	action      smallint NOT NULL,       -- 0 cancel, 1 retry, 2 delete
	filter      text NOT NULL,           -- JSON, as it was asked for
	detail      text NOT NULL,           -- JSON for the events: by whom, and why
	states      smallint[] NOT NULL,
	queue_id    int,
	type_id     int,
	ids         uuid[],
	attempts    int NOT NULL,            -- retry: how many more
	below       uuid NOT NULL,           -- ids from here on are left alone
	at          uuid NOT NULL,           -- the last one that was looked at
	state       smallint NOT NULL DEFAULT 0, -- 0 running, 1 done, 2 failed, 3 stopped
	matched     bigint NOT NULL DEFAULT 0,
	done        bigint NOT NULL DEFAULT 0,
	error       text,
	created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
	finished_at timestamptz
) WITH (fillfactor = 50);
CREATE INDEX operation_app ON shoal.operation (app_id, id);
CREATE INDEX operation_open ON shoal.operation (id) WHERE finished_at IS NULL;

-- the numbers of a filter's names; known: both are, or were not asked for
CREATE FUNCTION shoal.filter_names(p_app int, p_queue text, p_type text,
	OUT queue_id int, OUT type_id int, OUT known boolean)
LANGUAGE plpgsql STABLE AS $$
BEGIN
	SELECT q.id INTO queue_id FROM shoal.queue q WHERE q.app_id = p_app AND q.name = p_queue;
	SELECT y.id INTO type_id FROM shoal.task_type y WHERE y.name = p_type;
	known := (p_queue IS NULL OR queue_id IS NOT NULL) AND (p_type IS NULL OR type_id IS NOT NULL);
END $$;

-- The next p_look tasks behind p_at and below p_below: of all, or of p_ids.  looked: how many there were; last: the
-- last of them; fit: those that the filter means.
CREATE FUNCTION shoal.look_through(p_app int, p_states smallint[], p_queue int, p_type int, p_ids uuid[],
	p_at uuid, p_below uuid, p_look int, OUT looked int, OUT last uuid, OUT fit uuid[])
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
	walked uuid[];
BEGIN
	IF p_ids IS NOT NULL THEN
		walked := ARRAY(SELECT u.id FROM unnest(p_ids) AS u (id)
			WHERE u.id > p_at AND u.id < p_below ORDER BY u.id LIMIT p_look);
		fit := ARRAY(SELECT u.id FROM unnest(walked) AS u (id), LATERAL (
			SELECT t.state, t.queue_id, t.type_id FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = u.id OFFSET 0) r
			 WHERE r.state = ANY (p_states) AND (p_queue IS NULL OR r.queue_id = p_queue)
			   AND (p_type IS NULL OR r.type_id = p_type) ORDER BY u.id);
	ELSE
		SELECT array_agg(w.id),
		       array_agg(w.id) FILTER (WHERE w.state = ANY (p_states)
				AND (p_queue IS NULL OR w.queue_id = p_queue)
				AND (p_type IS NULL OR w.type_id = p_type))
		  INTO walked, fit
		  FROM (SELECT t.id, t.state, t.queue_id, t.type_id FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id > p_at AND t.id < p_below
			 ORDER BY t.id LIMIT p_look) w;
	END IF;
	looked := coalesce(array_length(walked, 1), 0);
	last := walked[looked];
	fit := coalesce(fit, '{}');
END $$;

-- how many a filter means among the next p_look tasks; last NULL: these were all
CREATE FUNCTION shoal.count_some(p_app int, p_states smallint[], p_queue text, p_type text, p_ids uuid[],
	p_at uuid, p_below uuid, p_look int)
RETURNS TABLE (n bigint, last uuid)
LANGUAGE plpgsql STABLE AS $$
DECLARE
	names record;
	l record;
BEGIN
	SELECT * INTO names FROM shoal.filter_names(p_app, p_queue, p_type);
	IF NOT names.known THEN
		RETURN QUERY SELECT 0::bigint, NULL::uuid;
		RETURN;
	END IF;
	SELECT * INTO l FROM shoal.look_through(p_app, p_states, names.queue_id, names.type_id, p_ids, p_at,
		p_below, p_look);
	RETURN QUERY SELECT coalesce(array_length(l.fit, 1), 0)::bigint,
		CASE WHEN l.looked = p_look THEN l.last END;
END $$;

-- A new operation.  False: p_most of the application are at work already.  Sent again it makes no second one.  Of
-- those that have ended the newest 1,000 of each application are kept.
CREATE FUNCTION shoal.new_operation(p_app int, p_id uuid, p_action smallint, p_filter text, p_detail text,
	p_states smallint[], p_queue text, p_type text, p_ids uuid[], p_attempts int, p_at uuid, p_below uuid,
	p_most int) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	names record;
BEGIN
	IF EXISTS (SELECT 1 FROM shoal.operation o WHERE o.id = p_id) THEN
		RETURN true;
	END IF;
	IF (SELECT count(*) FROM shoal.operation o WHERE o.finished_at IS NULL AND o.app_id = p_app) >= p_most THEN
		RETURN false;
	END IF;
	DELETE FROM shoal.operation o
	 WHERE o.app_id = p_app AND o.finished_at IS NOT NULL AND o.id < (
		SELECT x.id FROM shoal.operation x WHERE x.app_id = p_app
		 ORDER BY x.id DESC OFFSET 999 LIMIT 1);
	SELECT * INTO names FROM shoal.filter_names(p_app, p_queue, p_type);
	INSERT INTO shoal.operation (id, app_id, action, filter, detail, states, queue_id, type_id, ids, attempts,
		at, below, state, finished_at)
	VALUES (p_id, p_app, p_action, p_filter, p_detail, p_states, names.queue_id, names.type_id, p_ids,
		p_attempts, p_at, p_below, CASE WHEN names.known THEN 0 ELSE 1 END,
		CASE WHEN NOT names.known THEN clock_timestamp() END);
	RETURN true;
END $$;

-- The next batch of an operation.  kind 0: of the operation itself, once, unless it is not at work any more; looked
-- at so many, and ended.  1: a task that ended, and its waiter; 2: one that shall end, and its holder.
CREATE FUNCTION shoal.operate(p_id uuid, p_look int, p_aging_ms int)
RETURNS TABLE (kind smallint, app_id int, id uuid, tell uuid, looked int, ended boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
	o shoal.operation;
	l record;
	n bigint;
BEGIN
	-- two leaders: one waits here for the other, and goes on behind it
	SELECT x.* INTO o FROM shoal.operation x WHERE x.id = p_id AND x.finished_at IS NULL FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT * INTO l FROM shoal.look_through(o.app_id, o.states, o.queue_id, o.type_id, o.ids, o.at, o.below,
		p_look);
	CASE o.action
	WHEN 0 THEN
		RETURN QUERY SELECT CASE WHEN c.state = 2 THEN 2 ELSE 1 END::smallint, o.app_id, c.id, c.tell,
				0, false
			FROM shoal.cancel_tasks(o.app_id, l.fit, o.states, o.detail) c;
		GET DIAGNOSTICS n = ROW_COUNT;
	WHEN 1 THEN
		SELECT count(*) INTO n
		  FROM shoal.retry_tasks(o.app_id, l.fit, o.states, o.attempts, p_aging_ms, o.detail);
	ELSE
		SELECT count(*) INTO n FROM shoal.delete_tasks(o.app_id, l.fit, o.states);
	END CASE;
	ended := l.looked < p_look;
	UPDATE shoal.operation x
	   SET at = coalesce(l.last, x.at), matched = x.matched + coalesce(array_length(l.fit, 1), 0),
	       done = x.done + n, state = CASE WHEN ended THEN 1 ELSE 0 END,
	       finished_at = CASE WHEN ended THEN clock_timestamp() END
	 WHERE x.id = p_id;
	kind := 0;
	app_id := o.app_id;
	id := p_id;
	looked := l.looked;
	RETURN NEXT;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
