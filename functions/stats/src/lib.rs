//! The accountant: usage events from the queue become stored events and rollups, once each.
