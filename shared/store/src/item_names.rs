//! Names of item keys, attributes and indexes. No other module spells them out.
//!
//! Access patterns, each with the one operation that serves it (none is a Scan):
//!
//! | data | table | operation |
//! | --- | --- | --- |
//! | a key, group, account, user by id | config | GetItem (`<kind>#<id>`, `<kind>`) |
//! | a group with its accounts | config | Query (`group#<id>`) |
//! | all entities of a kind, oldest first | config, index `by_kind` | Query (`kind`) |
//! | the wrapped data key, the encrypted pepper and session secret, the admin token's hash | config | GetItem (`setting#<name>`, `setting`) |
//! | the prices that operators have set | config, index `by_kind` | Query (`price`); one: GetItem (`price#<model>`, `<from>`) |
//! | the runtime settings | config | GetItem (`setting#runtime`, `setting`) |
//! | changes by operators, newest first | usage | Query (`audit#<month>`) |
//! | the answer to a POST with an idempotency key | state | GetItem (`replay#<name>`, `replay`); in the transaction of the change |
//! | the health of a group's accounts | state | BatchGetItem (`health#<account>`, `health`) |
//! | a change of health | state | PutItem, conditional on the version that was read |
//! | limits and spend limits of a user (with the groups of its keys), a group, the organization | config | Query (`user#<id>`, `group#<id>`, `setting#limits`; sort key from `group` on) |
//! | a spend limit by id | config | GetItem (`spend_limit#<id>`, `spend_limit`) |
//! | the limit counters of a key | state | UpdateItem (`limit#<key>`, `limit`), conditional; GetItem; in the transaction that stores its events |
//! | the limit counters where shared limits apply too | state | TransactWriteItems (`limit#<key>`, `limit#<user>`, `limit#<group>`, `limit#organization`); BatchGetItem |
//! | limited keys with a reservation that is due | state, index `by_due` | Query (`due`, up to a time) |
//! | a session pin | state | GetItem, PutItem (`moved#<group>#<session>`, `moved#<model>`) |
//! | the open requests of an account with `max_concurrency` | state | UpdateItem (`seats#<account>`, `seats`), conditional |
//! | an account's token; the tokens of a group's accounts | config | GetItem, BatchGetItem (`token#<account>`, `token`); UpdateItem, conditional |
//! | all tokens | config, index `by_kind` | Query (`token`) |
//! | an unfinished sign-in of a browser | state | PutItem, DeleteItem (`sign_in#<state>`, `sign_in`) |
//! | a console session with its user, key and the settings | state, config | BatchGetItem (`session#<hash>`, `session`; `user#<id>`, `key#<id>`, `setting#…`) |
//! | start, use and end of a console session | state | TransactWriteItems, UpdateItem, conditional |
//! | requests for token renewal | state | PutItem, Query, DeleteItem (`renew`, `<account>`) |
//! | a lease | state | UpdateItem (`lease#<name>`, `lease`), conditional |
//! | events that the queue did not accept | state | Query (`pending`) |
//! | limits that have changed or blocked a request | state | UpdateItem (`touched`, the limit's id); Query; DeleteItem, conditional on its mark |
//! | an alert, sent once | state | TransactWriteItems (`alert#<id>`, and `outbox` for each channel) |
//! | alerts to deliver; the last alert of each account | state | Query, PutItem, DeleteItem (`outbox`; `told`) |
//! | the alert settings | config | GetItem (`setting#alerts`, `setting`) |
//! | store an event and its rollups | usage | TransactWriteItems |
//! | re-rate events with their rollups | usage | TransactWriteItems, conditional on the old cost and price version |
//! | the progress of a re-rating | state | GetItem, PutItem, DeleteItem (`rerate`) |
//! | the stored event in place of one that was given up | usage | GetItem |
//! | a key's events of a day | usage | Query (`event#<key>#<day>`) |
//! | all events of a day; of an account | usage, `by_day`, `by_account` | Query |
//! | when accounts were last used | usage | UpdateItem (`used#<account>`, `used`), conditional; BatchGetItem |
//! | totals, cells of the cube, keys and models of a day | usage | Query (`rollup#…`) |
//! | the overview: totals of days, health of accounts, keys | usage, state, config | BatchGetItem |

use baton_domain::account_selection::SessionPinKey;
use baton_domain::id::{AccountId, GroupId, KeyId, UserId};
use baton_domain::record::UsageRecord;
use baton_domain::rollup::Rollup;
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::SpendLimitId;
use jiff::Timestamp;

pub(crate) const PK: &str = "pk";
pub(crate) const SK: &str = "sk";
pub(crate) const KIND: &str = "kind";
pub(crate) const CREATED_AT: &str = "created_at";
pub(crate) const UPDATED_AT: &str = "updated_at";
pub(crate) const VERSION: &str = "version";
pub(crate) const SECRET: &str = "secret";
pub(crate) const TTL: &str = "ttl";
pub(crate) const DAY: &str = "day";
pub(crate) const ACCOUNT_DAY: &str = "account_day";
pub(crate) const OWNER: &str = "owner";
pub(crate) const EXPIRES: &str = "expires";
pub(crate) const BODY: &str = "body";
pub(crate) const OPEN: &str = "open";
pub(crate) const DUE: &str = "due";
pub(crate) const DUE_AT: &str = "due_at";
pub(crate) const UNDER_WAY: &str = "under_way";
pub(crate) const HELD: &str = "held";
pub(crate) const GROUP_ID: &str = "group_id";
pub(crate) const ID: &str = "id";
pub(crate) const TO: &str = "to";
pub(crate) const AT: &str = "at";

