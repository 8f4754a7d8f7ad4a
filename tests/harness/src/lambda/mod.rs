//! Lambda on one machine: the shipped binaries under a Runtime API that is as strict as the tests
//! need.
//!
//! [`runtime_api`] plays the platform's side of `AWS_LAMBDA_RUNTIME_API`. [`FunctionProcess`] is a
//! binary under it. [`event`] has the events of a function URL and of the queue's event source.
//! [`LambdaDeployment`] joins the local stores, the fake upstream and the functions. What only AWS
//! can show (size limits, freezing, the view of a client of the URL) is not simulated.

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
