-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0018-webhooks: an application is told of the ends of its tasks by requests to its endpoints.
--
-- Every way to an end leaves an event in the transaction of that end (0005): failures, cancels and expiries always,
-- successes where the application is watched.  So an application with webhooks is watched for good, and the leader walks
-- its events in the order of the stream, from where the walk was left.  One transaction makes the deliveries of a batch and
-- moves the place: nothing is lost with a leader, and of two leaders one waits for the other.  What finishes tasks knows
-- nothing of it, and applications without webhooks pay nothing.
--
-- A delivery is a task of the type shoal.webhook in the application's queue shoal.webhooks, and its body is made here: it
-- says what was true then, through all attempts.  How deliveries end is in the same stream: by that a webhook is known to
-- work, to fail, or to be gone.

CREATE TABLE shoal.webhook (
	id            serial PRIMARY KEY,
	app_id        int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	name          text NOT NULL,
	endpoint      text NOT NULL,        -- its name (0017)
	states        smallint[] NOT NULL,  -- 3 to 6
	types         text[],               -- NULL: all
	queues        text[],               -- NULL: all
	with_payload  boolean NOT NULL,
	from_xid      bigint NOT NULL,      -- ends of earlier transactions are not told
	created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
	updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
	worked_at     timestamptz,          -- a delivery last succeeded
	failed_at     timestamptz,          -- an attempt last failed
	failing_since timestamptz,          -- the first failure behind the last success
	last_error    text,
	disabled_at   timestamptz,
	disabled_why  text,
	UNIQUE (app_id, name)
);

-- How far an application's events have been settled, and what its deliveries are made with.
CREATE TABLE shoal.webhook_place (
	app_id   int PRIMARY KEY REFERENCES shoal.application (id) ON DELETE CASCADE,
	xid      bigint NOT NULL,
	seq      bigint NOT NULL,
	queue_id int NOT NULL,
	type_id  int NOT NULL
) WITH (fillfactor = 50);

