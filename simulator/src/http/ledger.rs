//! What the ledger tells over HTTP.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;

use super::{App, BadRequest};
use crate::handle::SimulatorHandle;
use crate::ledger::{
    CheckReport, DocumentSplitter, GrantVerdict, GrantView, LedgerDocument, LedgerSummary,
    SplitError,
};
use crate::requests::RequestRecord;

/// The most verdicts that are listed one by one.
const EACH_MAX: usize = 10_000;

/// The report, and the single verdicts if they were asked for.
#[derive(Serialize)]
pub(crate) struct CheckReply {
    #[serde(flatten)]
    report: CheckReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    each: Option<Vec<DocumentVerdict>>,
}

/// One document's verdict.
#[derive(Serialize)]
struct DocumentVerdict {
    #[serde(rename = "_id")]
    id: Value,
    #[serde(rename = "userId")]
    user_id: Value,
    verdict: GrantVerdict,
}

/// Why documents cannot be judged.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error("document {0} is not sound JSON")]
    Json(u64),
}

/// `GET /ledger`.
pub(crate) async fn summary(State(app): State<App>) -> Json<LedgerSummary> {
    Json(app.handle.summary())
}

/// `GET /ledger/requests`: what came while a script was played.
pub(crate) async fn requests(State(app): State<App>) -> Json<Vec<RequestRecord>> {
    Json(app.handle.requests())
}

/// `GET /ledger/users/{user_id}`: the user's grants, the latest first.
pub(crate) async fn user(
    State(app): State<App>,
    Path(user_id): Path<String>,
) -> Json<Vec<GrantView>> {
    Json(app.handle.grants_of(&user_id))
}

/// `POST /ledger/check`: documents of any number. With `?each=true` the reply lists the verdicts.
pub(crate) async fn check(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Json<CheckReply>, BadRequest> {
    let list_each = query.is_some_and(|query| query.split('&').any(|pair| pair == "each=true"));
    let mut reply =
        CheckReply { report: app.handle.empty_report(), each: list_each.then(Vec::new) };
    let mut splitter = DocumentSplitter::default();
    let mut body = request.into_body().into_data_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|_| BadRequest::new("the body cannot be read"))?;
        let add = |number: u64, json: &[u8]| reply.add(&app.handle, number, json);
        splitter.feed(&bytes, add).map_err(BadRequest::new)?;
    }
    splitter.finish().map_err(BadRequest::new)?;
    Ok(Json(reply))
}

impl CheckReply {
    fn add(
        &mut self,
        handle: &SimulatorHandle,
        number: u64,
        json: &[u8],
    ) -> Result<(), CheckError> {
        // What serde says could quote the document.
        let document = LedgerDocument::from_json(json).map_err(|_| CheckError::Json(number))?;
        let judgement = handle.judge(&document);
        self.report.add(&document, judgement);
        if let Some(each) = &mut self.each
            && each.len() < EACH_MAX
        {
            let LedgerDocument { id, user_id, .. } = document;
            each.push(DocumentVerdict { id, user_id, verdict: judgement.verdict });
        }
        Ok(())
    }
}
