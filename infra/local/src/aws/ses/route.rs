//! The paths of SESv2, so that every operation is known by name, also those which are not implemented.
//!
//! Source: the request lines of the Amazon SES API v2 Reference. A star stands for one path segment.

/// Method, path below `/v2/email/`, operation. A literal segment is listed before a star at the same place.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "account", "GetAccount"),
    ("PUT", "account/dedicated-ips/warmup", "PutAccountDedicatedIpWarmupAttributes"),
    ("POST", "account/delivery", "PutAccountDeliveryAttributes"),
    ("POST", "account/details", "PutAccountDetails"),
    ("PUT", "account/pricing-attributes", "PutAccountPricingAttributes"),
    ("PUT", "account/sending", "PutAccountSendingAttributes"),
    ("PUT", "account/suppression", "PutAccountSuppressionAttributes"),
    ("PUT", "account/vdm", "PutAccountVdmAttributes"),
    ("POST", "configuration-sets", "CreateConfigurationSet"),
    ("DELETE", "configuration-sets/*", "DeleteConfigurationSet"),
    ("GET", "configuration-sets/*", "GetConfigurationSet"),
    ("PUT", "configuration-sets/*/archiving-options", "PutConfigurationSetArchivingOptions"),
    ("PUT", "configuration-sets/*/delivery-options", "PutConfigurationSetDeliveryOptions"),
    ("GET", "configuration-sets/*/event-destinations", "GetConfigurationSetEventDestinations"),
    ("POST", "configuration-sets/*/event-destinations", "CreateConfigurationSetEventDestination"),
    ("DELETE", "configuration-sets/*/event-destinations/*", "DeleteConfigurationSetEventDestination"),
    ("PUT", "configuration-sets/*/event-destinations/*", "UpdateConfigurationSetEventDestination"),
    ("PUT", "configuration-sets/*/reputation-options", "PutConfigurationSetReputationOptions"),
    ("PUT", "configuration-sets/*/sending", "PutConfigurationSetSendingOptions"),
    ("PUT", "configuration-sets/*/suppression-options", "PutConfigurationSetSuppressionOptions"),
    ("PUT", "configuration-sets/*/tracking-options", "PutConfigurationSetTrackingOptions"),
    ("PUT", "configuration-sets/*/vdm-options", "PutConfigurationSetVdmOptions"),
    ("GET", "contact-lists", "ListContactLists"),
    ("POST", "contact-lists", "CreateContactList"),
    ("DELETE", "contact-lists/*", "DeleteContactList"),
    ("GET", "contact-lists/*", "GetContactList"),
    ("PUT", "contact-lists/*", "UpdateContactList"),
    ("POST", "contact-lists/*/contacts", "CreateContact"),
    ("POST", "contact-lists/*/contacts/list", "ListContacts"),
    ("DELETE", "contact-lists/*/contacts/*", "DeleteContact"),
    ("GET", "contact-lists/*/contacts/*", "GetContact"),
    ("PUT", "contact-lists/*/contacts/*", "UpdateContact"),
    ("GET", "custom-verification-email-templates", "ListCustomVerificationEmailTemplates"),
    ("POST", "custom-verification-email-templates", "CreateCustomVerificationEmailTemplate"),
    ("DELETE", "custom-verification-email-templates/*", "DeleteCustomVerificationEmailTemplate"),
    ("GET", "custom-verification-email-templates/*", "GetCustomVerificationEmailTemplate"),
    ("PUT", "custom-verification-email-templates/*", "UpdateCustomVerificationEmailTemplate"),
    ("GET", "dedicated-ip-pools", "ListDedicatedIpPools"),
    ("POST", "dedicated-ip-pools", "CreateDedicatedIpPool"),
    ("DELETE", "dedicated-ip-pools/*", "DeleteDedicatedIpPool"),
    ("GET", "dedicated-ip-pools/*", "GetDedicatedIpPool"),
    ("PUT", "dedicated-ip-pools/*/scaling", "PutDedicatedIpPoolScalingAttributes"),
    ("GET", "dedicated-ips", "GetDedicatedIps"),
    ("GET", "dedicated-ips/*", "GetDedicatedIp"),
    ("PUT", "dedicated-ips/*/pool", "PutDedicatedIpInPool"),
    ("PUT", "dedicated-ips/*/warmup", "PutDedicatedIpWarmupAttributes"),
    ("GET", "deliverability-dashboard", "GetDeliverabilityDashboardOptions"),
    ("PUT", "deliverability-dashboard", "PutDeliverabilityDashboardOption"),
    ("GET", "deliverability-dashboard/blacklist-report", "GetBlacklistReports"),
    ("GET", "deliverability-dashboard/campaigns/*", "GetDomainDeliverabilityCampaign"),
    ("GET", "deliverability-dashboard/domains/*/campaigns", "ListDomainDeliverabilityCampaigns"),
    ("GET", "deliverability-dashboard/statistics-report/*", "GetDomainStatisticsReport"),
    ("POST", "deliverability-dashboard/test", "CreateDeliverabilityTestReport"),
    ("GET", "deliverability-dashboard/test-reports", "ListDeliverabilityTestReports"),
    ("GET", "deliverability-dashboard/test-reports/*", "GetDeliverabilityTestReport"),
    ("POST", "email-address-insights", "GetEmailAddressInsights"),
    ("POST", "export-jobs", "CreateExportJob"),
    ("GET", "export-jobs/*", "GetExportJob"),
    ("PUT", "export-jobs/*/cancel", "CancelExportJob"),
    ("POST", "identities", "CreateEmailIdentity"),
    ("DELETE", "identities/*", "DeleteEmailIdentity"),
    ("GET", "identities/*", "GetEmailIdentity"),
    ("PUT", "identities/*/configuration-set", "PutEmailIdentityConfigurationSetAttributes"),
    ("PUT", "identities/*/dkim", "PutEmailIdentityDkimAttributes"),
    ("PUT", "identities/*/dkim/signing", "PutEmailIdentityDkimSigningAttributes"),
    ("PUT", "identities/*/feedback", "PutEmailIdentityFeedbackAttributes"),
    ("PUT", "identities/*/mail-from", "PutEmailIdentityMailFromAttributes"),
    ("GET", "identities/*/policies", "GetEmailIdentityPolicies"),
    ("DELETE", "identities/*/policies/*", "DeleteEmailIdentityPolicy"),
    ("POST", "identities/*/policies/*", "CreateEmailIdentityPolicy"),
    ("PUT", "identities/*/policies/*", "UpdateEmailIdentityPolicy"),
    ("POST", "identity/certificates", "AssociateEmailIdentityCertificate"),
    ("POST", "identity/certificates/delete", "DisassociateEmailIdentityCertificate"),
    ("POST", "identity/certificates/list", "ListEmailIdentityCertificates"),
    ("POST", "import-jobs", "CreateImportJob"),
    ("POST", "import-jobs/list", "ListImportJobs"),
    ("GET", "import-jobs/*", "GetImportJob"),
    ("GET", "insights/*", "GetMessageInsights"),
    ("POST", "list-configuration-sets", "ListConfigurationSets"),
    ("POST", "list-export-jobs", "ListExportJobs"),
    ("POST", "list-identities", "ListEmailIdentities"),
    ("POST", "metrics/batch", "BatchGetMetricData"),
    ("GET", "multi-region-endpoints", "ListMultiRegionEndpoints"),
    ("POST", "multi-region-endpoints", "CreateMultiRegionEndpoint"),
    ("DELETE", "multi-region-endpoints/*", "DeleteMultiRegionEndpoint"),
    ("GET", "multi-region-endpoints/*", "GetMultiRegionEndpoint"),
    ("POST", "outbound-bulk-emails", "SendBulkEmail"),
    ("POST", "outbound-custom-verification-emails", "SendCustomVerificationEmail"),
    ("POST", "outbound-emails", "SendEmail"),
    ("POST", "reputation/entities", "ListReputationEntities"),
    ("GET", "reputation/entities/*/*", "GetReputationEntity"),
    ("PUT", "reputation/entities/*/*/customer-managed-status", "UpdateReputationEntityCustomerManagedStatus"),
    ("PUT", "reputation/entities/*/*/policy", "UpdateReputationEntityPolicy"),
    ("POST", "resources/tenants/list", "ListResourceTenants"),
    ("GET", "suppression/addresses", "ListSuppressedDestinations"),
    ("PUT", "suppression/addresses", "PutSuppressedDestination"),
    ("DELETE", "suppression/addresses/*", "DeleteSuppressedDestination"),
    ("GET", "suppression/addresses/*", "GetSuppressedDestination"),
    ("DELETE", "tags", "UntagResource"),
    ("GET", "tags", "ListTagsForResource"),
    ("POST", "tags", "TagResource"),
    ("GET", "templates", "ListEmailTemplates"),
    ("POST", "templates", "CreateEmailTemplate"),
    ("DELETE", "templates/*", "DeleteEmailTemplate"),
    ("GET", "templates/*", "GetEmailTemplate"),
    ("PUT", "templates/*", "UpdateEmailTemplate"),
    ("POST", "templates/*/render", "TestRenderEmailTemplate"),
    ("POST", "tenant/suppression", "PutTenantSuppressionAttributes"),
    ("POST", "tenants", "CreateTenant"),
    ("POST", "tenants/delete", "DeleteTenant"),
    ("POST", "tenants/get", "GetTenant"),
    ("POST", "tenants/list", "ListTenants"),
    ("POST", "tenants/resources", "CreateTenantResourceAssociation"),
    ("POST", "tenants/resources/delete", "DeleteTenantResourceAssociation"),
    ("POST", "tenants/resources/list", "ListTenantResources"),
    ("POST", "update-configuration-sets", "UpdateConfigurationSet"),
    ("POST", "vdm/recommendations", "ListRecommendations"),
];

