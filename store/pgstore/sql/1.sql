-- Version 1 of the schema. Do not change this file after a release: add 2.sql, which upgrades a schema of version 1. "tokenbroker" stands for
-- the name of the schema, which exists. The functions keep their names for as long as programs call them, so that brokers of two versions
-- can run at the same time.
--
-- Other roles may have functions and operators in a schema of the search path, such as public. So commit_v1 sets the path, and the other
-- functions have only expressions whose types match those of PostgreSQL exactly.

CREATE TABLE "tokenbroker".meta (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    version    integer NOT NULL,
    compatible integer NOT NULL -- the lowest version of a program that may use the schema
);
INSERT INTO "tokenbroker".meta (version, compatible) VALUES (1, 1);

-- A refresh of a session updates one row and leaves its expiry as it is, so that no index changes (HOT) if the page has space: hence the
-- fillfactor. Rows die as fast as sessions are refreshed: hence an autovacuum that starts early.
CREATE TABLE "tokenbroker".records (
    key        bytea PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 1024),
    value      bytea NOT NULL,
    revision   bigint NOT NULL,
    expires_at bigint CHECK (expires_at > 0) -- Unix seconds
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 1000);
CREATE INDEX records_expires_at ON "tokenbroker".records (expires_at) WHERE expires_at IS NOT NULL;

-- A revision belongs to one commit, which draws it after it has locked its keys.
CREATE SEQUENCE "tokenbroker".revisions AS bigint MINVALUE 1 NO CYCLE CACHE 1;

-- What a confirmation writes. Each broker has its own row, so that none waits for another.
CREATE TABLE "tokenbroker".touches (
    slot integer PRIMARY KEY,
    n    bigint NOT NULL
) WITH (fillfactor = 20);

-- hash_v1 is what a key without a row is locked by.
CREATE FUNCTION "tokenbroker".hash_v1(key bytea) RETURNS bigint LANGUAGE sql STABLE
RETURN hashtextextended(encode(key, 'hex'), '"tokenbroker".records'::regclass::oid::bigint);

