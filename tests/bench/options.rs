//! The benchmark's arguments.

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rounds: u32,
    pub(crate) requests: u32,
    pub(crate) at_once: u32,
    pub(crate) streams: u32,
    pub(crate) minutes: f64,
    pub(crate) direct_only: bool,
}

impl Options {
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: 5,
            requests: 2_000,
            at_once: 32,
            streams: 500,
            minutes: 0.5,
            direct_only: false,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            if name == "--direct-only" {
                options.direct_only = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let whole = || value.parse::<u32>().map_err(|e| format!("{name}: {e}"));
            match name.as_str() {
                "--rounds" => options.rounds = whole()?,
                "--requests" => options.requests = whole()?.max(8),
                "--at-once" => options.at_once = whole()?.max(1),
                "--streams" => options.streams = whole()?,
                "--minutes" => {
                    options.minutes = value.parse().map_err(|e| format!("{name}: {e}"))?;
                }
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        Ok(options)
    }
}
