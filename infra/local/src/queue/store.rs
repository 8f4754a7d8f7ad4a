//! The messages in `SQLite`. Each method is one transaction, which is durable when the method
//! returns.
//!
//! The protocol, its limits and waiting are in other modules. The caller passes the time as `now`.

use std::path::Path;

use aws_lc_rs::rand;
use rusqlite::{
    Connection, OptionalExtension as _, Result, Row, Transaction, named_params, params,
};

/// The settings of a queue.
#[derive(Clone, Debug)]
pub(super) struct QueueSettings {
    pub(super) name: String,
    pub(super) visibility_seconds: i64,
    pub(super) delay_seconds: i64,
    pub(super) retention_seconds: i64,
    pub(super) dead_letter_queue: Option<String>,
    pub(super) receive_count_max: i64,
    pub(super) created_at: i64,
}

/// A message to be stored.
pub(super) struct NewMessage {
    pub(super) body: String,
    /// The protocol's `MessageAttributes` as JSON.
    pub(super) attributes: String,
    pub(super) delay_seconds: Option<i64>,
}

/// A message for a receiver.
pub(super) struct ReceivedMessage {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) attributes: String,
    pub(super) sent_at: i64,
    pub(super) receive_count: i64,
    pub(super) first_received_at: i64,
    pub(super) receipt_handle: String,
    pub(super) source_queue: Option<String>,
    number: i64,
}

/// The numbers of messages in a queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MessageCounts {
    pub(super) visible: i64,
    pub(super) in_flight: i64,
    pub(super) delayed: i64,
}

pub(super) struct MessageStore {
    connection: Connection,
}

impl MessageStore {
    /// Opens the file, or an empty store in memory.
    pub(super) fn open(file: Option<&Path>) -> Result<Self> {
        let connection = match file {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        // With FULL, an acknowledged message survives a power failure, not only a killed process.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Self { connection })
    }

    /// Makes the messages visible that were in flight when the last process died. Their receivers
    /// died with it, so waiting for the visibility timeout is useless. The unfinished receive does
    /// not count towards the dead-letter queue.
    pub(super) fn release_in_flight(&self, now: i64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET visible_at = ?1, receipt = NULL,
                 receive_count = max(receive_count - 1, 0)
             WHERE receipt IS NOT NULL AND visible_at > ?1",
        )?;
        statement.execute([now]).map(drop)
    }

