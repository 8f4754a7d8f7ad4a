//! `/settings`: settings that operators change at run time.

use crate::answer::{Answer, Told, body};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::body::Bytes;
use axum::extract::State;
use baton_cloud::store::{Edit, Stored};
use baton_domain::runtime::Runtime;
use serde::Deserialize;
use serde_json::{Value, json};

const TARGET: &str = "settings";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeChange {
    member_access: Option<bool>,
}

fn view(stored: &Stored<Runtime>) -> Value {
    let updated_at = (stored.version > 0).then_some(stored.updated_at);
    json!({
        "member_access": stored.value.member_access, "updated_at": updated_at,
        "version": stored.version,
    })
}

pub(crate) async fn read(State(office): Shared) -> Answer {
    Ok(Told::ok(view(&office.runtime().await?)))
}

pub(crate) async fn change(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let RuntimeChange { member_access } = body(&bytes)?;
    let before = office.runtime().await?;
    visit.agrees(&before)?;
    let mut stored = office.store.revise(&before);
    stored.value.member_access = member_access.unwrap_or(stored.value.member_access);
    let (mut edit, after) = (Edit::default(), view(&stored));
    office.store.save(&mut edit, &stored)?;
    let note = Note::updated(&TARGET, view(&before), &after);
    office.enact(&visit, edit, note, Told::ok(after)).await
}

impl Office {
    /// Reads the settings. Their version is 0 until the first change.
    pub(crate) async fn runtime(&self) -> Answer<Stored<Runtime>> {
        let blank = || Stored { version: 0, ..self.store.stamp(Runtime::default(), None) };
        Ok(self.store.read::<Runtime>(&"runtime").await?.unwrap_or_else(blank))
    }
}
