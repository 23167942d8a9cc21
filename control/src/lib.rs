//! What the command line asks the service for on a protected machine, and what it answers.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`message`] | requests and answers |
//! | [`exchange`] | one of each over a stream: a line of JSON with a version |
//! | [`channel`] | the named pipe, which administrators alone may open |
//!
//! A connection carries one request and its answer. Rule: what the other end sends is bounded and
//! checked before it is used, and another version is refused in words.

pub mod channel;
pub mod exchange;
pub mod message;
