//! `baton usage`: what was used, summed up.

use super::Desk;
use crate::Fail;
use clap::Args;

/// What is asked of a summary.
#[derive(Args)]
pub struct Summary {
    /// Columns to group by: any of hour, day, month, key, user, group, account, model
    #[arg(long, default_value = "day,model")]
    by: String,
    /// First day or time (default: 30 days ago)
    #[arg(long)]
    from: Option<String>,
    /// Last day or time (default: now)
    #[arg(long)]
    to: Option<String>,
}

const SUMS: [(&str, &str); 8] = [
    ("requests", "/requests"),
    ("errors", "/errors"),
    ("input", "/tokens/input"),
    ("output", "/tokens/output"),
    ("cache read", "/tokens/cache_read"),
    ("cache write 5m", "/tokens/cache_write_5m"),
    ("cache write 1h", "/tokens/cache_write_1h"),
    ("cost USD", "/cost_usd"),
];

pub(crate) async fn run(desk: &Desk, what: Summary) -> Result<(), Fail> {
    let mut query = vec![("by", what.by.as_str())];
    query.extend(what.from.as_deref().map(|from| ("from", from)));
    query.extend(what.to.as_deref().map(|to| ("to", to)));
    let answer = desk.admin.get(&["usage", "summary"], &query).await?;
    let groups = what.by.split(',').map(str::trim).filter(|name| !name.is_empty());
    let places: Vec<(&str, String)> = groups.map(|name| (name, format!("/group/{name}"))).collect();
    let columns: Vec<(&str, &str)> =
        places.iter().map(|(name, place)| (*name, place.as_str())).chain(SUMS).collect();
    desk.screen.rows(&answer, &columns);
    Ok(())
}