/// The operation that a request names, and the values of the path's variable segments in order, decoded.
pub(super) fn find(method: &str, path: &str) -> Option<(&'static str, Vec<String>)> {
    let path = path.trim_matches('/').strip_prefix("v2/email/")?;
    let segments: Vec<&str> = path.split('/').collect();
    ROUTES
        .iter()
        .filter(|route| route.0 == method)
        .find_map(|(_, pattern, operation)| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            if pattern.len() != segments.len() {
                return None;
            }
            let mut variables = Vec::new();
            for (expected, found) in pattern.iter().zip(&segments) {
                match *expected {
                    "*" if !found.is_empty() => variables.push(decode(found)),
                    literal if literal == *found => {}
                    _ => return None,
                }
            }
            Some((*operation, variables))
        })
}

/// One name-value pair list from a query string.
pub(super) fn query(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// A path segment without its percent signs. A plus is itself in a path, unlike in a query.
fn decode(segment: &str) -> String {
    let pair = format!("s={}", segment.replace('+', "%2B"));
    query(&pair)
        .into_iter()
        .next()
        .map(|(_, value)| value)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_request_line() {
        for (method, pattern, operation) in ROUTES {
            let path = format!("/v2/email/{}", pattern.replace('*', "one%40mail.test"));
            let (found, variables) = find(method, &path).unwrap();
            assert_eq!(found, *operation, "{method} {path}");
            assert!(variables.iter().all(|variable| variable == "one@mail.test"));
        }
        assert!(find("GET", "/v2/email/nothing").is_none());
        assert!(find("GET", "/v1/email/account").is_none());
    }

    #[test]
    fn a_plus_in_a_path_stays_a_plus() {
        let (_, variables) = find("GET", "/v2/email/suppression/addresses/a+b%40mail.test").unwrap();
        assert_eq!(variables, ["a+b@mail.test"]);
    }
}
