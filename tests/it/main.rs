//! Behaviour tests, through the public surface only. Each module guards the promise that its first line names.

mod admin;
mod contract;
mod encrypt;
mod interop;
mod interop_envelope;
mod kill;
mod lambda;
mod openapi;
mod permissions;
mod policy;
mod portal;
mod refusals;
mod sdk;
mod send;
mod system;
mod template;
mod tools;
