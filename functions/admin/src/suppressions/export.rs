//! The export of suppressions, as NDJSON or CSV.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sealpost_core::app::App;
use sealpost_core::error::Error;
use sealpost_core::suppression::{self, Origin, Page};
use sealpost_handler::answer::{Answer, Problem};
use sealpost_handler::caller::Caller;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{SuppressionLine, id};

/// How many suppressions a page of the export has where nobody says otherwise.
const EXPORTED: usize = 1000;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportFormat {
    /// One JSON object a line.
    #[default]
    Ndjson,
    /// RFC 4180, with a header line.
    Csv,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// `ndjson` (the default) or `csv`.
    #[param(inline)]
    format: Option<ExportFormat>,
    /// How many, 1 to 1,000; 1,000 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only older ones than this id.
    after: Option<String>,
}

/// Export suppressions, newest first, a page at a time: where more follow, the header `Link` names the next page (RFC 8288).
#[utoipa::path(
    get, path = "/suppressions/export", tag = "suppressions", operation_id = "exportSuppressions", security(("api_key" = [])),
    params(ExportQuery),
    responses((status = 200, description = "A line a suppression",
        content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem))
)]
pub(crate) async fn export_suppressions(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|_| Error::invalid("format", "Parameters are `format`, `limit` and `after`."))?;
    let limit = query.limit.unwrap_or(EXPORTED);
    if !(1..=EXPORTED).contains(&limit) {
        return Err(Error::invalid("limit", "A page has 1 to 1,000 suppressions.").into());
    }
    let page = Page {
        limit,
        after: id("after", query.after)?,
        ..Page::default()
    };
    let format = query.format.unwrap_or_default();
    let (rows, has_more) = suppression::list(&app, &actor, &page).await?;
    let next = rows.last().filter(|_| has_more).map(|row| row.id.to_string());
    let lines = rows.into_iter().map(SuppressionLine::new);
    let (content_type, name, text) = match format {
        ExportFormat::Ndjson => {
            let lines = lines.map(|line| serde_json::to_string(&line).map(|line| format!("{line}\n")));
            let text = lines.collect::<Result<String, _>>();
            let text = text.map_err(|error| Error::internal("A line could not be written.").because(error))?;
            ("application/x-ndjson", "ndjson", text)
        }
        ExportFormat::Csv => ("text/csv; charset=utf-8", "csv", csv(lines)),
    };
    let mut response: Response = ([(header::CONTENT_TYPE, content_type)], text).into_response();
    if let Some(next) = next {
        let link = format!("</suppressions/export?format={name}&limit={limit}&after={next}>; rel=\"next\"");
        let link = HeaderValue::from_str(&link);
        let link = link.map_err(|error| Error::internal("A link could not be written.").because(error))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn csv(lines: impl Iterator<Item = SuppressionLine>) -> String {
    let mut text = "id,email,reason,scope,origin,source_id,created_at,expires_at\r\n".to_owned();
    for line in lines {
        let origin = match line.origin {
            Origin::Bounce => "bounce",
            Origin::Complaint => "complaint",
            Origin::Manual => "manual",
        };
        let fields = [
            line.id.as_str(),
            &line.email,
            line.reason.as_str(),
            line.scope.as_str(),
            origin,
            line.source_id.as_deref().unwrap_or_default(),
            &line.created_at,
            line.expires_at.as_deref().unwrap_or_default(),
        ];
        text.push_str(&fields.map(field).join(","));
        text.push_str("\r\n");
    }
    text
}

/// A field of RFC 4180. A local part may begin with `=`, `+` or `-`, which a spreadsheet would take for a formula; an
/// apostrophe before it keeps it a text (OWASP, "CSV Injection"). NDJSON has every address as it is.
fn field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_no_formula_and_ends_no_record() {
        for (text, expected) in [
            ("pat@patient.test", r#""pat@patient.test""#),
            ("=1+1@patient.test", r#""'=1+1@patient.test""#),
            ("+49@patient.test", r#""'+49@patient.test""#),
            ("a\"b,c@patient.test", r#""a""b,c@patient.test""#),
            ("", r#""""#),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
