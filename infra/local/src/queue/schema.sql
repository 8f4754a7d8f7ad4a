-- Times are milliseconds since 1970. A message is in flight while it has a receipt and
-- `visible_at` is in the future.
CREATE TABLE IF NOT EXISTS messages (
    number              INTEGER PRIMARY KEY AUTOINCREMENT,
    queue               TEXT NOT NULL,
    id                  TEXT NOT NULL,
    body                TEXT NOT NULL,
    attributes          TEXT NOT NULL, -- always `{}`; a file of an earlier version requires it
    sent_at             INTEGER NOT NULL,
    visible_at          INTEGER NOT NULL,
    receive_count       INTEGER NOT NULL DEFAULT 0,
    first_received_at   INTEGER,
    receipt             TEXT,
    source_queue        TEXT -- not used; an earlier version writes it
) STRICT;

CREATE INDEX IF NOT EXISTS messages_by_turn ON messages (queue, visible_at, number);
