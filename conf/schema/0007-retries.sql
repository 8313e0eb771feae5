-- SPDX-License-Identifier: BSD-2-Clause
--
-- 0007-retries: what becomes of a task after an attempt: again, later, or never; deadlines; poison.
--
-- PostgreSQL decides, by the row and by its own clock, whether what a worker asks for may be: a retry that would
-- begin too late is a failure, and a task that somebody wants cancelled is not tried again.  The state
-- that a function returns is the one that was decided.
--
-- Attempts that did not succeed leave an event each.  detail: duration_ms; next_at of a retry; why of a failure:
-- max_attempts, permanent, retry_until or deadline.

-- How often a worker crashed by itself while it ran this task; NULL: never.  Two make it a suspect, which
-- workers run alone (src/engine/suspect.c); a crash while nothing ran beside it is proof (shoal.is_poison).
ALTER TABLE shoal.task ADD COLUMN crashes smallint;

ALTER TABLE shoal.incarnation ADD COLUMN crashed_at timestamptz;

-- a time as it is written in JSON
CREATE FUNCTION shoal.time_text(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- ---------------------------------------------------------------------- finish

-- A server that looks again at a row which was changed meanwhile may find it at another place than was listed: that is
-- for the next round, since what belongs to a row is found by its place.
--
-- special: what of the task concerns others, so that the leader looks at once.
--
-- p_states: 3 succeeded, 4 failed, 5 cancelled, 0 retry after p_delays ms, 1 given back at no cost; NULL: all
-- succeeded, and have no result.  An attempt that is given back without a code never began, and is not told of.
DROP FUNCTION shoal.finish_tasks(uuid, int[], uuid[], int[], int[], smallint[], bigint[], text[], text[], text[], int[]);

CREATE FUNCTION shoal.finish_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[],
	p_claims int[], p_states smallint[], p_delays bigint[], p_results text[], p_codes text[],
	p_messages text[], p_done int[])
