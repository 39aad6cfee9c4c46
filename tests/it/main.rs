//! Behaviour tests, through the public surface only.
