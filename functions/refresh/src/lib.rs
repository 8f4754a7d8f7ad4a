//! The caretaker: what has to happen on a schedule.
