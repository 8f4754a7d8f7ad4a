//! Lambda for one machine: the shipped binaries under a Runtime API that is as strict as a test
//! needs it.
//!
//! [`runtime_api`] plays the platform's side of `AWS_LAMBDA_RUNTIME_API`, [`FunctionProcess`] is a binary
//! under it, [`event`] says what a function URL and the queue's event source would say, and
//! [`LambdaDeployment`] puts the local stores, the fake upstream and the functions together. What only AWS can
//! prove (limits of size, freezing, what a client of the URL sees) is not played.

mod answer;
mod cloud;
pub mod event;
mod function;
mod held_queue;
mod runtime_api;
mod server;
mod stores;

pub use answer::StreamedResponse;
pub use cloud::{LambdaDeployment, PEPPER, STACK, WITHOUT_HURRY};
pub use function::FunctionProcess;
pub use held_queue::HeldQueue;
pub use server::ServeProcess;
pub use stores::StoresProcess;