-- One row for each delivery, as long as its task is there.
CREATE TABLE shoal.webhook_delivery (
	app_id     int NOT NULL,
	id         uuid NOT NULL,           -- of the task that delivers
	webhook_id int NOT NULL,
	message_id uuid NOT NULL,           -- webhook-id: that of the first delivery of this end
	task_id    uuid,                    -- whose end is told; NULL: a test
	state      smallint,                -- in which it ended
	seq        bigint,                  -- of the event that told the end; NULL: made by hand
	made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (app_id, id)
) WITH (autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_delivery_of ON shoal.webhook_delivery (webhook_id, id);
CREATE INDEX webhook_delivery_task ON shoal.webhook_delivery (webhook_id, task_id, id);
-- once for each end, whatever else goes wrong
CREATE UNIQUE INDEX webhook_delivery_once ON shoal.webhook_delivery (webhook_id, seq) WHERE seq IS NOT NULL;

-- ---------------------------------------------------------------------- what is said

CREATE FUNCTION shoal.state_word(p_state int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT (ARRAY['scheduled', 'queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired'])[p_state + 1]
$$;

CREATE FUNCTION shoal.json_text(p_value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT coalesce(to_json(p_value)::text, 'null')
$$;

CREATE FUNCTION shoal.json_time(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT coalesce('"' || shoal.time_text(p_at) || '"', 'null')
$$;

-- The task as GET /v1/tasks/{id} shows it (src/api/task_json.c: who changes one changes the other), as it ended in
-- p_state, also if it was taken up again since.  The payload only if it is asked for, and a result of more than 64 KiB is
-- left out, which "result_omitted" says.  Of a task that is gone: its id and how it ended.
CREATE FUNCTION shoal.webhook_task(p_app int, p_id uuid, p_state int, p_payload boolean) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	t shoal.task;
	worker text;
	long boolean;
BEGIN
	SELECT x.* INTO t FROM shoal.task x WHERE x.app_id = p_app AND x.id = p_id;
	IF NOT FOUND THEN
		RETURN '{"id":"' || p_id || '","state":"' || shoal.state_word(p_state) || '"}';
	END IF;
	long := coalesce(octet_length(t.result) > 65536, false);
	worker := translate(t.owner::text, '-', '');
	worker := CASE WHEN substr(worker, 13, 4) = 'ffff' THEN 'lease'
		ELSE substr(worker, 1, 12) || '-' || ('x' || substr(worker, 13, 4))::bit(16)::int END;
	RETURN '{"id":"' || t.id
		|| '","type":' || shoal.json_text((SELECT y.name FROM shoal.task_type y WHERE y.id = t.type_id))
		|| ',"queue":' || shoal.json_text((SELECT q.name FROM shoal.queue q WHERE q.id = t.queue_id))
		|| ',"state":"' || shoal.state_word(p_state) || '","priority":' || t.priority
		|| CASE WHEN p_payload THEN ',"payload":' || coalesce(t.payload, 'null') ELSE '' END
		|| ',"result":' || CASE WHEN long THEN 'null,"result_omitted":true' ELSE coalesce(t.result, 'null') END
		|| ',"error":' || CASE WHEN t.error_code IS NULL THEN 'null' ELSE '{"code":' || shoal.json_text(t.error_code)
			|| ',"message":' || shoal.json_text(coalesce(t.error_message, '')) || '}' END
		|| ',"attempt":' || t.attempt || ',"max_attempts":' || t.max_attempts || ',"failures":' || t.failures
		|| ',"progress":' || coalesce(shoal.progress_of(p_app, p_id), 'null')
		|| ',"metadata":' || coalesce(t.metadata, 'null')
		|| ',"group":' || shoal.json_text(t.group_id::text)
		|| ',"waits_for":' || coalesce(t.waits_for, 0)
		|| ',"concurrency_key":' || shoal.json_text(t.concurrency_key)
		|| ',"deadline":' || shoal.json_time(t.deadline)
		|| ',"created_at":' || shoal.json_time(shoal.made_at(t.id))
		|| ',"run_at":' || shoal.json_time(t.run_at)
		|| ',"started_at":' || shoal.json_time(t.started_at)
		|| ',"finished_at":' || shoal.json_time(t.finished_at)
		|| ',"worker":' || shoal.json_text(worker) || '}';
END $$;

-- ---------------------------------------------------------------------- deliveries

-- A delivery, and the task that makes it; p_message NULL: it is the first of its end.  Ten attempts, over three days.
CREATE FUNCTION shoal.make_delivery(w shoal.webhook, p_message uuid, p_task uuid, p_state int, p_seq bigint,
	p_type text, p_at timestamptz, p_data text, p_aging_ms int, OUT id uuid, OUT message uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	place shoal.webhook_place;
BEGIN
	id := shoal.uuid_v7();
	message := coalesce(p_message, id);
	SELECT x.* INTO STRICT place FROM shoal.webhook_place x WHERE x.app_id = w.app_id;
	INSERT INTO shoal.webhook_delivery (app_id, id, webhook_id, message_id, task_id, state, seq)
	VALUES (w.app_id, make_delivery.id, w.id, make_delivery.message, p_task, p_state, p_seq);
	PERFORM m.id FROM shoal.make_task(w.app_id, ('{"id":"' || make_delivery.id || '","type_id":' || place.type_id
		|| ',"queue_id":' || place.queue_id || ',"max_attempts":10'
		|| ',"backoff":[5,300,1800,7200,18000,36000,50400,72000,86400]'
		|| ',"metadata":{"webhook":' || shoal.json_text(w.name) || ',"task":' || shoal.json_text(p_task::text) || '}'
		|| ',"payload":{"endpoint":' || shoal.json_text(w.endpoint) || ',"id":"' || make_delivery.message
		|| '","body":{"type":"' || p_type || '","timestamp":' || shoal.json_time(p_at) || ',"data":' || p_data
		|| '}}}')::json, p_aging_ms) m;
END $$;

-- ---------------------------------------------------------------------- the API

-- outcome: 0 made, 1 replaced, 2 the application has p_most, 3 there is no such endpoint.  54000: too many queues.
-- Events of kind 22 and 23: src/model/event.h.
-- One that was disabled is enabled again, and is told of ends from now on; what failed before counts no more.
CREATE FUNCTION shoal.put_webhook(p_app int, p_name text, p_endpoint text, p_states smallint[], p_types text[],
	p_queues text[], p_payload boolean, p_most int, p_name_limit int, p_by text) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
	now_xmin bigint;
	now_xmax bigint;
	queue int;
	type int;
	replaced boolean;
BEGIN
	PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('w', p_app, '')]);
	-- before the webhook, as whoever settles does
	PERFORM 1 FROM shoal.webhook_place p WHERE p.app_id = p_app FOR UPDATE;
	IF NOT EXISTS (SELECT 1 FROM shoal.endpoint e WHERE e.app_id = p_app AND e.name = p_endpoint) THEN
		RETURN 3;
	END IF;
	replaced := EXISTS (SELECT 1 FROM shoal.webhook w WHERE w.app_id = p_app AND w.name = p_name);
	IF NOT replaced AND (SELECT count(*) FROM shoal.webhook w WHERE w.app_id = p_app) >= p_most THEN
		RETURN 2;
	END IF;
	SELECT txid_snapshot_xmin(s.now), txid_snapshot_xmax(s.now) INTO now_xmin, now_xmax
	  FROM (SELECT txid_current_snapshot() AS now) s;
	IF NOT EXISTS (SELECT 1 FROM shoal.webhook_place p WHERE p.app_id = p_app) THEN
		SELECT n.id INTO STRICT queue
		  FROM shoal.names_of(p_app, ARRAY['shoal.webhooks'], '{}', p_name_limit) n;
		SELECT n.id INTO STRICT type FROM shoal.names_of(NULL, '{}', ARRAY['shoal.webhook'], p_name_limit) n;
		INSERT INTO shoal.webhook_place (app_id, xid, seq, queue_id, type_id)
		VALUES (p_app, now_xmin, 0, queue, type);
	END IF;
	UPDATE shoal.watched w SET until = 'infinity' WHERE w.app_id = p_app;
	IF NOT FOUND THEN
		BEGIN
			INSERT INTO shoal.watched (app_id, until) VALUES (p_app, 'infinity');
		EXCEPTION WHEN unique_violation THEN
			UPDATE shoal.watched w SET until = 'infinity' WHERE w.app_id = p_app;
		END;
	END IF;
	IF replaced THEN
		UPDATE shoal.webhook w
		   SET endpoint = p_endpoint, states = p_states, types = p_types, queues = p_queues,
		       with_payload = p_payload, updated_at = clock_timestamp(),
		       from_xid = CASE WHEN w.disabled_at IS NULL THEN w.from_xid ELSE now_xmax END,
		       failing_since = NULL, disabled_at = NULL, disabled_why = NULL
		 WHERE w.app_id = p_app AND w.name = p_name;
	ELSE
		INSERT INTO shoal.webhook (app_id, name, endpoint, states, types, queues, with_payload, from_xid)
		VALUES (p_app, p_name, p_endpoint, p_states, p_types, p_queues, p_payload, now_xmax);
	END IF;
	PERFORM shoal.add_event(p_app, NULL, 22, NULL, NULL, NULL, NULL, NULL,
		json_build_object('webhook', p_name, 'by', p_by, 'endpoint', p_endpoint)::text);
	RETURN replaced::int;
END $$;

-- Was there one?  Its deliveries are tried on; without any webhook the application's events are left alone.
CREATE FUNCTION shoal.delete_webhook(p_app int, p_name text, p_by text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('w', p_app, '')]);
	-- before the webhook, as whoever settles does
	PERFORM 1 FROM shoal.webhook_place p WHERE p.app_id = p_app FOR UPDATE;
	DELETE FROM shoal.webhook w WHERE w.app_id = p_app AND w.name = p_name;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF NOT EXISTS (SELECT 1 FROM shoal.webhook w WHERE w.app_id = p_app) THEN
		DELETE FROM shoal.webhook_place p WHERE p.app_id = p_app;
		-- who follows its events says so again each hour
		UPDATE shoal.watched w SET until = now() + interval '7 days' WHERE w.app_id = p_app;
	END IF;
	PERFORM shoal.add_event(p_app, NULL, 22, NULL, NULL, NULL, NULL, NULL,
		json_build_object('webhook', p_name, 'by', p_by, 'deleted', true)::text);
	RETURN true;
END $$;

-- The end of a task once more, with the webhook-id that it had.  outcome: 0 made, 1 no such webhook, 2 it is disabled,
-- 3 no such task, 4 it has not ended.
CREATE FUNCTION shoal.resend_webhook(p_app int, p_name text, p_task uuid, p_aging_ms int,
	OUT outcome int, OUT id uuid, OUT message uuid)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
	w shoal.webhook;
	t record;
	before uuid;
BEGIN
	outcome := 1;
	SELECT x.* INTO w FROM shoal.webhook x WHERE x.app_id = p_app AND x.name = p_name FOR SHARE;
	IF NOT FOUND THEN
		RETURN;
	ELSIF w.disabled_at IS NOT NULL THEN
		outcome := 2;
		RETURN;
	END IF;
	SELECT x.state, x.finished_at INTO t FROM shoal.task x WHERE x.app_id = p_app AND x.id = p_task;
	IF NOT FOUND OR t.state < 3 THEN
		outcome := CASE WHEN FOUND THEN 4 ELSE 3 END;
		RETURN;
	END IF;
	before := (SELECT d.message_id FROM shoal.webhook_delivery d
	            WHERE d.webhook_id = w.id AND d.task_id = p_task AND d.state = t.state ORDER BY d.id DESC LIMIT 1);
	outcome := 0;
	SELECT d.id, d.message INTO resend_webhook.id, resend_webhook.message
	  FROM shoal.make_delivery(w, before, p_task, t.state, NULL, 'task.' || shoal.state_word(t.state),
		t.finished_at, shoal.webhook_task(p_app, p_task, t.state, w.with_payload), p_aging_ms) d;
END $$;

-- A request that tells of nothing, also while it is disabled; NULL: there is no such webhook
CREATE FUNCTION shoal.test_webhook(p_app int, p_name text, p_aging_ms int) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	w shoal.webhook;
BEGIN
	SELECT x.* INTO w FROM shoal.webhook x WHERE x.app_id = p_app AND x.name = p_name FOR SHARE;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	RETURN (SELECT d.id FROM shoal.make_delivery(w, NULL, NULL, NULL, NULL, 'ping', clock_timestamp(),
		'{"webhook":' || shoal.json_text(w.name) || '}', p_aging_ms) d);
END $$;

-- Deliveries of a webhook, the newest first, before p_before (NULL: from the last on).  The first row has no id and says
-- that there is such a webhook.
CREATE FUNCTION shoal.webhook_deliveries(p_app int, p_name text, p_before uuid, p_most int)
RETURNS TABLE (id uuid, message_id uuid, task_id uuid, told smallint, state smallint, attempt int,
	max_attempts int, code text, message text, made_at timestamptz, next_at timestamptz,
	finished_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	hook int := (SELECT w.id FROM shoal.webhook w WHERE w.app_id = p_app AND w.name = p_name);
BEGIN
	IF hook IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT NULL::uuid, NULL::uuid, NULL::uuid, NULL::smallint, NULL::smallint, NULL::int, NULL::int,
		NULL::text, NULL::text, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz;
	RETURN QUERY
	SELECT d.id, d.message_id, d.task_id, d.state, r.state, r.attempt, r.max_attempts::int, r.error_code,
	       r.error_message, d.made_at, CASE WHEN r.state = 0 THEN r.due_at END, r.finished_at
	  FROM (SELECT x.* FROM shoal.webhook_delivery x
		 WHERE x.webhook_id = hook
		   AND x.id < coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
		 ORDER BY x.webhook_id DESC, x.id DESC LIMIT p_most) d, LATERAL (
		SELECT t.state, t.attempt, t.max_attempts, t.error_code, t.error_message, t.due_at, t.finished_at
		  FROM shoal.task t WHERE t.app_id = d.app_id AND t.id = d.id OFFSET 0) r
	 ORDER BY d.id DESC;
END $$;

-- ---------------------------------------------------------------------- settling

-- An attempt of a delivery has ended as this event tells: what that means for its webhook.  Deliveries that were made
-- before it was last set say nothing of how it is now.  True: it is disabled by this.
CREATE FUNCTION shoal.webhook_heard(p_hook int, p_made timestamptz, p_worked boolean, p_at timestamptz, p_code text,
	p_message text, p_patience_ms bigint, OUT webhook text, OUT why text)
LANGUAGE plpgsql AS $$
DECLARE
	w shoal.webhook;
BEGIN
	SELECT x.* INTO w FROM shoal.webhook x WHERE x.id = p_hook AND x.updated_at <= p_made FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	ELSIF p_worked THEN
		UPDATE shoal.webhook x SET worked_at = p_at, failing_since = NULL WHERE x.id = p_hook;
		RETURN;
	END IF;
	IF w.disabled_at IS NULL AND p_code = 'http_410' THEN
		why := 'its endpoint answered 410: it is gone for good';
	ELSIF w.disabled_at IS NULL AND p_at - w.failing_since >= p_patience_ms * interval '1 millisecond' THEN
		why := 'no delivery has succeeded since ' || shoal.time_text(w.failing_since);
	END IF;
	UPDATE shoal.webhook x
	   SET failed_at = p_at, failing_since = coalesce(x.failing_since, p_at),
	       last_error = left(p_code || coalesce(': ' || p_message, ''), 500),
	       disabled_at = CASE WHEN why IS NULL THEN x.disabled_at ELSE clock_timestamp() END,
	       disabled_why = coalesce(why, x.disabled_why)
	 WHERE x.id = p_hook;
	IF why IS NOT NULL THEN
		webhook := w.name;
		PERFORM shoal.add_event(w.app_id, NULL, 23, NULL, NULL, NULL, p_code, why,
			json_build_object('webhook', w.name, 'endpoint', w.endpoint)::text);
	END IF;
END $$;

-- The next p_look events of the first application behind p_app that has any, as far as no open transaction may still put
-- one between them.  First a row for the application: how many deliveries were made, and whether there may be more events;
-- then one for each webhook that was disabled.  made -1: nothing was done, and why says why.  No row: there is no such
-- application.
CREATE FUNCTION shoal.settle_webhooks(p_app int, p_look int, p_aging_ms int, p_patience_ms bigint)
RETURNS TABLE (app_id int, made int, more boolean, webhook text, why text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
	horizon bigint := txid_snapshot_xmin(txid_current_snapshot());
	app int;
	place shoal.webhook_place;
	e record;
	w shoal.webhook;
	d record;
	h record;
	type_name text;
	queue_name text;
	looked int := 0;
	deliveries int := 0;
	names text[] := '{}';
	reasons text[] := '{}';
BEGIN
	-- a restored database counts its transactions anew
	UPDATE shoal.webhook_place p SET xid = horizon, seq = 0
	 WHERE p.xid > txid_snapshot_xmax(txid_current_snapshot());
	SELECT p.app_id INTO app FROM shoal.webhook_place p
	 WHERE p.app_id > p_app AND EXISTS (
		SELECT 1 FROM (SELECT x.xid FROM shoal.event x
			        WHERE x.app_id = p.app_id AND (x.xid, x.seq) > (p.xid, p.seq)
			        ORDER BY x.app_id, x.xid, x.seq LIMIT 1) n
		 WHERE n.xid < horizon)
	 ORDER BY p.app_id LIMIT 1;
	IF app IS NULL THEN
		RETURN;
	END IF;
	BEGIN
		-- two leaders: one waits here for the other, and goes on behind it
		SELECT p.* INTO place FROM shoal.webhook_place p WHERE p.app_id = app FOR UPDATE;
		IF NOT FOUND THEN
			RETURN QUERY SELECT app, 0, false, NULL::text, NULL::text;
			RETURN;
		END IF;
		FOR e IN SELECT n.xid, n.seq, n.task_id, n.at, n.kind, n.state, n.code, n.message, r.type_id, r.queue_id
		           FROM (SELECT x.* FROM shoal.event x
				  WHERE x.app_id = app AND (x.xid, x.seq) > (place.xid, place.seq) AND x.xid < horizon
				  ORDER BY x.app_id, x.xid, x.seq LIMIT p_look) n
		           LEFT JOIN LATERAL (
				SELECT t.type_id, t.queue_id FROM shoal.task t
				 WHERE t.app_id = app AND t.id = n.task_id AND n.kind IN (3, 4, 5, 8, 9) OFFSET 0) r ON true
		          ORDER BY n.xid, n.seq LOOP
			looked := looked + 1;
			place.xid := e.xid;
			place.seq := e.seq;
			CONTINUE WHEN e.kind NOT IN (3, 4, 5, 8, 9) OR e.task_id IS NULL;
			IF e.type_id = place.type_id OR e.type_id IS NULL THEN
				-- a delivery: nobody is told of its end
				SELECT x.webhook_id, x.made_at INTO d FROM shoal.webhook_delivery x
				 WHERE x.app_id = app AND x.id = e.task_id;
				IF FOUND AND e.kind IN (3, 4, 5) THEN
					SELECT * INTO h FROM shoal.webhook_heard(d.webhook_id, d.made_at, e.kind = 3, e.at, e.code,
						e.message, p_patience_ms);
					IF h.webhook IS NOT NULL THEN
						names := names || h.webhook;
						reasons := reasons || h.why;
					END IF;
				END IF;
				CONTINUE WHEN FOUND OR e.type_id IS NOT NULL;
			END IF;
			CONTINUE WHEN e.kind = 4;
			type_name := (SELECT y.name FROM shoal.task_type y WHERE y.id = e.type_id);
			queue_name := (SELECT q.name FROM shoal.queue q WHERE q.id = e.queue_id);
			FOR w IN SELECT x.* FROM shoal.webhook x
			          WHERE x.app_id = app AND x.disabled_at IS NULL AND x.from_xid <= e.xid
			            AND e.state = ANY (x.states)
			            AND (x.types IS NULL OR type_name = ANY (x.types))
			            AND (x.queues IS NULL OR queue_name = ANY (x.queues))
			            AND NOT EXISTS (SELECT 1 FROM shoal.webhook_delivery o
						WHERE o.webhook_id = x.id AND o.seq = e.seq) ORDER BY x.id LOOP
				PERFORM m.id FROM shoal.make_delivery(w, NULL, e.task_id, e.state, e.seq,
					'task.' || shoal.state_word(e.state), e.at,
					shoal.webhook_task(app, e.task_id, e.state, w.with_payload), p_aging_ms) m;
				deliveries := deliveries + 1;
			END LOOP;
			IF e.type_id IS NULL THEN
				-- deleted by hand before this: its events waited for us (delete_tasks)
				DELETE FROM shoal.event x WHERE x.ctid = ANY (ARRAY(
					SELECT y.ctid FROM shoal.event y
					 WHERE y.app_id = app AND y.task_id = e.task_id AND y.seq <= e.seq ORDER BY y.seq));
			END IF;
		END LOOP;
		UPDATE shoal.webhook_place p SET xid = place.xid, seq = place.seq WHERE p.app_id = app;
		RETURN QUERY SELECT app, deliveries, looked = p_look, NULL::text, NULL::text;
		RETURN QUERY SELECT app, 0, false, u.name, u.why FROM unnest(names, reasons) AS u (name, why);
	EXCEPTION WHEN OTHERS THEN
		-- an application whose data cannot be taken must not hold up the others
		IF substr(SQLSTATE, 1, 2) NOT IN ('22', '23', '54') THEN
			RAISE;
		END IF;
		RETURN QUERY SELECT app, -1, false, NULL::text, SQLSTATE || ' ' || SQLERRM;
	END;
END $$;

-- Removes deliveries whose task is gone, among the p_look behind (p_app, p_id); where the walk stands, NULL at its end.
CREATE FUNCTION shoal.prune_deliveries(p_app int, p_id uuid, p_look int,
	OUT app_id int, OUT id uuid, OUT removed int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
	apps int[];
	ids uuid[];
	gone tid[];
	n int;
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true);
	SELECT array_agg(x.app_id), array_agg(x.id), array_agg(x.place) FILTER (WHERE x.gone)
	  INTO apps, ids, gone
	  FROM (SELECT r.app_id, r.id, r.place, NOT EXISTS (SELECT 1 FROM shoal.task t
			WHERE t.app_id = r.app_id AND t.id = r.id) AS gone
		  FROM (SELECT k.app_id, k.id, k.ctid AS place FROM shoal.webhook_delivery k
			 WHERE (k.app_id, k.id) > (p_app, p_id) ORDER BY k.app_id, k.id LIMIT p_look) r) x;
	n := coalesce(array_length(ids, 1), 0);
	removed := 0;
	IF gone IS NOT NULL THEN
		DELETE FROM shoal.webhook_delivery r WHERE r.ctid = ANY (gone);
		GET DIAGNOSTICS removed = ROW_COUNT;
	END IF;
	IF n = p_look THEN
		app_id := apps[n];
		id := ids[n];
	END IF;
END $$;

-- ---------------------------------------------------------------------- what others do

-- Removes those of p_ids that are in one of p_states and have ended, with their events, but for those that webhooks have
-- not been settled for: settle_webhooks removes them.
CREATE FUNCTION shoal.delete_tasks(p_app int, p_ids uuid[], p_states smallint[])
RETURNS TABLE (id uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	places tid[];
	ids uuid[];
	settled shoal.webhook_place;
BEGIN
	SELECT p.* INTO settled FROM shoal.webhook_place p WHERE p.app_id = p_app;
	LOOP
		places := ARRAY(SELECT r.place FROM unnest(p_ids) AS u (id), LATERAL (
			SELECT t.ctid AS place FROM shoal.task t
			 WHERE t.app_id = p_app AND t.id = u.id AND t.state = ANY (p_states) AND t.state >= 3
			OFFSET 0) r);
		EXIT WHEN places = '{}';
		WITH gone AS (
			DELETE FROM shoal.task t
			 WHERE t.ctid = ANY (places) AND t.state = ANY (p_states) AND t.state >= 3
			RETURNING t.id)
		SELECT array_agg(g.id) INTO ids FROM gone g;
		CONTINUE WHEN ids IS NULL;
		-- in the order of its index, so that no other is chosen
		DELETE FROM shoal.event e WHERE e.ctid = ANY (ARRAY(
			SELECT r.place FROM unnest(ids) AS u (id), LATERAL (
				SELECT x.ctid AS place, x.xid, x.seq FROM shoal.event x
				 WHERE x.app_id = p_app AND x.task_id = u.id ORDER BY x.seq OFFSET 0) r
			 WHERE settled.app_id IS NULL OR (r.xid, r.seq) <= (settled.xid, settled.seq)));
		DELETE FROM shoal.task_report e WHERE e.ctid = ANY (ARRAY(
			SELECT r.place FROM unnest(ids) AS u (id), LATERAL (
				SELECT x.ctid AS place FROM shoal.task_report x
				 WHERE x.app_id = p_app AND x.id = u.id OFFSET 0) r));
		RETURN QUERY SELECT u.id FROM unnest(ids) AS u (id);
		EXIT WHEN array_length(ids, 1) = array_length(places, 1);
	END LOOP;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
