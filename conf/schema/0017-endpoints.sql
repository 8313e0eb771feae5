-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0017-endpoints: where applications want to be called, and types of theirs that run there.
--
-- Secrets lie here sealed (lib/base/seal.h), bound to application and name; the keys are in a file on the nodes.
--
-- Tasks of an application's http type are in no list of Redis: a type's number may belong to several applications,
-- each with a handler of its own, and the lists know numbers only.  Any worker claims them straight from here, by
-- claim_endpoints: at a hint, and each second.  They are run under its incarnation, as all that a node runs.

CREATE TABLE shoal.endpoint (
	app_id          int NOT NULL REFERENCES shoal.application (id) ON DELETE CASCADE,
	name            text NOT NULL,
	url             text NOT NULL,
	headers         text,           -- JSON, an object of strings; NULL: none
	timeout_ms      int,            -- NULL: the type's
	secret          text NOT NULL,  -- sealed
	old_secret      text,           -- the one before, which signs too until old_until
	old_until       timestamptz,
	disabled_at     timestamptz,    -- NULL: it is in use
	disabled_reason text,
	version         bigint NOT NULL, -- grows with each change, over all endpoints
	created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (app_id, name)
);
CREATE SEQUENCE shoal.endpoint_version;

-- kind 21: src/model/event.h
CREATE FUNCTION shoal.endpoint_event(p_app int, p_name text, p_what text, p_by text, p_reason text) RETURNS void
LANGUAGE sql AS $$
	SELECT shoal.add_event(p_app, NULL, 21, NULL, NULL, NULL, NULL, p_reason,
		json_build_object('endpoint', p_name, 'change', p_what, 'by', p_by)::text)
$$;

-- 0 made, 1 changed, 2 there are p_most of the application already, 3 there is none of that name and no URL was given.
-- p_given says what is set: 1 URL, 2 headers, 4 timeout, 8 disabled.  The secret is for one that is made.
CREATE FUNCTION shoal.put_endpoint(p_app int, p_name text, p_by text, p_most int, p_given int, p_url text,
	p_headers text, p_timeout_ms int, p_disabled boolean, p_reason text, p_secret text)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	old shoal.endpoint;
BEGIN
	-- one at a time for each application: neither the name nor the count can be raced for
	PERFORM 1 FROM shoal.application a WHERE a.id = p_app FOR NO KEY UPDATE;
	SELECT * INTO old FROM shoal.endpoint e WHERE e.app_id = p_app AND e.name = p_name FOR UPDATE;
	IF FOUND THEN
		UPDATE shoal.endpoint e
		   SET url = CASE WHEN p_given & 1 <> 0 THEN p_url ELSE e.url END,
		       headers = CASE WHEN p_given & 2 <> 0 THEN p_headers ELSE e.headers END,
		       timeout_ms = CASE WHEN p_given & 4 <> 0 THEN p_timeout_ms ELSE e.timeout_ms END,
		       disabled_at = CASE WHEN p_given & 8 = 0 THEN e.disabled_at
		                          WHEN p_disabled THEN coalesce(e.disabled_at, clock_timestamp()) END,
		       disabled_reason = CASE WHEN p_given & 8 = 0 THEN e.disabled_reason
		                              WHEN p_disabled THEN p_reason END,
		       version = nextval('shoal.endpoint_version'), updated_at = clock_timestamp()
		 WHERE e.app_id = p_app AND e.name = p_name;
		PERFORM shoal.endpoint_event(p_app, p_name,
			CASE WHEN p_given & 8 = 0 OR p_disabled = (old.disabled_at IS NOT NULL) THEN 'changed'
			     WHEN p_disabled THEN 'disabled' ELSE 'enabled' END,
			p_by, CASE WHEN p_given & 8 <> 0 AND p_disabled THEN p_reason END);
		RETURN 1;
	END IF;
	IF p_given & 1 = 0 THEN
		RETURN 3;
	END IF;
	IF (SELECT count(*) FROM shoal.endpoint e WHERE e.app_id = p_app) >= p_most THEN
		RETURN 2;
	END IF;
	INSERT INTO shoal.endpoint (app_id, name, url, headers, timeout_ms, secret, disabled_at, disabled_reason,
		version)
	VALUES (p_app, p_name, p_url, p_headers, p_timeout_ms, p_secret,
		CASE WHEN p_disabled THEN clock_timestamp() END, CASE WHEN p_disabled THEN p_reason END,
		nextval('shoal.endpoint_version'));
	PERFORM shoal.endpoint_event(p_app, p_name, 'created', p_by, NULL);
	RETURN 0;
END $$;