pub(crate) const BY_KIND: &str = "by_kind";
pub(crate) const BY_DAY: &str = "by_day";
pub(crate) const BY_ACCOUNT: &str = "by_account";
pub(crate) const BY_DUE: &str = "by_due";

pub(crate) const SETTING: &str = "setting";
const NAME: &str = "name";
pub(crate) const DATA_KEY: &str = "setting#data_key";
pub(crate) const PEPPER: &str = "setting#pepper";
pub(crate) const SESSION_SECRET: &str = "setting#session_secret";
pub(crate) const ADMIN_TOKEN: &str = "setting#admin_token";
pub(crate) const PENDING: &str = "pending";
pub(crate) const TOKEN: &str = "token";
/// Tokens have their own partitions, so that an IAM policy can allow access to tokens only.
pub(crate) const TOKEN_PREFIX: &str = "token#";
pub(crate) const SIGN_IN: &str = "sign_in";
pub(crate) const SESSION: &str = "session";
pub(crate) const RENEW: &str = "renew";
pub(crate) const LEASE: &str = "lease";
pub(crate) const HEALTH: &str = "health";
pub(crate) const REPLAY: &str = "replay";
pub(crate) const FINGERPRINT: &str = "fingerprint";
pub(crate) const STATUS: &str = "status";
pub(crate) const USED: &str = "used";
pub(crate) const USED_PREFIX: &str = "used#";
pub(crate) const LIMIT: &str = "limit";
pub(crate) const TOUCHED: &str = "touched";
pub(crate) const CAPPED: &str = "capped#";

/// An account that claimed more usage than a request permitted, on this day. It is an entry among
/// the changed limits, under this sort key.
pub(crate) fn capped(account: &AccountId, at: Timestamp) -> String {
    format!("{CAPPED}{account}#{}", day(at))
}

/// The models without a price that were used on a day are an entry among the changed limits, under
/// a sort key with this beginning.
pub(crate) const UNPRICED: &str = "unpriced#";

/// The proof that the holder of the session secret wrote a session.
pub(crate) const PROVEN: &str = "proven";
pub(crate) const MARK: &str = "mark";
pub(crate) const BLOCKED: &str = "blocked";
pub(crate) const ALERT: &str = "alert";
pub(crate) const OUTBOX: &str = "outbox";
pub(crate) const LAST_ALERT: &str = "told";
pub(crate) const RERATE: &str = "rerate";
pub(crate) const LIMIT_PREFIX: &str = "limit#";
/// The attribute of an entity that holds its limits.
pub(crate) const LIMITS_OF: &str = "limits";
/// The settings of the organization that limit requests.
pub(crate) const LIMITS: &str = "setting#limits";
pub(crate) const MESSAGE: &str = "spend_limit_message";
pub(crate) const SPEND_LIMIT_PREFIX: &str = "spend_limit#";
pub(crate) const MEMBER_KEY_PREFIX: &str = "key#";

/// The key of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemKey {
    /// The partition key.
    pub pk: String,
    /// The sort key.
    pub sk: String,
}

