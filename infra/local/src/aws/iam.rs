//! A function's role: the Allow statements of its policies in `template.yaml`, held against every call it makes.
//!
//! Only what the template needs is understood: Allow, Action, Resource, and conditions on tags, on the KMS encryption
//! context and on DynamoDB's leading keys. Anything else does not load, since a statement that is half understood would
//! allow more here than on AWS, or less. A role remembers which of its grants were ever needed. Services that use a queue or
//! a topic are held to its own policy (`iam/resource.rs`).

mod need;
mod resource;
mod statement;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::arn::ACCOUNT;
use super::error::AwsError;
use super::wire::{Service, denied};
pub(crate) use need::Need;
pub(crate) use resource::{Asked, allows};
use statement::Statement;

/// A policy that cannot be applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the policy of role {role}: {what}")]
pub struct PolicyError {
    /// The role.
    pub role: String,
    /// What is not understood, by name.
    pub what: String,
}

/// A role and the record of what it was needed for.
pub struct Role {
    name: String,
    statements: Vec<Statement>,
    used: Mutex<BTreeSet<(String, String)>>,
    refused: Mutex<BTreeSet<(String, String)>>,
}

/// A call that no statement allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    role: String,
    action: String,
    resource: String,
}

impl Role {
    /// A role from the statements of its policies, as JSON with every intrinsic function already resolved.
    ///
    /// # Errors
    /// What in the statements is not understood, by name.
    pub fn new(name: &str, statements: &[Value]) -> Result<Self, PolicyError> {
        let parsed: Result<Vec<_>, String> = statements.iter().map(Statement::parse).collect();
        let statements = parsed.map_err(|what| PolicyError {
            role: name.to_owned(),
            what,
        })?;
        Ok(Self {
            name: name.to_owned(),
            statements,
            used: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    /// The role's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every grant, as the action and the resource pattern that the template states.
    #[must_use]
    pub fn granted(&self) -> BTreeSet<(String, String)> {
        self.statements.iter().flat_map(Statement::grants).collect()
    }

    /// The grants that a call has needed so far. A call that two grants allow uses both.
    #[must_use]
    pub fn used(&self) -> BTreeSet<(String, String)> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The grants that no call has needed so far.
    #[must_use]
    pub fn unused(&self) -> BTreeSet<(String, String)> {
        self.granted().difference(&self.used()).cloned().collect()
    }

    /// What was asked for and no statement allows, as the action and the resource.
    #[must_use]
    pub fn refused(&self) -> BTreeSet<(String, String)> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds every need of a call against the statements.
    pub(crate) fn check(&self, needs: &[Need]) -> Result<(), Denied> {
        let mut found = Vec::new();
        for need in needs {
            let grants: Vec<_> = self
                .statements
                .iter()
                .flat_map(|statement| statement.allow(need))
                .collect();
            if grants.is_empty() {
                let refused = (need.action.clone(), need.resource.clone());
                self.refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(refused);
                return Err(Denied {
                    role: self.name.clone(),
                    action: need.action.clone(),
                    resource: need.resource.clone(),
                });
            }
            found.extend(grants);
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(())
    }
}

impl Denied {
    /// The refusal, as the service words it.
    pub(crate) fn of(&self, service: Service) -> AwsError {
        let Self { role, action, resource } = self;
        let who = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{role}");
        denied(
            service,
            &format!(
                "User: {who} is not authorized to perform: {action} on resource: {resource} because no identity-based \
                 policy allows the {action} action"
            ),
        )
    }
}
