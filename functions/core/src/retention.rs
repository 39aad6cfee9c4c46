//! What nobody will ever ask for again is removed.
//!
//! Runs once a day over every tenant: stored messages that no email was accepted for ([`archive`]), and sealed mails and portal
//! copies whose time is over ([`work`]). Nothing is removed that a row stands for or may still come to stand for: where a row
//! decides, the mark that forbids it is written first, under the condition that the row is not there. It may break off
//! anywhere and run twice at the same time: what one run leaves, the next one finds.

mod archive;
mod work;

use crate::actor::Actor;
use crate::app::App;
use crate::error::Result;
use crate::id::TenantId;
use crate::key::Objects;
use crate::tenant;

/// How long an acceptance may take before it has failed: far more than any function runs. Milliseconds.
const DAY_MS: i64 = 86_400_000;
/// How many objects are looked at together (BatchGetItem takes a hundred keys).
const PAGE: i32 = 100;

/// What one run removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Stored messages that no email was accepted for.
    pub n_orphans: usize,
    /// Emails of batches whose acceptance broke off.
    pub n_emails: usize,
    /// Sealed mails of deliveries that are over.
    pub n_sealed: usize,
    /// Portal copies that nobody can read any more.
    pub n_copies: usize,
}

/// One run over all tenants. A tenant or a sort of objects that fails does not stop the others.
///
/// # Errors
/// Unavailable and Internal, when the register could not be read or some part of the run failed.
pub async fn sweep(app: &App, actor: &Actor) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut failed = None;
    for tenant in tenant::all(app).await? {
        let results = [
            archive::sweep(app, actor, &tenant, &mut swept).await,
            work::sweep_sealed(app, &tenant, &mut swept).await,
            work::sweep_copies(app, actor, &tenant, &mut swept).await,
        ];
        for error in results.into_iter().filter_map(Result::err) {
            tracing::warn!(%tenant, kind = ?error.kind(), "a sweep of objects failed: {error}");
            failed = Some(error);
        }
    }
    match failed {
        None => Ok(swept),
        Some(error) => Err(error),
    }
}

/// All of a tenant's objects of one sort, a page at a time.
struct Pages<'a> {
    app: &'a App,
    objects: Objects<'a>,
    after: String,
    is_end: bool,
}

impl<'a> Pages<'a> {
    fn new(app: &'a App, objects: Objects<'a>, after: String) -> Self {
        Self {
            app,
            objects,
            after,
            is_end: false,
        }
    }

    /// The paths of the next page; nothing behind the last.
    async fn next(&mut self) -> Result<Option<Vec<String>>> {
        if self.is_end {
            return Ok(None);
        }
        let page = self.app.list_objects(self.objects, &self.after, PAGE).await?;
        self.is_end = page.len() < usize::try_from(PAGE).unwrap_or_default();
        if let Some(last) = page.last() {
            self.after.clone_from(last);
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

/// A name that none of our objects has is left alone: whoever put it there knows why.
fn warn_of_stranger(tenant: &TenantId) {
    tracing::warn!(%tenant, "an object has a name that none of ours has");
}
