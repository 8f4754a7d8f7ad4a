//! The control plane: the operator's API.