impl ItemKey {
    pub(crate) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

/// A time as text that sorts by time: UTC with milliseconds.
pub(crate) fn sortable_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The UTC day of a time, `2026-11-22`.
pub(crate) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

pub(crate) fn lease(name: &str) -> ItemKey {
    ItemKey::new(format!("lease#{name}"), LEASE)
}

/// The stored answer to a POST with an idempotency key.
pub(crate) fn stored_response(name: &str) -> ItemKey {
    ItemKey::new(format!("replay#{name}"), REPLAY)
}

/// The partition of the changes of a month (`2026-11`).
pub(crate) fn audit_partition(month: &str) -> String {
    format!("audit#{month}")
}

pub(crate) fn health(account: &AccountId) -> ItemKey {
    ItemKey::new(format!("health#{account}"), HEALTH)
}

/// The limit counters of a scope.
pub(crate) fn limit(scope: &LimitScope) -> ItemKey {
    ItemKey::new(format!("{LIMIT_PREFIX}{scope}"), LIMIT)
}

/// The partition that holds all settings that limit a scope's requests. A key's limits are in its
/// own item.
pub(crate) fn scope_partition(scope: &LimitScope) -> String {
    match scope {
        LimitScope::Key(id) => format!("key#{id}"),
        LimitScope::User(id) => format!("user#{id}"),
        LimitScope::Group(id) => group_partition(id),
        LimitScope::Organization => LIMITS.to_owned(),
    }
}

/// The copy of a spend limit among the settings of its scope.
pub(crate) fn cap(id: &SpendLimitId) -> ItemKey {
    let period = id.period().as_str();
    ItemKey::new(scope_partition(id.scope()), format!("{SPEND_LIMIT_PREFIX}{period}"))
}

/// The item that records which group a user's key belongs to.
pub(crate) fn member_key(user: &UserId, key: &KeyId) -> ItemKey {
    ItemKey::new(format!("user#{user}"), format!("{MEMBER_KEY_PREFIX}{key}"))
}

/// The short-lived token of an account.
pub(crate) fn token(account: &AccountId) -> ItemKey {
    ItemKey::new(format!("{TOKEN_PREFIX}{account}"), TOKEN)
}

/// The holder of a name that is unique inside its kind.
pub(crate) fn unique_name(kind: &str, name: &str) -> ItemKey {
    ItemKey::new(format!("name#{kind}#{name}"), NAME)
}

/// The mark that all names of a kind have been recorded.
pub(crate) fn names_noted(kind: &str) -> ItemKey {
    ItemKey::new(format!("names#{kind}"), NAME)
}

/// An unfinished sign-in of a browser.
pub(crate) fn sign_in(state: &str) -> ItemKey {
    ItemKey::new(format!("sign_in#{state}"), SIGN_IN)
}

/// A console session; `hash` is the hash of the value that the browser holds.
pub(crate) fn session(hash: &[u8]) -> ItemKey {
    let hex = hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    ItemKey::new(format!("session#{hex}"), SESSION)
}

/// The request for a new token of the account.
pub(crate) fn renew(account: &AccountId) -> ItemKey {
    ItemKey::new(RENEW, account.to_string())
}

/// The session pin of a session in the group.
pub(crate) fn session_pin(pin_key: &SessionPinKey) -> ItemKey {
    let SessionPinKey { group, session, model } = pin_key;
    ItemKey::new(format!("moved#{group}#{session:016x}"), format!("moved#{model}"))
}

/// The concurrency slots of the account.
pub(crate) fn concurrency_slots(account: &AccountId) -> ItemKey {
    ItemKey::new(format!("seats#{account}"), "seats")
}

/// When the account was last used.
pub(crate) fn last_use(account: &AccountId) -> ItemKey {
    ItemKey::new(format!("{USED_PREFIX}{account}"), USED)
}

/// The copy of an account among its group's items.
pub(crate) fn member(group: &GroupId, account: &AccountId) -> ItemKey {
    ItemKey::new(format!("group#{group}"), format!("account#{account}"))
}

pub(crate) fn group_partition(group: &GroupId) -> String {
    format!("group#{group}")
}

pub(crate) fn event(record: &UsageRecord) -> ItemKey {
    let at = sortable_time(record.started_at);
    ItemKey::new(event_partition(&record.key_id, &at[..10]), format!("{at}#{}", record.id))
}

pub(crate) fn event_partition(key: &KeyId, day: &str) -> String {
    format!("event#{}#{day}", key.bare())
}

/// The key whose events a partition holds.
pub(crate) fn event_key(partition: &str) -> Option<KeyId> {
    let bare = partition.strip_prefix("event#")?.split('#').next()?;
    format!("{}{bare}", KeyId::PREFIX).parse().ok()
}

pub(crate) fn account_day(account: &AccountId, day: &str) -> String {
    format!("{}#{day}", account.bare())
}

pub(crate) fn total_partition(shard: u64) -> String {
    format!("rollup#total#{shard}")
}

/// The partition with the keys and models of a day. It has many items, but none of them is written
/// often: a key's events come from one shard, and a model's events are spread over shards.
pub(crate) fn day_partition(day: &str) -> String {
    format!("rollup#day#{day}")
}

pub(crate) const TOTAL_DAY_PREFIX: &str = "day#";
pub(crate) const KEY_PART: &str = "key#";
pub(crate) const MODEL_PART: &str = "model#";

pub(crate) fn cube_partition(day: &str, shard: u64) -> String {
    format!("rollup#cube#{day}#{shard}")
}

/// The attributes of an event that hold its cost and price version.
pub(crate) const COST: &str = "c";
pub(crate) const PRICE_VERSION: &str = "pv";

/// One shard of the total of a day.
pub(crate) fn total_day(shard: u64, day: &str) -> ItemKey {
    ItemKey::new(total_partition(shard), format!("{TOTAL_DAY_PREFIX}{day}"))
}

/// The place of a rollup's item. The model comes last because only the model can contain any
/// character.
pub(crate) fn rollup(rollup: &Rollup) -> ItemKey {
    match rollup {
        Rollup::TotalHour { shard, hour } => {
            ItemKey::new(total_partition(*shard), format!("hour#{}", hour.as_str()))
        }
        Rollup::TotalDay { shard, day } => total_day(*shard, day),
        Rollup::KeyDay { day, key } => {
            ItemKey::new(day_partition(day), format!("{KEY_PART}{}", key.bare()))
        }
        Rollup::ModelDay { shard, day, model } => {
            ItemKey::new(day_partition(day), format!("{MODEL_PART}{shard}#{model}"))
        }
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
            ItemKey::new(cube_partition(cell.hour.day(), *shard), sk)
        }
    }
}
