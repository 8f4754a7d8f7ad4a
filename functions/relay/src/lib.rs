//! The data plane: one request through authenticate, read, admit, choose, forward, stream, settle, reply.
