//! Paths of objects.

use super::month;
use crate::config::Config;
use crate::id::{DeliveryId, EmailId, PickupId, RecordId, TenantId};

/// The path of an object.
#[derive(Debug, Clone)]
pub enum Object<'a> {
    /// An archived message.
    Archive(&'a TenantId, &'a RecordId),
    /// A message sealed for one recipient that waits for SES, by delivery and hash of the plan.
    Sealed(&'a TenantId, &'a EmailId, &'a DeliveryId, &'a str),
    /// A portal copy.
    Portal(&'a TenantId, &'a PickupId),
}

impl Object<'_> {
    /// The object's key in its bucket; an archive object's key begins with the tenant and the month.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Object::Archive(tenant, record) => {
                format!(
                    "{}{}/{record}",
                    Objects::Archive(tenant).prefix(),
                    month(record.made_at())
                )
            }
            Object::Sealed(tenant, email, delivery, plan) => {
                format!("{}{email}/{delivery}/{plan}", Objects::Sealed(tenant).prefix())
            }
            Object::Portal(tenant, pickup) => format!("{}{pickup}", Objects::Portal(tenant).prefix()),
        }
    }

    /// The object's bucket in this deployment.
    #[must_use]
    pub fn bucket<'c>(&self, config: &'c Config) -> &'c str {
        match self {
            Object::Archive(tenant, _) => Objects::Archive(tenant).bucket(config),
            Object::Sealed(tenant, ..) => Objects::Sealed(tenant).bucket(config),
            Object::Portal(tenant, _) => Objects::Portal(tenant).bucket(config),
        }
    }
}

/// A tenant's objects of one sort. The paths of archive objects sort by the time of their making.
#[derive(Debug, Clone, Copy)]
pub enum Objects<'a> {
    /// Archived messages.
    Archive(&'a TenantId),
    /// Messages sealed for one recipient.
    Sealed(&'a TenantId),
    /// Portal copies.
    Portal(&'a TenantId),
}

impl Objects<'_> {
    /// What their paths begin with.
    #[must_use]
    pub fn prefix(self) -> String {
        match self {
            Objects::Archive(tenant) => format!("mail/{tenant}/"),
            Objects::Sealed(tenant) => format!("sealed/{tenant}/"),
            Objects::Portal(tenant) => format!("portal/{tenant}/"),
        }
    }

    /// Their bucket in this deployment.
    #[must_use]
    pub fn bucket(self, config: &Config) -> &str {
        match self {
            Objects::Archive(_) => &config.archive_bucket,
            Objects::Sealed(_) | Objects::Portal(_) => &config.work_bucket,
        }
    }

    /// The record of an archive object.
    #[must_use]
    pub fn record(path: &str) -> Option<RecordId> {
        RecordId::parse(path.rsplit('/').next()?)
    }

    /// The email and the delivery of a sealed mail.
    #[must_use]
    pub fn delivery(path: &str) -> Option<(EmailId, DeliveryId)> {
        let mut parts = path.rsplit('/').skip(1);
        let delivery = DeliveryId::parse(parts.next()?)?;
        Some((EmailId::parse(parts.next()?)?, delivery))
    }

    /// The portal message of a portal copy.
    #[must_use]
    pub fn pickup(path: &str) -> Option<PickupId> {
        PickupId::parse(path.rsplit('/').next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_names_is_read_back() {
        let tenant = TenantId::from_bytes([1; 16]);
        let (email, delivery) = (EmailId::from_bytes([2; 16]), DeliveryId::from_bytes([4; 16]));
        let (record, pickup) = (RecordId::from_bytes([3; 16]), PickupId::from_bytes([5; 16]));
        let path = Object::Archive(&tenant, &record).path();
        assert_eq!(Objects::record(&path), Some(record));
        let path = Object::Sealed(&tenant, &email, &delivery, "0123").path();
        assert_eq!(Objects::delivery(&path), Some((email, delivery)));
        let path = Object::Portal(&tenant, &pickup).path();
        assert_eq!(Objects::pickup(&path), Some(pickup));
        for foreign in ["", "a", "mail/ten_x/2026-11/else", "sealed/ten_x/dlv_x/0123"] {
            let is_nothing = (
                Objects::record(foreign),
                Objects::delivery(foreign),
                Objects::pickup(foreign),
            );
            assert_eq!(is_nothing, (None, None, None), "{foreign}");
        }
    }
}
