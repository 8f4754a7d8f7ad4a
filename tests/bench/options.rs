//! The benchmark's arguments.

use std::path::PathBuf;

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rounds: u32,
    /// How long each closed loop lasts.
    pub(crate) seconds: f64,
    /// How many slow streams are open at once; a scenario each.
    pub(crate) streams: Vec<u32>,
    pub(crate) slow_events: u32,
    /// Workers of nginx, and threads of Baton.
    pub(crate) threads: u32,
    /// Events that the upstream writes at once.
    pub(crate) burst: u32,
    pub(crate) peers: Vec<PathBuf>,
    /// Builds of Baton that are measured beside this one.
    pub(crate) builds: Vec<PathBuf>,
    /// How long `flat` lasts.
    pub(crate) minutes: u32,
    /// Only scenarios whose name holds this.
    pub(crate) only: String,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: 3,
            seconds: 1.5,
            streams: vec![500, 1_000],
            slow_events: 12,
            threads: 1,
            burst: 1,
            peers: Vec::new(),
            builds: Vec::new(),
            minutes: 10,
            only: String::new(),
        };
        while let Some(name) = arguments.next() {
            if name == "--quick" {
                (options.rounds, options.seconds) = (1, 0.1);
                (options.streams, options.slow_events) = (vec![50], 2);
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = |text: &str| match text.parse::<u32>() {
                Ok(0) | Err(_) => Err(format!("{name}: {text:?} is no number above 0")),
                Ok(number) => Ok(number),
            };
            match name.as_str() {
                "--rounds" => options.rounds = number(&value)?,
                "--seconds" => {
                    options.seconds = value.parse().map_err(|e| format!("{name}: {e}"))?;
                }
                "--streams" => {
                    options.streams = value.split(',').map(number).collect::<Result<_, _>>()?;
                }
                "--threads" => options.threads = number(&value)?,
                "--burst" => options.burst = number(&value)?,
                "--minutes" => options.minutes = number(&value)?,
                "--build" => options.builds.push(value.into()),
                "--peer" => options.peers.push(value.into()),
                "--only" => options.only = value,
                _ => return Err(format!("unknown argument {name}; see tests/bench/README.md")),
            }
        }
        Ok(options)
    }
}
