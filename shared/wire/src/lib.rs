//! What is spoken: bytes in, values out.
