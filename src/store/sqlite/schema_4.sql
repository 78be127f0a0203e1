-- The owner of a key: an organization, or the system, whose organization is the empty text.
ALTER TABLE api_keys ADD COLUMN tier TEXT NOT NULL DEFAULT 'organization'; -- organization, system
UPDATE api_keys SET tier = 'system' WHERE organization = '';

CREATE TRIGGER api_keys_check_new BEFORE INSERT ON api_keys
WHEN NEW.state NOT IN ('active', 'disabled', 'revoked') OR NEW.tier NOT IN ('organization', 'system')
    OR (NEW.tier = 'system') <> (NEW.organization = '')
BEGIN
    SELECT RAISE(ABORT, 'api_keys: not a state, or not an owner');
END;

CREATE TRIGGER api_keys_check BEFORE UPDATE OF state, tier, organization ON api_keys
WHEN NEW.state NOT IN ('active', 'disabled', 'revoked') OR NEW.tier NOT IN ('organization', 'system')
    OR (NEW.tier = 'system') <> (NEW.organization = '')
BEGIN
    SELECT RAISE(ABORT, 'api_keys: not a state, or not an owner');
END;

-- Which keys were changed, for caches; the triggers below write it, and keep the last 10000.
CREATE TABLE api_key_changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL
) STRICT;

CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
BEGIN
    INSERT INTO api_key_changes (key_id) VALUES (NEW.id);
    DELETE FROM api_key_changes WHERE number <= (SELECT max(number) FROM api_key_changes) - 10000;
END;

CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
BEGIN
    INSERT INTO api_key_changes (key_id) VALUES (OLD.id);
    DELETE FROM api_key_changes WHERE number <= (SELECT max(number) FROM api_key_changes) - 10000;
END;

-- Of all columns but the last use. Every change has a version of its own, and a revocation its time.
CREATE TRIGGER api_keys_updated AFTER UPDATE OF id, organization, mode, created_at, name, hint, scopes, limits,
    allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest, next_hint,
    next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, created_by, metadata,
    imported_hash, tier ON api_keys
BEGIN
    UPDATE api_keys SET version = version + 1 WHERE id = NEW.id AND NEW.version = OLD.version;
    UPDATE api_keys SET revoked_at = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
        WHERE id = NEW.id AND NEW.state = 'revoked' AND NEW.revoked_at IS NULL;
    INSERT INTO api_key_changes (key_id) VALUES (NEW.id);
    DELETE FROM api_key_changes WHERE number <= (SELECT max(number) FROM api_key_changes) - 10000;
END;

UPDATE api_key_schema SET version = 4;
