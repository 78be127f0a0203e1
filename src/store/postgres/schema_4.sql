-- The owner of a key: an organization, or the system, whose organization is the empty text.
ALTER TABLE api_keys ADD COLUMN tier text NOT NULL DEFAULT 'organization'; -- organization, system
UPDATE api_keys SET tier = 'system' WHERE organization = '';
ALTER TABLE api_keys ADD CONSTRAINT api_keys_tier
    CHECK (tier IN ('organization', 'system') AND (tier = 'system') = (organization = ''));
ALTER TABLE api_keys ADD CONSTRAINT api_keys_state
    CHECK (state IN ('active', 'disabled', 'revoked') AND (state = 'revoked') = (revoked_at IS NOT NULL)) NOT VALID;

-- Which keys were changed, for caches; the triggers below write it, and remove what is older than an hour.
CREATE TABLE api_key_changes (
    key_id text COLLATE "C" NOT NULL, -- the empty text is any key
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX api_key_changes_by_transaction ON api_key_changes (transaction);
CREATE INDEX api_key_changes_by_age ON api_key_changes (at);

-- Every change has a version of its own, and a revocation its time.
CREATE FUNCTION api_key_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
    END IF;
    IF NEW.state = 'revoked' AND NEW.revoked_at IS NULL THEN
        NEW.revoked_at := extract(epoch FROM clock_timestamp()) * 1000;
    END IF;
    RETURN NEW;
END $$;

-- Tells the caches of all processes, in the transaction of the change.
CREATE FUNCTION api_key_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    changed text := '';
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := OLD.id;
    ELSIF TG_OP <> 'TRUNCATE' THEN
        changed := NEW.id;
    END IF;
    INSERT INTO api_key_changes (key_id) VALUES (changed);
    DELETE FROM api_key_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM api_key_changes WHERE at < now() - interval '1 hour' LIMIT 100 FOR UPDATE SKIP LOCKED));
    PERFORM pg_notify('tower_api_keys', changed);
    RETURN NULL;
END $$;

-- The timeline of the server's history, a new one after a failover; 0 where it is not known.
CREATE FUNCTION api_key_timeline() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN 0;
    END IF;
    RETURN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END $$;

-- Of all columns but the last use.
CREATE TRIGGER api_keys_update BEFORE UPDATE OF id, organization, mode, created_at, name, hint, scopes, limits,
    allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest, next_hint,
    next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, created_by, metadata,
    imported_hash, tier ON api_keys FOR EACH ROW EXECUTE FUNCTION api_key_update();

CREATE TRIGGER api_keys_changed AFTER INSERT OR DELETE OR UPDATE OF id, organization, mode, created_at, name, hint,
    scopes, limits, allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest,
    next_hint, next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, created_by, metadata,
    imported_hash, tier ON api_keys FOR EACH ROW EXECUTE FUNCTION api_key_changed();

CREATE TRIGGER api_keys_truncated AFTER TRUNCATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION api_key_changed();

UPDATE api_key_schema SET version = 4;