RETURNS TABLE (app_id int, id uuid, state smallint, waiter uuid, special int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	places tid[];
	spots int[];
	n int;
	bad boolean := coalesce(p_states && '{0,1,4,5}'::smallint[], false);
BEGIN
	LOOP
		SELECT array_agg(r.place), array_agg(u.spot::int) INTO places, spots
		  FROM unnest(p_apps, p_ids, p_attempts, p_claims) WITH ORDINALITY
			AS u (app_id, id, attempt, claim, spot), LATERAL (
			SELECT t.ctid AS place FROM shoal.task t
			 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 2
			   AND t.attempt = u.attempt AND t.owner = p_me AND t.claim = u.claim OFFSET 0) r
		 WHERE NOT bad OR p_states[u.spot] = 3;
		EXIT WHEN places IS NULL;
		IF p_states IS NULL THEN
			RETURN QUERY
			UPDATE shoal.task t
			   SET state = 3, finished_at = clock_timestamp(), order_at = NULL, due_at = NULL,
			       expire_at = NULL, result = NULL, error_code = NULL, error_message = NULL
			 WHERE t.ctid = ANY (places) AND t.state = 2 AND t.owner = p_me
			RETURNING t.app_id, t.id, t.state, t.waiter, t.special;
		ELSE
			RETURN QUERY
			UPDATE shoal.task t
			   SET state = 3, finished_at = clock_timestamp(), order_at = NULL, due_at = NULL,
			       expire_at = NULL, error_code = NULL, error_message = NULL,
			       result = p_results[spots[array_position(places, t.ctid)]]
			 WHERE t.ctid = ANY (places) AND t.state = 2 AND t.owner = p_me
			   AND array_position(places, t.ctid) IS NOT NULL
			RETURNING t.app_id, t.id, t.state, t.waiter, t.special;
		END IF;
		GET DIAGNOSTICS n = ROW_COUNT;
		EXIT WHEN n = array_length(places, 1);
	END LOOP;
	IF bad THEN
		RETURN QUERY SELECT * FROM shoal.finish_others(p_me, p_apps, p_ids, p_attempts, p_claims, p_states,
			p_delays, p_results, p_codes, p_messages);
	END IF;
	IF EXISTS (SELECT 1 FROM shoal.watched) THEN
		PERFORM shoal.note_ended(p_apps, p_ids);
	END IF;
	IF p_done IS NOT NULL THEN
		DELETE FROM shoal.claim c WHERE c.owner = p_me AND c.batch = ANY (p_done);
	END IF;
END $$;

-- Those of finish_tasks that did not succeed, one statement for each state that they go to.
CREATE FUNCTION shoal.finish_others(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[], p_claims int[],
	p_states smallint[], p_delays bigint[], p_results text[], p_codes text[], p_messages text[])
RETURNS TABLE (app_id int, id uuid, state smallint, waiter uuid, special int)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	all_places tid[];
	all_spots int[];
	all_states smallint[];
	places tid[];
	spots int[];
	target smallint;
	n int;
	picked int;
BEGIN
	LOOP
		SELECT array_agg(x.place), array_agg(x.k), array_agg(x.target)
		  INTO all_places, all_spots, all_states
		  FROM (SELECT u.spot::int AS k, r.place, (CASE
				WHEN r.cancel_at IS NOT NULL AND p_states[u.spot] < 2 THEN 5
				WHEN p_states[u.spot] = 0 AND (r.deadline <= n.at OR r.retry_until < n.at) THEN 4
				ELSE p_states[u.spot] END)::smallint AS target
			  FROM unnest(p_apps, p_ids, p_attempts, p_claims) WITH ORDINALITY
				AS u (app_id, id, attempt, claim, spot), LATERAL (
				SELECT t.ctid AS place, t.cancel_at, t.deadline, t.retry_until FROM shoal.task t
				 WHERE t.app_id = u.app_id AND t.id = u.id AND t.state = 2
				   AND t.attempt = u.attempt AND t.owner = p_me AND t.claim = u.claim
				OFFSET 0) r, LATERAL (
				SELECT now() + p_delays[u.spot] * interval '1 millisecond' AS at) n
			 WHERE p_states[u.spot] <> 3) x;
		EXIT WHEN all_places IS NULL;
		picked := 0;
		FOREACH target IN ARRAY '{0,1,4,5}'::smallint[] LOOP
			SELECT array_agg(u.place), array_agg(u.k) INTO places, spots
			  FROM unnest(all_places, all_spots, all_states) AS u (place, k, state)
			 WHERE u.state = target;
			CONTINUE WHEN places IS NULL;
			RETURN QUERY
			WITH moved AS (
				UPDATE shoal.task t
				   SET state = target,
				       failures = t.failures + CASE WHEN target IN (0, 4) THEN 1 ELSE 0 END,
				       finished_at = CASE WHEN target >= 3 THEN clock_timestamp() END,
				       order_at = CASE WHEN target = 1 THEN coalesce(t.order_at, t.run_at) END,
				       due_at = CASE WHEN target = 0 THEN now()
						+ p_delays[spots[array_position(places, t.ctid)]]
						* interval '1 millisecond' END,
				       run_at = CASE WHEN target = 0 THEN now()
						+ p_delays[spots[array_position(places, t.ctid)]]
						* interval '1 millisecond' ELSE t.run_at END,
				       expire_at = CASE WHEN target < 2 THEN t.deadline END,
				       owner = CASE WHEN target <> 1 THEN t.owner END,
				       result = p_results[spots[array_position(places, t.ctid)]],
				       error_code = CASE target WHEN 1 THEN t.error_code WHEN 5 THEN 'cancelled'
						ELSE p_codes[spots[array_position(places, t.ctid)]] END,
				       error_message = CASE target WHEN 1 THEN t.error_message
						ELSE p_messages[spots[array_position(places, t.ctid)]] END
				 WHERE t.ctid = ANY (places) AND t.state = 2 AND t.owner = p_me
				   AND array_position(places, t.ctid) IS NOT NULL
				   -- asked for since: the next round finds it
				   AND (target >= 4 OR t.cancel_at IS NULL)
				RETURNING t.app_id, t.id, t.state, t.waiter, t.attempt, t.started_at, t.run_at,
				          t.failures, t.max_attempts, t.deadline, t.error_code, t.error_message,
				          t.special
			), noted AS (
				INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, owner, code,
				                         message, detail)
				SELECT m.app_id, m.id, CASE m.state WHEN 0 THEN 4 WHEN 4 THEN 5 WHEN 1 THEN 6
				       ELSE 8 END, m.state, m.attempt, p_me,
				       CASE WHEN m.state = 1 THEN 'given_back' ELSE m.error_code END,
				       CASE WHEN m.state <> 1 THEN right(m.error_message, 4096) END,
				       '{"duration_ms":' || greatest(0, (date_part('epoch',
					clock_timestamp() - m.started_at) * 1000)::bigint)
				       || CASE m.state
					WHEN 0 THEN ',"next_at":"' || shoal.time_text(m.run_at) || '"'
					WHEN 4 THEN ',"why":"' || CASE
						WHEN m.asked = 0 AND m.deadline <= m.next THEN 'deadline'
						WHEN m.asked = 0 THEN 'retry_until'
						WHEN m.failures >= m.max_attempts THEN 'max_attempts'
						ELSE 'permanent' END || '"'
					ELSE '' END || '}'
				  FROM (SELECT o.*, p_states[o.k] AS asked, p_codes[o.k] AS told,
					       now() + p_delays[o.k] * interval '1 millisecond' AS next
					  FROM (SELECT v.*, array_position(p_ids, v.id) AS k FROM moved v) o) m
				 WHERE m.state <> 1 OR m.told IS NOT NULL
			)
			SELECT v.app_id, v.id, v.state, v.waiter, v.special FROM moved v;
			GET DIAGNOSTICS n = ROW_COUNT;
			picked := picked + n;
		END LOOP;
		EXIT WHEN picked = array_length(all_places, 1);
	END LOOP;
