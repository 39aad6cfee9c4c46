//! The product: every rule of Sealpost, and its AWS calls.

pub mod actor;
pub mod api_key;
pub mod app;
pub mod audit;
pub mod aws;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod egress;
pub mod email;
pub mod engagement;
pub mod error;
pub mod event;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
pub mod id;
pub mod json;
pub mod key;
pub(crate) mod link;
pub mod phi;
pub mod pickup;
pub mod planted;
pub mod policy;
pub mod random;
pub mod rate;
pub mod recipient;
pub(crate) mod record;
pub mod retention;
pub(crate) mod seal;
pub mod simulator;
pub mod suppression;
pub mod tenant;
pub mod unsubscribe;
pub mod webhook;