-- check_v1 fails unless the server is the expected one and accepts writes.
CREATE FUNCTION "tokenbroker".check_v1(server bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF server <> (extract(epoch FROM pg_postmaster_start_time()) * 1000000::numeric)::bigint OR pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this is another server than the one that was checked' USING ERRCODE = 'TB001';
    END IF;
    RETURN true;
END $$;

-- durable_v1 fails unless a commit of this transaction is as durable as it has to be: on the disk of a synchronous standby, or only on
-- that of this server if "local" is true.
CREATE FUNCTION "tokenbroker".durable_v1(server bigint, local boolean) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM "tokenbroker".check_v1(server);
    IF current_setting('fsync') <> 'on' OR NOT local AND current_setting('synchronous_standby_names') = '' THEN
        RAISE EXCEPTION 'commits are not replicated' USING ERRCODE = 'TB002';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the transaction is not READ COMMITTED' USING ERRCODE = 'TB003';
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A commit that stops waiting for its standby reports it only by a warning.
    IF current_setting('client_min_messages') = 'error' THEN
        PERFORM set_config('client_min_messages', 'warning', true);
    END IF;
END $$;

-- confirm_v1 writes one row.
CREATE FUNCTION "tokenbroker".confirm_v1(server bigint, local boolean, touched integer) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM "tokenbroker".durable_v1(server, local);
    INSERT INTO "tokenbroker".touches AS t VALUES (touched, 1) ON CONFLICT (slot) DO UPDATE SET n = t.n + 1;
END $$;

-- commit_v1 is one commit. Element i of each array is a write of a key, which is in no other element: it belongs to the part parts[i], which is
-- written as a whole or not at all; it expects the revision expects[i], zero for no record, or anything if that is NULL; and it deletes
-- the record if contents[i] is NULL. Part 0 is the changes with events. A record that has expired at "clock" counts as none.
--
-- The fence's record, unless its key is NULL, must have the revision fence_expect; otherwise nothing is written and fenced is true. It is
-- written with fence_sealed if "events" is true and part 0 was written, and with fence_value if not. stale has the elements that were not as
-- expected, and new_revision the revision of the commit, or zero if nothing was written.
CREATE FUNCTION "tokenbroker".commit_v1(
    server bigint, local boolean, clock bigint,
    fence_key bytea, fence_expect bigint, fence_value bytea, fence_sealed bytea, events boolean,
    parts integer[], keys bytea[], contents bytea[], expiries bigint[], expects bigint[],
    OUT fenced boolean, OUT new_revision bigint, OUT stale integer[]
) LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off -- a plan that was made while the table was small is kept
AS $$
DECLARE
    wanted    bytea[] := keys;
    absent    bytea[] := '{}';
    missing   bytea[];
    again     boolean;
    found     bytea[];
    revisions bigint[];
    ends      bigint[];
    refused   integer[];
BEGIN
    PERFORM "tokenbroker".durable_v1(server, local);
    fenced := false;
    new_revision := 0;
    IF fence_key IS NOT NULL THEN
        wanted := wanted || fence_key;
    END IF;

    -- Lock the keys, in an order in which two commits do not wait for each other. First the keys that should have no row, by their hashes.
    IF array_position(expects, 0) IS NOT NULL OR fence_expect = 0 AND fence_key IS NOT NULL THEN
        absent := ARRAY(SELECT u.key FROM unnest(keys, expects) AS u(key, expect) WHERE u.expect = 0)
            || CASE WHEN fence_expect = 0 AND fence_key IS NOT NULL THEN ARRAY[fence_key] END;
        PERFORM pg_advisory_xact_lock(h.hash) FROM (SELECT DISTINCT "tokenbroker".hash_v1(k) AS hash FROM unnest(absent) k ORDER BY 1) h;
    END IF;

    -- Then the rows, in the order of their keys.
    SELECT coalesce(array_agg(l.key), '{}'), array_agg(l.revision), array_agg(l.expires_at) INTO found, revisions, ends
        FROM (SELECT r.key, r.revision, r.expires_at FROM "tokenbroker".records r
              WHERE r.key = ANY (wanted) ORDER BY r.key FOR UPDATE) l;

    -- Then the other keys without a row, but without waiting while rows are locked.
    IF cardinality(found) < cardinality(wanted) THEN
        missing := ARRAY(SELECT w FROM unnest(wanted) w EXCEPT (SELECT f FROM unnest(found) f UNION ALL SELECT k FROM unnest(absent) k));
        again := EXISTS (SELECT FROM unnest(missing) k WHERE NOT pg_try_advisory_xact_lock("tokenbroker".hash_v1(k)));
        -- A commit that has ended before the lock may have created one: this statement sees it.
        IF again OR cardinality(missing) > 0 AND EXISTS (SELECT FROM "tokenbroker".records r WHERE r.key = ANY (missing)) THEN
            RAISE EXCEPTION 'another commit creates a key of this one' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;

    -- From here on no other commit can change a key of this one.
    IF fence_key IS NOT NULL AND coalesce(revisions[array_position(found, fence_key)], 0) <> fence_expect THEN
        fenced := true;
        RETURN;
    END IF;
    SELECT array_agg(w.i), coalesce(array_agg(DISTINCT w.part), '{}') INTO stale, refused
        FROM unnest(parts, keys, expects) WITH ORDINALITY AS w(part, key, expect, i)
        LEFT JOIN unnest(found, revisions, ends) AS f(key, revision, ends) USING (key)
        WHERE w.expect <> coalesce(f.revision, 0) AND NOT (w.expect = 0 AND coalesce(f.ends <= clock, false));

    IF fence_key IS NULL AND NOT EXISTS (SELECT FROM unnest(parts) p WHERE p <> ALL (refused)) THEN
        RETURN;
    END IF;
    -- The revision is higher than that of every earlier write of these keys, because those held the same locks.
    new_revision := nextval('"tokenbroker".revisions');
    IF array_position(contents, NULL) IS NOT NULL THEN
        DELETE FROM "tokenbroker".records r
            USING unnest(parts, keys, contents) AS w(part, key, content)
            WHERE r.key = w.key AND w.content IS NULL AND w.part <> ALL (refused);
    END IF;
    INSERT INTO "tokenbroker".records AS r (key, value, revision, expires_at)
        SELECT w.key, w.content, new_revision, w.ends FROM unnest(parts, keys, contents, expiries) AS w(part, key, content, ends)
            WHERE w.content IS NOT NULL AND w.part <> ALL (refused)
        UNION ALL
        SELECT fence_key, CASE WHEN events AND 0 <> ALL (refused) THEN fence_sealed ELSE fence_value END, new_revision, NULL
            WHERE fence_key IS NOT NULL
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision, expires_at = excluded.expires_at;
END $$;

-- Only roles that were granted it may use the schema.
REVOKE ALL ON FUNCTION "tokenbroker".hash_v1(bytea), "tokenbroker".check_v1(bigint), "tokenbroker".durable_v1(bigint, boolean),
    "tokenbroker".confirm_v1(bigint, boolean, integer), "tokenbroker".commit_v1 FROM PUBLIC;