END $$;

-- PostgreSQL 9.4 has no array_position: there these two find this one
DO $$
BEGIN
	IF current_setting('server_version_num')::int < 90500 THEN
		CREATE FUNCTION shoal.array_position(p_array anyarray, p_element anyelement) RETURNS int
		LANGUAGE sql IMMUTABLE AS $f$
			SELECT s.n FROM generate_subscripts($1, 1) AS s (n) WHERE $1[s.n] = $2 ORDER BY s.n LIMIT 1
		$f$;
		ALTER FUNCTION shoal.finish_tasks(uuid, int[], uuid[], int[], int[], smallint[], bigint[], text[],
			text[], text[], int[]) SET search_path = shoal, pg_catalog;
		ALTER FUNCTION shoal.finish_others(uuid, int[], uuid[], int[], int[], smallint[], bigint[], text[],
			text[], text[]) SET search_path = shoal, pg_catalog;
	END IF;
END $$;

DROP FUNCTION shoal.finished_tasks(uuid, int[], uuid[], int[], int[]);

CREATE FUNCTION shoal.finished_tasks(p_me uuid, p_apps int[], p_ids uuid[], p_attempts int[],
	p_claims int[])
RETURNS TABLE (app_id int, id uuid, state smallint, waiter uuid, special int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.state, r.waiter, r.special
	  FROM unnest(p_apps, p_ids, p_attempts, p_claims) AS u (app_id, id, attempt, claim), LATERAL (
		SELECT t.app_id, t.id, t.state, t.waiter, t.special FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id
		   AND t.state <> 2 AND t.attempt = u.attempt AND t.owner = p_me AND t.claim = u.claim
		OFFSET 0) r;
END $$;

-- ---------------------------------------------------------------------- recover

-- A suspect was all that its worker held when that crashed: is this proof?  It is, unless the worker got a KILL.
-- That comes from outside as often as not: from the kernel when a task takes all memory, and from people and
-- machines that kill workers, whatever they run.  So it has to have been there in five crashes, and no other
-- worker has crashed without it meanwhile; or in twenty.
CREATE FUNCTION shoal.is_poison(p_app int, p_id uuid, p_owner uuid, p_killed boolean, p_crashes int)
RETURNS boolean LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	owners uuid[];
	since timestamptz;
BEGIN
	IF NOT p_killed OR p_crashes >= 20 THEN
		RETURN true;
	END IF;
	owners := ARRAY(SELECT e.owner FROM shoal.event e
	                 WHERE e.app_id = p_app AND e.task_id = p_id AND e.kind = 6
	                   AND e.code IN ('crashed', 'killed')
	                 ORDER BY e.seq DESC LIMIT 4);
	IF array_length(owners, 1) IS DISTINCT FROM 4 THEN
		RETURN false;
	END IF;
	since := (SELECT min(i.crashed_at) FROM shoal.incarnation i WHERE i.id = ANY (owners));
	RETURN NOT EXISTS (
		SELECT 1 FROM shoal.incarnation i
		 WHERE i.crashed_at >= since AND i.id <> p_owner AND i.id <> ALL (owners));
END $$;

-- All running tasks of these owners become queued again: a lost attempt keeps its number and costs
-- no budget.  Their incarnations must have been marked in a statement before this one.  Those of p_crashed
-- ended by themselves, unexpectedly, on a node that lives on, and those of p_killed by a KILL: that counts
-- against what they ran.  Not queued again is what somebody wants cancelled, and poison: it fails for good.
--
-- owner is NULL here: nobody asks whose they were.
DROP FUNCTION shoal.take_tasks(uuid[]);

CREATE FUNCTION shoal.take_tasks(p_owners uuid[], p_crashed uuid[] DEFAULT '{}', p_killed uuid[] DEFAULT '{}')
RETURNS TABLE (app_id int, id uuid, type_id int, owner uuid, attempt int, state smallint, waiter uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
	batches shoal.claim[];
	places tid[];
	n int;
	o uuid;
	crash boolean;
	killed boolean;
	alone boolean;
	poison boolean;
BEGIN
	FOR o IN SELECT DISTINCT u.id FROM unnest(p_owners) AS u (id) ORDER BY u.id LOOP
		IF o = ANY (p_crashed || p_killed) THEN
			UPDATE shoal.incarnation i SET crashed_at = now() WHERE i.id = o AND i.crashed_at IS NULL;
		END IF;
		batches := ARRAY(SELECT c FROM shoal.claim c WHERE c.owner = o);
		CONTINUE WHEN batches = '{}';
		killed := o = ANY (p_killed);
		crash := killed OR o = ANY (p_crashed);
		alone := NULL;
		LOOP
			places := ARRAY(SELECT r.place
				  FROM unnest(batches) b, LATERAL unnest(b.apps, b.ids) AS x (app_id, id), LATERAL (
					SELECT t.ctid AS place FROM shoal.task t
					 WHERE t.app_id = x.app_id AND t.id = x.id AND t.state = 2
					   AND t.owner = b.owner AND t.claim = b.batch OFFSET 0) r);
			EXIT WHEN places = '{}';
			alone := coalesce(alone, crash AND array_length(places, 1) = 1);
			poison := false;
			IF alone THEN
				poison := coalesce((SELECT t.crashes >= 2
					AND shoal.is_poison(t.app_id, t.id, o, killed, t.crashes + 1)
					  FROM shoal.task t WHERE t.ctid = places[1]), false);
			END IF;
			RETURN QUERY
			WITH moved AS (
				UPDATE shoal.task t
				   SET state = CASE WHEN t.cancel_at IS NOT NULL THEN 5 WHEN poison THEN 4 ELSE 1 END,
				       owner = CASE WHEN t.cancel_at IS NOT NULL OR poison THEN t.owner END,
				       order_at = CASE WHEN t.cancel_at IS NULL AND NOT poison
				                       THEN coalesce(t.order_at, t.run_at) END,
				       finished_at = CASE WHEN t.cancel_at IS NOT NULL OR poison
				                          THEN clock_timestamp() END,
				       expire_at = CASE WHEN t.cancel_at IS NULL AND NOT poison THEN t.deadline END,
				       failures = t.failures
						+ CASE WHEN t.cancel_at IS NULL AND poison THEN 1 ELSE 0 END,
				       crashes = CASE WHEN crash THEN coalesce(t.crashes, 0) + 1 ELSE t.crashes END,
				       error_code = CASE WHEN t.cancel_at IS NOT NULL THEN 'cancelled'
				                         WHEN poison THEN 'poison' ELSE t.error_code END,
				       error_message = CASE
						WHEN t.cancel_at IS NOT NULL
							THEN 'its worker was gone when it was to be cancelled'
						WHEN poison
							THEN 'its worker crashed ' || t.crashes + 1
							|| ' times while it ran, the last time with nothing beside it'
						ELSE t.error_message END
				 WHERE t.ctid = ANY (places) AND t.state = 2
				RETURNING t.app_id, t.id, t.type_id, t.attempt, t.state, t.waiter, t.started_at,
				          t.error_code, t.error_message
			), noted AS (
				INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, owner, code,
				                         message, detail)
				SELECT m.app_id, m.id, CASE m.state WHEN 1 THEN 6 WHEN 4 THEN 5 ELSE 8 END, m.state,
				       m.attempt, o, CASE WHEN m.state <> 1 THEN m.error_code
					WHEN killed THEN 'killed' WHEN crash THEN 'crashed' ELSE 'lost' END,
				       CASE WHEN m.state <> 1 THEN m.error_message END,
				       '{"duration_ms":' || greatest(0, (date_part('epoch',
					clock_timestamp() - m.started_at) * 1000)::bigint) || '}'
				  FROM moved m
			)
			SELECT m.app_id, m.id, m.type_id, NULL::uuid, m.attempt, m.state, m.waiter FROM moved m;
			GET DIAGNOSTICS n = ROW_COUNT;
			EXIT WHEN n = array_length(places, 1);
		END LOOP;
		DELETE FROM shoal.claim c USING unnest(batches) b WHERE c.owner = b.owner AND c.batch = b.batch;
	END LOOP;
END $$;

-- which of these tasks are suspects
CREATE FUNCTION shoal.suspects(p_apps int[], p_ids uuid[]) RETURNS TABLE (app_id int, id uuid, crashes int)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT r.app_id, r.id, r.crashes::int
	  FROM unnest(p_apps, p_ids) AS u (app_id, id), LATERAL (
		SELECT t.app_id, t.id, t.crashes FROM shoal.task t
		 WHERE t.app_id = u.app_id AND t.id = u.id AND t.crashes >= 2 OFFSET 0) r;
END $$;

-- ---------------------------------------------------------------------- deadlines

-- What waits past its deadline has expired.  A claim leaves expire_at alone, since it may change no column that an
-- index mentions: what runs past it, or has ended, is only taken out of the index, once.  Whoever waits for
-- such a task asks every 2 s.
CREATE FUNCTION shoal.expire(p_most int) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
	places tid[];
BEGIN
	-- now() and not clock_timestamp(), which is volatile: no index can be searched for it
	places := ARRAY(SELECT t.ctid FROM shoal.task t WHERE t.expire_at <= now()
	                 ORDER BY t.expire_at LIMIT p_most);
	IF places = '{}' THEN
		RETURN;
	END IF;
	UPDATE shoal.task t SET expire_at = NULL
	 WHERE t.ctid = ANY (places) AND t.state >= 2 AND coalesce(t.expire_at <= now(), false);
	WITH moved AS (
		UPDATE shoal.task t
		   SET state = 6, finished_at = clock_timestamp(), expire_at = NULL, due_at = NULL,
		       order_at = NULL, error_code = 'deadline',
		       error_message = 'its deadline passed before it could begin'
		 WHERE t.ctid = ANY (places) AND t.state < 2 AND coalesce(t.expire_at <= now(), false)
		RETURNING t.app_id, t.id, t.attempt, t.deadline, t.error_code, t.error_message
	)
	INSERT INTO shoal.event (app_id, task_id, kind, state, attempt, code, message, detail)
	SELECT m.app_id, m.id, 9, 6, m.attempt, m.error_code, m.error_message,
	       '{"deadline":"' || shoal.time_text(m.deadline) || '"}'
	  FROM moved m;
END $$;

-- see the end of 0001
DO $$ BEGIN PERFORM shoal.without_jit(); END $$;
