//! Pictures for the documentation, if `EVERGRANT_SCREENSHOTS` is set.

use std::path::PathBuf;

use ::mongodb::bson::{Bson, Document, doc};
use evergrant_domain::statistics::{MINUTE, minute_of};
use evergrant_ports::wall_clock;
use evergrant_testkit::browser::TestBrowser;
use evergrant_testkit::deployment::{PROVIDER, TestDeployment};

const MINUTES_OF_A_DAY: u32 = 24 * 60;

fn are_wanted() -> bool {
    std::env::var_os("EVERGRANT_SCREENSHOTS").is_some()
}

/// Takes a picture, if requested.
pub(super) async fn picture(browser: &TestBrowser, name: &str) {
    if !are_wanted() {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
    std::fs::create_dir_all(&folder).expect("make docs/images");
    let picture = browser.screenshot().await;
    std::fs::write(folder.join(format!("{name}.png")), picture).expect("write a picture");
}

/// Statistics of the previous day, if pictures are requested: a new test has no data for a chart.
pub(super) async fn a_day_before(evergrant: &TestDeployment) {
    if !are_wanted() {
        return;
    }
    let now = minute_of(wall_clock());
    let minutes = (2..MINUTES_OF_A_DAY).map(|ago| (ago, now.minus(MINUTE * ago)));
    let documents: Vec<Document> = minutes
        .map(|(ago, minute)| {
            doc! {
                "_id": format!("{:013}/{PROVIDER}", minute.unix_ms()),
                "counts": counts_of(ago),
            }
        })
        .collect();
    let collection = &evergrant.collection;
    let database = collection.client().database(&collection.namespace().db);
    let statistics = database.collection::<Document>("evergrant_statistics");
    statistics.insert_many(documents).await.expect("write statistics");
}

/// More by day than by night, a bad half-hour some time ago, and an occasional lost user.
fn counts_of(minutes_ago: u32) -> Document {
    let time = f64::from(minutes_ago) / f64::from(MINUTES_OF_A_DAY);
    let daily = 60.0 + 40.0 * (std::f64::consts::TAU * time).cos();
    let wobble = f64::from(minutes_ago * 7 % 11) - 5.0;
    let is_bad = (400..430).contains(&minutes_ago);
    let refreshed = if is_bad { daily / 4.0 } else { daily + wobble };
    let retried = if is_bad { daily / 2.0 } else { f64::from(minutes_ago % 5) };
    #[allow(clippy::cast_possible_truncation, reason = "a picture")]
    let count = |n: f64| Bson::Int64(n.max(0.0) as i64);
    doc! {
        "due": count(daily),
        "refreshed": count(refreshed),
        "retried": count(retried),
        "dead_grant_dead": Bson::Int64(i64::from(minutes_ago.is_multiple_of(97))),
    }
}