    /// Creates a queue, or changes the settings of an existing one.
    pub(super) fn put_queue(&self, settings: &QueueSettings) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO queues VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO UPDATE SET
                 visibility_seconds = ?2, delay_seconds = ?3, retention_seconds = ?4,
                 dead_letter_queue = ?5, receive_count_max = ?6",
        )?;
        statement.execute(params![
            settings.name,
            settings.visibility_seconds,
            settings.delay_seconds,
            settings.retention_seconds,
            settings.dead_letter_queue,
            settings.receive_count_max,
            settings.created_at,
        ])?;
        Ok(())
    }

    pub(super) fn queue(&self, name: &str) -> Result<Option<QueueSettings>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, visibility_seconds, delay_seconds, retention_seconds,
                    dead_letter_queue, receive_count_max, created_at
             FROM queues WHERE name = ?1",
        )?;
        let read = |row: &Row<'_>| {
            Ok(QueueSettings {
                name: row.get(0)?,
                visibility_seconds: row.get(1)?,
                delay_seconds: row.get(2)?,
                retention_seconds: row.get(3)?,
                dead_letter_queue: row.get(4)?,
                receive_count_max: row.get(5)?,
                created_at: row.get(6)?,
            })
        };
        statement.query_row([name], read).optional()
    }

    /// Stores all of `messages` or none. Returns their ids.
    pub(super) fn send_messages(
        &mut self,
        queue: &QueueSettings,
        messages: &[NewMessage],
        now: i64,
    ) -> Result<Vec<String>> {
        let transaction = self.connection.transaction()?;
        let mut ids = Vec::with_capacity(messages.len());
        for message in messages {
            let id = new_id();
            let delay = message.delay_seconds.unwrap_or(queue.delay_seconds);
            transaction
                .prepare_cached(
                    "INSERT INTO messages (queue, id, body, attributes, sent_at, visible_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    queue.name,
                    id,
                    message.body,
                    message.attributes,
                    now,
                    now + delay * 1000
                ])?;
            ids.push(id);
        }
        transaction.commit()?;
        Ok(ids)
    }

    /// Returns up to `count` messages and hides them. Messages that were received too often are
    /// moved to the dead-letter queue.
    pub(super) fn receive_messages(
        &mut self,
        queue: &QueueSettings,
        count: usize,
        visibility_seconds: i64,
        now: i64,
    ) -> Result<Vec<ReceivedMessage>> {
        let transaction = self.connection.transaction()?;
        let mut received = Vec::new();
        while received.len() < count {
            let candidates = visible(&transaction, &queue.name, count - received.len(), now)?;
            if candidates.is_empty() {
                break;
            }
            for mut message in candidates {
                match &queue.dead_letter_queue {
                    Some(target) if message.receive_count >= queue.receive_count_max => {
                        move_to_dead_letters(&transaction, &message, target, &queue.name, now)?;
                    }
                    _ => {
                        let hidden_until = now + visibility_seconds * 1000;
                        mark_received(&transaction, &mut message, hidden_until, now)?;
                        received.push(message);
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(received)
    }

    /// When the next hidden message of `queue` becomes visible.
    pub(super) fn next_visible_at(&self, queue: &str, now: i64) -> Result<Option<i64>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT min(visible_at) FROM messages WHERE queue = ?1 AND visible_at > ?2",
        )?;
        statement.query_row(params![queue, now], |row| row.get(0))
    }

    /// Deletes the messages of these receipts. An outdated receipt changes nothing, as on AWS.
    pub(super) fn delete(&mut self, queue: &str, receipts: &[(i64, &str)]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for (number, receipt_handle) in receipts {
            transaction
                .prepare_cached(
                    "DELETE FROM messages WHERE number = ?1 AND queue = ?2 AND receipt = ?3",
                )?
                .execute(params![number, queue, receipt_handle])?;
        }
        transaction.commit()
    }

    /// Hides a message in flight until `visible_at`. Returns whether there was such a message.
    pub(super) fn hide_until(
        &self,
        queue: &str,
        (number, receipt_handle): (i64, &str),
        visible_at: i64,
        now: i64,
    ) -> Result<bool> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET visible_at = ?1
             WHERE number = ?2 AND queue = ?3 AND receipt = ?4 AND visible_at > ?5",
        )?;
        Ok(statement.execute(params![visible_at, number, queue, receipt_handle, now])? == 1)
    }

    pub(super) fn count_messages(&self, queue: &str, now: i64) -> Result<MessageCounts> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE visible_at <= :now),
                    count(*) FILTER (WHERE visible_at > :now AND receipt IS NOT NULL),
                    count(*) FILTER (WHERE visible_at > :now AND receipt IS NULL)
             FROM messages WHERE queue = :queue",
        )?;
        statement.query_row(named_params! { ":now": now, ":queue": queue }, |row| {
            Ok(MessageCounts { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? })
        })
    }

    pub(super) fn purge(&self, queue: &str) -> Result<()> {
        self.connection.execute("DELETE FROM messages WHERE queue = ?1", [queue])?;
        Ok(())
    }

    /// Moves all messages of `queue` to `target`, or each one back to its source queue. Their
    /// receive counts restart at 0.
    pub(super) fn move_all(&self, queue: &str, target: Option<&str>, now: i64) -> Result<usize> {
        self.connection.execute(
            "UPDATE messages SET queue = coalesce(:target, source_queue), source_queue = NULL,
                 receive_count = 0, first_received_at = NULL, receipt = NULL,
                 sent_at = :now, visible_at = :now
             WHERE queue = :queue AND coalesce(:target, source_queue) IS NOT NULL",
            named_params! { ":queue": queue, ":target": target, ":now": now },
        )
    }

    /// Deletes messages whose retention time is over.
    pub(super) fn delete_expired(&self, now: i64) -> Result<usize> {
        self.connection.execute(
            "DELETE FROM messages WHERE sent_at < ?1 - 1000 *
                 (SELECT retention_seconds FROM queues WHERE name = messages.queue)",
            [now],
        )
    }
}

fn visible(
    transaction: &Transaction<'_>,
    queue: &str,
    count: usize,
    now: i64,
) -> Result<Vec<ReceivedMessage>> {
    let mut statement = transaction.prepare_cached(
        "SELECT number, id, body, attributes, sent_at, receive_count, first_received_at,
                source_queue
         FROM messages WHERE queue = ?1 AND visible_at <= ?2
         ORDER BY visible_at, number LIMIT ?3",
    )?;
    let read = |row: &Row<'_>| {
        Ok(ReceivedMessage {
            number: row.get(0)?,
            id: row.get(1)?,
            body: row.get(2)?,
            attributes: row.get(3)?,
            sent_at: row.get(4)?,
            receive_count: row.get(5)?,
            first_received_at: row.get::<_, Option<i64>>(6)?.unwrap_or(now),
            source_queue: row.get(7)?,
            receipt_handle: String::new(),
        })
    };
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    statement.query_map(params![queue, now, count], read)?.collect()
}

fn mark_received(
    transaction: &Transaction<'_>,
    message: &mut ReceivedMessage,
    hidden_until: i64,
    now: i64,
) -> Result<()> {
    message.receive_count += 1;
    let receipt_handle = new_id();
    transaction
        .prepare_cached(
            "UPDATE messages SET visible_at = ?2, receipt = ?3, receive_count = ?4,
                 first_received_at = coalesce(first_received_at, ?5) WHERE number = ?1",
        )?
        .execute(params![
            message.number,
            hidden_until,
            receipt_handle,
            message.receive_count,
            now
        ])?;
    message.receipt_handle = format!("{}.{receipt_handle}", message.number);
    Ok(())
}

/// Moves a message to the dead-letter queue.
fn move_to_dead_letters(
    transaction: &Transaction<'_>,
    message: &ReceivedMessage,
    target: &str,
    source: &str,
    now: i64,
) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE messages SET queue = ?2, source_queue = ?3, visible_at = ?4, receipt = NULL
             WHERE number = ?1",
        )?
        .execute(params![message.number, target, source, now])?;
    Ok(())
}

/// A random id in the form of a UUID, version 4.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    // The random source of aws-lc does not fail. If it did, the message number would still be
    // unique.
    let _ = rand::fill(&mut bytes);
    let id = (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{id:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
