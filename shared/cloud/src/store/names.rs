//! The names inside the tables: keys of items, attributes, indexes. They are written nowhere else.
//!
//! Access patterns, each with the one operation that serves it (none is a Scan):
//!
//! | what | table | operation |
//! | --- | --- | --- |
//! | a key, group, account, user by id | config | GetItem (`<kind>#<id>`, `<kind>`) |
//! | a group with its accounts | config | Query (`group#<id>`) |
//! | all of a kind, oldest first | config, index `by_kind` | Query (`kind`) |
//! | the wrapped data key, the sealed pepper, the admin token's hash | config | GetItem (`setting#<name>`, `setting`) |
//! | the health of a group's accounts | state | BatchGetItem (`health#<account>`, `health`) |
//! | a change of health | state | PutItem, on the version it is a change of |
//! | what is counted against a key's limits | state | UpdateItem (`limit#<key>`, `limit`), conditional; GetItem; in the transaction that stores its events |
//! | limited keys with a reservation that is due | state, index `by_due` | Query (`due`, up to a time) |
//! | a lease | state | UpdateItem (`lease#<name>`, `lease`), conditional |
//! | events that the queue did not take | state | Query (`pending`) |
//! | limits that have changed | state | PutItem (`touched`, the limit's id); Query; DeleteItem, on its mark |
//! | an alert, once | state | TransactWriteItems (`alert#<id>`, and `outbox` for each channel) |
//! | alerts on their way; what was told of accounts | state | Query, PutItem, DeleteItem (`outbox`; `told`) |
//! | where alerts go | config | GetItem, PutItem (`setting#alerts`) |
//! | store an event and its rollups | usage | TransactWriteItems |
//! | rate events anew, with their rollups | usage | TransactWriteItems, on the old price |
//! | how far a period is rated anew | state | GetItem, PutItem, DeleteItem (`rerate`) |
//! | a key's events of a day | usage | Query (`event#<key>#<day>`) |
//! | all events of a day; of an account | usage, `by_day`, `by_account` | Query |
//! | totals, cells of the cube | usage | Query (`rollup#…`) |

use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::record::UsageRecord;
use baton_domain::rollup::Rollup;
use jiff::Timestamp;

pub(super) const PK: &str = "pk";
pub(super) const SK: &str = "sk";
pub(super) const KIND: &str = "kind";
pub(super) const CREATED_AT: &str = "created_at";
pub(super) const UPDATED_AT: &str = "updated_at";
pub(super) const VERSION: &str = "version";
pub(super) const SECRET: &str = "secret";
pub(super) const TTL: &str = "ttl";
pub(super) const DAY: &str = "day";
pub(super) const ACCOUNT_DAY: &str = "account_day";
pub(super) const OWNER: &str = "owner";
pub(super) const EXPIRES: &str = "expires";
pub(super) const BODY: &str = "body";
pub(super) const OPEN: &str = "open";
pub(super) const DUE: &str = "due";
pub(super) const DUE_AT: &str = "due_at";

pub(super) const BY_KIND: &str = "by_kind";
pub(super) const BY_DAY: &str = "by_day";
pub(super) const BY_ACCOUNT: &str = "by_account";
pub(super) const BY_DUE: &str = "by_due";

pub(super) const SETTING: &str = "setting";
pub(super) const DATA_KEY: &str = "setting#data_key";
pub(super) const PEPPER: &str = "setting#pepper";
pub(super) const ADMIN_TOKEN: &str = "setting#admin_token";
pub(super) const ALERTS: &str = "setting#alerts";
pub(super) const PENDING: &str = "pending";
pub(super) const LEASE: &str = "lease";
pub(super) const HEALTH: &str = "health";
pub(super) const LIMIT: &str = "limit";
pub(super) const TOUCHED: &str = "touched";
pub(super) const MARK: &str = "mark";
pub(super) const ALERT: &str = "alert";
pub(super) const OUTBOX: &str = "outbox";
pub(super) const TOLD: &str = "told";
pub(super) const RERATE: &str = "rerate";
pub(super) const LIMIT_PREFIX: &str = "limit#";

/// Where an item is: partition key, sort key.
pub(super) type Place = (String, String);

/// A time as text that sorts: UTC with milliseconds.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The day of a time, `2026-11-22`.
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

pub(super) fn lease(name: &str) -> Place {
    (format!("lease#{name}"), LEASE.to_owned())
}

pub(super) fn health(account: &AccountId) -> Place {
    (format!("health#{account}"), HEALTH.to_owned())
}

/// What is counted against a key's limits.
pub(super) fn limit(key: &KeyId) -> Place {
    (format!("{LIMIT_PREFIX}{key}"), LIMIT.to_owned())
}

/// The copy of an account among its group's items.
pub(super) fn member(group: &GroupId, account: &AccountId) -> Place {
    (format!("group#{group}"), format!("account#{account}"))
}

pub(super) fn group_partition(group: &GroupId) -> String {
    format!("group#{group}")
}

pub(super) fn event(record: &UsageRecord) -> Place {
    let at = stamp(record.started_at);
    (event_partition(&record.key_id, &at[..10]), format!("{at}#{}", record.id))
}

pub(super) fn event_partition(key: &KeyId, day: &str) -> String {
    format!("event#{}#{day}", key.bare())
}

pub(super) fn account_day(account: &AccountId, day: &str) -> String {
    format!("{}#{day}", account.bare())
}

pub(super) fn total_partition(shard: u64) -> String {
    format!("rollup#total#{shard}")
}

pub(super) fn cube_partition(day: &str, shard: u64) -> String {
    format!("rollup#cube#{day}#{shard}")
}

/// What an event's item calls its cost and price version.
pub(super) const COST: &str = "c";
pub(super) const PRICE_VERSION: &str = "pv";

/// Where a rollup's item is. The model comes last, since only it may hold any character.
pub(super) fn rollup(rollup: &Rollup) -> Place {
    match rollup {
        Rollup::TotalHour { shard, hour } => {
            (total_partition(*shard), format!("hour#{}", hour.as_str()))
        }
        Rollup::TotalDay { shard, day } => (total_partition(*shard), format!("day#{day}")),
        Rollup::Cell { shard, cell } => {
            let user = cell.user.as_ref().map_or("-", |user| user.bare());
            let sk = format!(
                "{}#{}#{user}#{}#{}#{}",
                cell.hour.as_str(),
                cell.key.bare(),
                cell.group.bare(),
                cell.account.bare(),
                cell.model
            );
            (cube_partition(cell.hour.day(), *shard), sk)
        }
    }
}
