//! Plays AWS on one machine: stores, queue, key service, event source and schedule, as template.yaml defines them.
