//! The baton binary: up, serve, and the operator's commands.