-- true if there is one.  The secret before it signs too for so long; one that was before that signs no more.
CREATE FUNCTION shoal.rotate_endpoint(p_app int, p_name text, p_by text, p_secret text, p_overlap_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shoal.endpoint e
	   SET secret = p_secret, old_secret = CASE WHEN p_overlap_ms > 0 THEN e.secret END,
	       old_until = CASE WHEN p_overlap_ms > 0
	                        THEN clock_timestamp() + p_overlap_ms * interval '1 millisecond' END,
	       version = nextval('shoal.endpoint_version'), updated_at = clock_timestamp()
	 WHERE e.app_id = p_app AND e.name = p_name;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM shoal.endpoint_event(p_app, p_name, 'rotated', p_by, NULL);
	RETURN true;
END $$;

-- 0 deleted, 1 there is none, 2 types of the application run there, 3 webhooks go there
CREATE FUNCTION shoal.delete_endpoint(p_app int, p_name text, p_by text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	-- as shoal.put_webhook does, so that none is made meanwhile
	PERFORM shoal.lock_keys(ARRAY[shoal.lock_name('w', p_app, '')]);
	PERFORM 1 FROM shoal.application a WHERE a.id = p_app FOR NO KEY UPDATE;
	IF EXISTS (SELECT 1 FROM shoal.app_type t
		    WHERE t.app_id = p_app AND t.handler = 3 AND t.config::json ->> 'endpoint' = p_name) THEN
		RETURN 2;
	ELSIF EXISTS (SELECT 1 FROM shoal.webhook w WHERE w.app_id = p_app AND w.endpoint = p_name) THEN
		RETURN 3;
	END IF;
	DELETE FROM shoal.endpoint e WHERE e.app_id = p_app AND e.name = p_name;
	IF NOT FOUND THEN
		RETURN 1;
	END IF;
	PERFORM shoal.endpoint_event(p_app, p_name, 'deleted', p_by, NULL);
	RETURN 0;
END $$;

-- It said that it is gone, to whom knew it as p_version: one that was changed since then stays.  True: disabled now.
CREATE FUNCTION shoal.disable_endpoint(p_app int, p_name text, p_version bigint, p_reason text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shoal.endpoint e
	   SET disabled_at = clock_timestamp(), disabled_reason = p_reason,
	       version = nextval('shoal.endpoint_version'), updated_at = clock_timestamp()
	 WHERE e.app_id = p_app AND e.name = p_name AND e.version = p_version AND e.disabled_at IS NULL;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM shoal.endpoint_event(p_app, p_name, 'disabled', NULL, p_reason);
	RETURN true;
END $$;

-- Secrets that were opened and are sealed anew, of one endpoint; nothing if they were changed meanwhile.
CREATE FUNCTION shoal.reseal_endpoint(p_app int, p_name text, p_was text, p_secret text, p_was_old text,
	p_old_secret text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shoal.endpoint e SET secret = p_secret, old_secret = p_old_secret
	 WHERE e.app_id = p_app AND e.name = p_name AND e.secret = p_was AND e.old_secret IS NOT DISTINCT FROM p_was_old;
	RETURN FOUND;
END $$;

-- ---------------------------------------------------------------------- types that run there

-- As put_type, and 4: the application has no endpoint of that name.
CREATE FUNCTION shoal.put_http_type(p_app int, p_name text, p_limit int, p_most int, p_endpoint text,
	p_timeout_ms int, p_max_attempts int, p_backoff text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM 1 FROM shoal.application a WHERE a.id = p_app FOR NO KEY UPDATE;
	IF NOT EXISTS (SELECT 1 FROM shoal.endpoint e WHERE e.app_id = p_app AND e.name = p_endpoint) THEN
		RETURN 4;
	END IF;
	RETURN shoal.put_type(p_app, p_name, p_limit, p_most, 3, p_timeout_ms, p_max_attempts, p_backoff,
		json_build_object('endpoint', p_endpoint)::text);
END $$;

-- Lanes of types that run at endpoints in use.  p_app: of this application alone.
CREATE FUNCTION shoal.endpoint_types(p_app int)
RETURNS TABLE (app_id int, type_id int, endpoint text, version bigint)
LANGUAGE plpgsql STABLE
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.app_id, a.type_id, e.name, e.version
	  FROM shoal.app_type a
	  JOIN shoal.endpoint e ON e.app_id = a.app_id AND e.name = a.config::json ->> 'endpoint'
	 WHERE a.handler = 3 AND (p_app IS NULL OR a.app_id = p_app) AND e.disabled_at IS NULL
	   AND NOT EXISTS (SELECT 1 FROM shoal.node_type n
			    WHERE n.type_id = a.type_id AND shoal.is_served(n.type_id));
END $$;

-- Claims due tasks of such types for a worker: p_most in all, for each endpoint p_take, or what the three arrays say
-- for it.  Applications come by turns, in the order of order_at within each.  One worker at a time: whoever comes
-- meanwhile gets one row without an application, and comes back.
CREATE FUNCTION shoal.claim_endpoints(p_me uuid, p_batch int, p_app int, p_most int, p_take int, p_apps int[],
	p_endpoints text[], p_takes int[])
RETURNS TABLE (app_id int, id uuid, attempt int, type_id int, queue_id int, failures int,
	max_attempts int, timeout_ms int, payload text, backoff text, deadline timestamptz, trace text,
	run_at timestamptz, type text, endpoint text, version bigint, type_timeout_ms int, type_backoff text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	pools text[];
	queues int[];
	limited int[];
	apps int[];
	ids uuid[];
	types int[];
BEGIN
	IF NOT pg_try_advisory_xact_lock(7293, 1) THEN
		app_id := 0;
		RETURN NEXT;
		RETURN;
	END IF;
	SELECT coalesce(i.pools, '{main}') INTO pools FROM shoal.incarnation i WHERE i.id = p_me AND i.state = 0;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	queues := ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 0);
	limited := ARRAY(SELECT s.ref FROM shoal.limit_state s WHERE s.kind = 1);
	SELECT array_agg(y.app_id ORDER BY y.app_id, y.id), array_agg(y.id ORDER BY y.app_id, y.id),
	       array_agg(y.type_id ORDER BY y.app_id, y.id)
	  INTO apps, ids, types
	  FROM (SELECT x.app_id, x.id, x.type_id
		  FROM (SELECT l.app_id, r.id, l.type_id, r.order_at, l.take,
			       row_number() OVER (PARTITION BY l.app_id, l.endpoint ORDER BY r.order_at) AS place,
			       row_number() OVER (PARTITION BY l.app_id ORDER BY r.order_at) AS turn
			  FROM (SELECT k.app_id, k.type_id, k.endpoint, q.id AS queue_id,
				       coalesce(o.take, p_take) AS take,
				       CASE WHEN q.id = ANY (queues) OR k.type_id = ANY (limited)
				            THEN shoal.lane_room(q.id, k.type_id) END AS room
				  FROM shoal.endpoint_types(p_app) k
				  LEFT JOIN unnest(p_apps, p_endpoints, p_takes) AS o (app_id, endpoint, take)
				    ON o.app_id = k.app_id AND o.endpoint = k.endpoint
				  JOIN shoal.queue q ON q.app_id = k.app_id AND NOT q.paused
				   AND coalesce(q.pool, 'main') = ANY (pools)
				 WHERE coalesce(o.take, p_take) > 0 OFFSET 0) l, LATERAL (
				SELECT t.id, t.order_at FROM shoal.task t
				 WHERE t.queue_id = l.queue_id AND t.type_id = l.type_id
				   AND t.order_at IS NOT NULL AND t.state = 1
				   AND (t.deadline IS NULL OR t.deadline > now())
				 ORDER BY t.order_at LIMIT least(l.take, l.room, p_most)) r) x
		 WHERE x.place <= x.take
		 ORDER BY x.turn, x.order_at LIMIT p_most) y;
	IF ids IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT c.*, (SELECT n.name FROM shoal.task_type n WHERE n.id = c.type_id), e.name, e.version, a.timeout_ms,
	       a.backoff
	  FROM shoal.claim_tasks(p_me, p_batch, apps, ids, types) c
	  JOIN shoal.app_type a ON a.app_id = c.app_id AND a.type_id = c.type_id
	  JOIN shoal.endpoint e ON e.app_id = c.app_id AND e.name = a.config::json ->> 'endpoint';
END $$;

-- what why_task does not know: the endpoint that the task's type runs at, and since when and why that is disabled;
-- no row: its type is none of these
CREATE FUNCTION shoal.why_endpoint(p_app int, p_id uuid)
RETURNS TABLE (endpoint text, disabled_at timestamptz, reason text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT e.name, e.disabled_at, e.disabled_reason
	  FROM shoal.task t
	  JOIN shoal.app_type a ON a.app_id = t.app_id AND a.type_id = t.type_id AND a.handler = 3
	  JOIN shoal.endpoint e ON e.app_id = a.app_id AND e.name = a.config::json ->> 'endpoint'
	 WHERE t.app_id = p_app AND t.id = p_id
	   AND NOT EXISTS (SELECT 1 FROM shoal.node_type n
			    WHERE n.type_id = t.type_id AND shoal.is_served(n.type_id));
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
