//! The longest bodies of requests.

/// The longest body of most requests, in bytes: an account is copied into up to 40 groups, and a
/// transaction of DynamoDB takes 4 MB.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// The longest body of `/usage/redrive`, in bytes: room for several of the largest records.
pub(crate) const REDRIVE_BODY_BYTES_MAX: usize = 1 << 20;
