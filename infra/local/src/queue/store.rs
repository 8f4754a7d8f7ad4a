//! The messages in `SQLite`. Each method is one transaction, which is durable when the method
//! returns.
//!
//! The protocol, its limits and waiting are in other modules. The caller passes the time as `now`.

use std::path::Path;

use aws_lc_rs::rand;
use rusqlite::{Connection, Result, Row, Transaction, named_params, params};

use crate::definitions::QueueDefinition;

/// A message for a receiver.
pub(super) struct ReceivedMessage {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) sent_at: i64,
    pub(super) receive_count: i64,
    pub(super) first_received_at: i64,
    pub(super) receipt: String,
    number: i64,
}

/// How many messages a queue has.
pub(super) struct MessageCounts {
    pub(super) visible: i64,
    /// Messages that were received and not deleted yet.
    pub(super) in_flight: i64,
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

    /// Stores all of `bodies` or none. Returns the ids of the messages.
    pub(super) fn send_messages(
        &mut self,
        queue: &str,
        bodies: &[&str],
        now: i64,
    ) -> Result<Vec<String>> {
        let transaction = self.connection.transaction()?;
        let mut ids = Vec::with_capacity(bodies.len());
        for body in bodies {
            let id = new_id();
            transaction
                .prepare_cached(
                    "INSERT INTO messages (queue, id, body, attributes, sent_at, visible_at)
                     VALUES (?1, ?2, ?3, '{}', ?4, ?4)",
                )?
                .execute(params![queue, id, body, now])?;
            ids.push(id);
        }
        transaction.commit()?;
        Ok(ids)
    }

    /// Returns up to `count` messages and hides them. Messages that were received too often are
    /// moved to the dead-letter queue.
    pub(super) fn receive_messages(
        &mut self,
        queue: &QueueDefinition,
        count: usize,
        visibility_seconds: i64,
        now: i64,
    ) -> Result<Vec<ReceivedMessage>> {
        let transaction = self.connection.transaction()?;
        let mut received = Vec::new();
        while received.len() < count {
            let candidates = visible(&transaction, queue.name, count - received.len(), now)?;
            if candidates.is_empty() {
                break;
            }
            for mut message in candidates {
                match &queue.redrive {
                    Some(redrive) if message.receive_count >= redrive.receives_max => {
                        let target = redrive.dead_letter_queue;
                        move_to_dead_letters(&transaction, &message, target, now)?;
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
        for (number, receipt) in receipts {
            transaction
                .prepare_cached(
                    "DELETE FROM messages WHERE number = ?1 AND queue = ?2 AND receipt = ?3",
                )?
                .execute(params![number, queue, receipt])?;
        }
        transaction.commit()
    }

    /// Counts the messages in `queue`.
    pub(super) fn count_messages(&self, queue: &str, now: i64) -> Result<MessageCounts> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE visible_at <= :now),
                    count(*) FILTER (WHERE visible_at > :now)
             FROM messages WHERE queue = :queue",
        )?;
        let read =
            |row: &Row<'_>| Ok(MessageCounts { visible: row.get(0)?, in_flight: row.get(1)? });
        statement.query_row(named_params! { ":now": now, ":queue": queue }, read)
    }

    /// Deletes messages whose retention time is over.
    pub(super) fn delete_expired(&self, queue: &QueueDefinition, now: i64) -> Result<usize> {
        self.connection.execute(
            "DELETE FROM messages WHERE queue = ?1 AND sent_at < ?2",
            params![queue.name, now - queue.retention_seconds * 1000],
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
        "SELECT number, id, body, sent_at, receive_count, first_received_at
         FROM messages WHERE queue = ?1 AND visible_at <= ?2
         ORDER BY visible_at, number LIMIT ?3",
    )?;
    let read = |row: &Row<'_>| {
        Ok(ReceivedMessage {
            number: row.get(0)?,
            id: row.get(1)?,
            body: row.get(2)?,
            sent_at: row.get(3)?,
            receive_count: row.get(4)?,
            first_received_at: row.get::<_, Option<i64>>(5)?.unwrap_or(now),
            receipt: String::new(),
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
    let receipt = new_id();
    transaction
        .prepare_cached(
            "UPDATE messages SET visible_at = ?2, receipt = ?3, receive_count = ?4,
                 first_received_at = coalesce(first_received_at, ?5) WHERE number = ?1",
        )?
        .execute(params![message.number, hidden_until, receipt, message.receive_count, now])?;
    message.receipt = format!("{}.{receipt}", message.number);
    Ok(())
}

/// Moves a message to the dead-letter queue.
fn move_to_dead_letters(
    transaction: &Transaction<'_>,
    message: &ReceivedMessage,
    target: &str,
    now: i64,
) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE messages SET queue = ?2, visible_at = ?3, receipt = NULL WHERE number = ?1",
        )?
        .execute(params![message.number, target, now])?;
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
