//! Predictions that people look for, with the SQL that finds them, and the history of one review.

use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use rows::spreadsheet::protected;
use serde::Deserialize;
use serde_json::{Map, Value};
use store::{Cursor, Found, ReviewHistory, Search, Version};

use crate::app::{App, Shared, page};
use crate::failure::Failure;
use crate::show;
use crate::visit::Visit;

/// Rows of a page.
const ROWS: usize = 50;
/// Rows of a table to download.
const TABLE: usize = 10_000;
/// What takes longer would keep others waiting.
const LONGEST: Duration = Duration::from_secs(10);

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/search", get(show)).route("/search.csv", get(download)).route("/review", get(review))
}

/// The form, as it was filled in.
#[derive(Deserialize, Default, Clone)]
struct Form {
    #[serde(default)]
    text: String,
    #[serde(default)]
    review_id: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    min: String,
    #[serde(default)]
    max: String,
    #[serde(default)]
    attribute: String,
    #[serde(default)]
    value: String,
    end: Option<i64>,
    skip: Option<i64>,
}

impl Form {
    fn search(&self, pipeline: &str) -> Result<Search, Failure> {
        let given = |field: &str| Some(field.to_owned()).filter(|field| !field.is_empty());
        if [&self.text, &self.review_id, &self.label, &self.attribute, &self.value]
            .iter()
            .any(|field| field.contains('\0'))
        {
            return Err(Failure::Refused("Postgres holds no NUL".to_owned()));
        }
        Ok(Search {
            pipeline: pipeline.to_owned(),
            text: given(&self.text),
            review_id: given(self.review_id.trim()),
            label: given(&self.label),
            version: number(&self.version, "version")?.map(Version),
            min_score: number(&self.min, "score")?,
            max_score: number(&self.max, "score")?,
            attributes: given(self.attribute.trim()).map(|name| attribute(&name, &self.value)),
        })
    }

    fn cursor(&self) -> Option<Cursor> {
        self.end.map(|end| Cursor { end, skip: self.skip.unwrap_or_default().max(0) })
    }

    /// The query of an address that asks the same, from a place on.
    fn query(&self, from: Option<Cursor>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("text", &self.text),
            ("review_id", &self.review_id),
            ("label", &self.label),
            ("version", &self.version),
            ("min", &self.min),
            ("max", &self.max),
            ("attribute", &self.attribute),
            ("value", &self.value),
        ];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        if let Some(Cursor { end, skip }) = from {
            query.append_pair("end", &end.to_string()).append_pair("skip", &skip.to_string());
        }
        query.finish()
    }
}

fn number<T: std::str::FromStr>(field: &str, name: &str) -> Result<Option<T>, Failure> {
    match field.trim() {
        "" => Ok(None),
        field => field.parse().map(Some).map_err(|_| Failure::Refused(format!("the {name} {field:?} is no number"))),
    }
}

/// A value is what it is in JSON, if it is JSON, else a text.
fn attribute(name: &str, value: &str) -> Value {
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// The same question for psql.
fn sql(search: &Search, limit: usize) -> String {
    let mut conditions = vec![format!("pipeline = {}", quoted(&search.pipeline))];
    let mut add = |condition: Option<String>| conditions.extend(condition);
    add(search.text.as_ref().map(|text| format!("strpos(text, {}) > 0", quoted(text))));
    add(search.review_id.as_ref().map(|id| format!("review_id = {}", quoted(id))));
    add(search.label.as_ref().map(|label| format!("label = {}", quoted(label))));
    add(search.version.map(|version| format!("version = {version}")));
    add(search.min_score.map(|score| format!("score >= {score}")));
    add(search.max_score.map(|score| format!("score <= {score}")));
    add(search.attributes.as_ref().map(|fields| format!("attributes @> {}", quoted(&fields.to_string()))));
    format!(
        "select review_id, text, label, score, version, classified_at, attributes\nfrom predictions\nwhere {}\norder by \
         classified_at desc\nlimit {limit};",
        conditions.join("\n    and ")
    )
}

fn quoted(text: &str) -> String {
    // A backslash means itself, whatever the server's setting.
    let escaped = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

#[derive(Template)]
#[template(path = "search.html")]
struct Page<'a> {
    visit: &'a Visit,
    form: &'a Form,
    classes: Vec<String>,
    found: Vec<Found>,
    next: Option<String>,
    table: String,
    sql: String,
}

async fn show(State(app): Shared, visit: Visit, Query(form): Query<Form>) -> Result<Html<String>, Failure> {
    let search = form.search(&app.config.pipeline)?;
    let _alone = app.searches.acquire().await.map_err(|_| Failure::Broken)?;
    let result = app.store.search(&search, form.cursor(), ROWS).await?;
    page(&Page {
        classes: app.store.classes().await?,
        next: result.next.map(|next| form.query(Some(next))),
        table: form.query(None),
        sql: sql(&search, ROWS),
        found: result.found,
        form: &form,
        visit: &visit,
    })
}

/// As a table that a spreadsheet opens: a byte-order mark, and no cell that it would calculate.
async fn download(State(app): Shared, _: Visit, Query(form): Query<Form>) -> Result<Response, Failure> {
    let search = form.search(&app.config.pipeline)?;
    let _alone = app.searches.acquire().await.map_err(|_| Failure::Broken)?;
    let (mut found, mut cursor, started) = (Vec::new(), None, Instant::now());
    loop {
        if started.elapsed() > LONGEST {
            let advice = "this search takes too long for a table to download: narrow it, or ask by its SQL";
            return Err(Failure::Refused(advice.to_owned()));
        }
        let more = app.store.search(&search, cursor, TABLE - found.len()).await?;
        found.extend(more.found);
        cursor = more.next;
        if cursor.is_none() || found.len() >= TABLE {
            break;
        }
    }
    let table = table(&found).map_err(|error| Failure::Refused(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"predictions.csv\""),
    ];
    Ok((headers, table).into_response())
}

fn table(found: &[Found]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer("\u{feff}".as_bytes().to_vec());
    csv.write_record(["review_id", "text", "label", "score", "version", "classified_at", "created_at", "attributes"])?;
    for row in found {
        csv.write_record([
            protected(&row.review_id),
            protected(&row.text),
            protected(&row.label),
            format!("{:.4}", row.score),
            row.version.to_string(),
            show::machine_time(row.classified_at),
            row.created_at.map(show::machine_time).unwrap_or_default(),
            row.attributes.as_ref().map(Value::to_string).unwrap_or_default(),
        ])?;
    }
    Ok(csv.into_inner()?)
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Template)]
#[template(path = "review.html")]
struct Review<'a> {
    visit: &'a Visit,
    id: &'a str,
    history: ReviewHistory,
    /// The versions with the time of their registration: what has a later one than its
    /// classification was classified again.
    registered: Vec<(Version, chrono::DateTime<chrono::Utc>)>,
}

impl Review<'_> {
    fn was_rescored(&self, found: &Found) -> bool {
        let registered = self.registered.iter().find(|(version, _)| *version == found.version);
        registered.is_some_and(|(_, at)| *at > found.classified_at)
    }
}

async fn review(State(app): Shared, visit: Visit, Query(Id { id }): Query<Id>) -> Result<Html<String>, Failure> {
    let history = app.store.review_history(&app.config.pipeline, &id).await?;
    if history.predictions.is_empty() && history.labels.is_empty() {
        return Err(Failure::NotFound);
    }
    let registered = app.store.models().await?.into_iter().map(|model| (model.version, model.created_at)).collect();
    page(&Review { visit: &visit, id: &id, history, registered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sql_asks_the_same_and_nothing_gets_out_of_its_quotes() {
        let form = Form {
            text: "it's".to_owned(),
            version: "3".to_owned(),
            max: "0.75".to_owned(),
            attribute: "city".to_owned(),
            value: "上海".to_owned(),
            ..Form::default()
        };
        let sql = sql(&form.search("p").unwrap(), 50);
        assert!(sql.contains("where pipeline = 'p'\n    and strpos(text, 'it''s') > 0\n    and version = 3"), "{sql}");
        assert!(sql.contains("and score <= 0.75\n    and attributes @> '{\"city\":\"上海\"}'\norder by"), "{sql}");
        assert_eq!(quoted("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn a_value_is_json_where_it_is_json() {
        assert_eq!(attribute("stars", "5").to_string(), "{\"stars\":5}");
        assert_eq!(attribute("city", "5 streets").to_string(), "{\"city\":\"5 streets\"}");
    }

    #[test]
    fn a_form_that_is_no_number_is_refused() {
        let form = Form { version: "new".to_owned(), ..Form::default() };
        assert!(matches!(form.search("p"), Err(Failure::Refused(why)) if why.contains("\"new\"")));
    }
}
