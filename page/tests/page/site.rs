//! A page over a database of a test's own, and programs that ask it.

use std::net::SocketAddr;

use harness::{Http, Storage, until};
use page::Config;
use service::{CacheArguments, DatabaseArguments};
use store::{NewLabel, NextOffset, Outcome, PredictionRow, Stream, Version, Write};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ureq::Agent;

/// A page, and what it shows.
pub struct Site {
    pub storage: Storage,
    pub address: SocketAddr,
    config: Config,
    stop: CancellationToken,
    served: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Site {
    /// For everybody on this machine.
    pub async fn open() -> Self {
        Self::with(|_, _| {}).await
    }

    /// For these people: name, role and token in each line.
    pub async fn of_people(people: &str) -> Self {
        Self::with(|config, storage| {
            let file = storage.path("people");
            std::fs::write(&file, people).unwrap();
            config.people = Some(file);
        })
        .await
    }

    /// With two versions, of which the second serves.
    pub async fn with_models() -> Self {
        let storage = Storage::new().await;
        let checkpoints = storage.checkpoints();
        for seed in [1, 2] {
            let directory = storage.path(&format!("model-{seed}"));
            harness::save_tiny_model(&directory, &["好评", "差评"], seed);
            let version = storage.register(&directory, &["好评", "差评"]).await;
            storage.promote(version).await;
        }
        Self::over(storage, |config, _| config.checkpoints = Some(checkpoints)).await
    }

    pub async fn with(change: impl FnOnce(&mut Config, &Storage)) -> Self {
        Self::over(Storage::new().await, change).await
    }

    pub async fn over(storage: Storage, change: impl FnOnce(&mut Config, &Storage)) -> Self {
        let mut config = Config {
            database: DatabaseArguments::new(&*storage.database),
            http: Http::on_a_free_port().address,
            cache: CacheArguments { directory: Some(storage.path("cache")) },
            ..Config::default()
        };
        change(&mut config, &storage);
        let stop = CancellationToken::new();
        let served = tokio::spawn(page::run(config.clone(), stop.clone()));
        let site = Self { address: config.http, config, storage, stop, served: Some(served) };
        let http = Http { address: site.address };
        until("a page that is ready", async || http.get("/health/ready").0 == 200).await;
        site
    }

    /// A second page over the same database.
    pub async fn another(&self) -> SocketAddr {
        let address = Http::on_a_free_port().address;
        let config = Config { http: address, ..self.config.clone() };
        tokio::spawn(page::run(config, self.stop.clone()));
        let http = Http { address };
        until("a second page that is ready", async || http.get("/health/ready").0 == 200).await;
        address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A program that asks this page and keeps its cookie.
    pub fn visitor(&self) -> Visitor {
        Visitor::of(self.address)
    }

    /// Puts predictions where a consumer would put them.
    pub async fn predict(&self, rows: Vec<PredictionRow>) {
        let stream = Stream { pipeline: "labelstream".into(), cluster_id: "a-cluster".into(), topic: "reviews".into() };
        let claim = self.storage.store.claim(&stream, 0, "a test", NextOffset(0)).await.unwrap();
        let (partition, epoch, from) = (0, claim.epoch, claim.next_offset);
        let to = NextOffset(from.0 + rows.len() as i64);
        let predictions =
            rows.into_iter().zip(from.0..).map(|(row, kafka_offset)| PredictionRow { kafka_offset, ..row }).collect();
        let write = Write { partition, epoch, from, to, predictions, dead_letters: vec![], tombstones: 0 };
        assert_eq!(self.storage.store.write(&stream, &write).await.unwrap(), Outcome::Written);
    }

    /// So many reviews, all unlike each other, of which a word tells the class.
    pub async fn predict_some(&self, count: usize) {
        self.predict((0..count).map(|number| prediction(&format!("r-{number}"), &text(number))).collect()).await;
    }

    /// Labels by somebody else, of texts that did not come through the stream.
    pub async fn label_before(&self, numbers: std::ops::Range<usize>) {
        let label = |number: usize| NewLabel {
            review_id: None,
            text: Some(text(number)),
            label: class_of(number).to_owned(),
            labeled_by: Some("ada".to_owned()),
            labeled_at: None,
            source: "test".to_owned(),
        };
        self.storage.store.add_labels(&numbers.map(label).collect::<Vec<_>>()).await.unwrap();
    }

    pub async fn add_classes(&self) {
        for class in ["好评", "差评"] {
            self.storage.store.add_class(class).await.unwrap();
        }
    }

    /// Ends the page, which must end well.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(served) = self.served.take() {
            served.await.unwrap().unwrap();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A text that one word tells the class of, unlike all others.
pub fn text(number: usize) -> String {
    let dishes = ["米饭", "面条", "火锅", "烧烤", "蛋糕", "奶茶", "咖啡", "饺子", "包子", "炸鸡", "寿司"];
    let shops = ["东街", "西市", "南门", "北站", "河边", "山上", "机场"];
    let word = if number.is_multiple_of(2) { "非常好吃" } else { "实在难吃" };
    format!("{}的{}{word}，第{number}次来", shops[number % 7], dishes[number % 11])
}

/// What a person says of it.
pub fn class_of(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "好评" } else { "差评" }
}

pub fn prediction(review_id: &str, text: &str) -> PredictionRow {
    PredictionRow {
        kafka_offset: 0,
        record_time: Some(chrono::Utc::now()),
        review_id: review_id.to_owned(),
        text: text.to_owned(),
        created_at: None,
        attributes: Some("{\"city\": \"上海\"}".into()),
        label: "好评".into(),
        score: 0.6,
        scores: vec![0.6, 0.4],
        version: Version(1),
        precision: "f32",
    }
}

/// A program with a cookie.
#[derive(Clone)]
pub struct Visitor {
    address: SocketAddr,
    agent: Agent,
    cookie: Option<String>,
}

/// What the page answers.
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// Where it sends one.
    pub to: String,
    pub headers: Vec<(String, String)>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Visitor {
    pub fn of(address: SocketAddr) -> Self {
        let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        Self { address, agent, cookie: None }
    }

    /// Signed in by a token.
    pub fn signed_in(mut self, token: &str) -> Self {
        let answer = self.post("/sign-in", &[("token", token)]);
        assert_eq!(answer.status, 303, "{}", answer.body);
        self
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let response = request.call().unwrap();
        self.answer(response)
    }

    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_with(path, fields, &[])
    }

    pub fn post_with(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(path, "application/x-www-form-urlencoded", &form, headers)
    }

    pub fn send(&mut self, path: &str, kind: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(format!("http://{}{path}", self.address)).content_type(kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let response = request.send(body).unwrap();
        self.answer(response)
    }

    fn answer(&mut self, mut response: ureq::http::Response<ureq::Body>) -> Answer {
        let headers: Vec<(String, String)> = (response.headers().iter())
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        if let Some((_, cookie)) =
            headers.iter().find(|(name, value)| name == "set-cookie" && value.starts_with("labelstream="))
        {
            self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        }
        let to = headers.iter().find(|(name, _)| name == "location").map_or(String::new(), |(_, to)| to.clone());
        let body = response.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        Answer { status: response.status().as_u16(), body, to, headers }
    }

    /// The review that is shown to be labeled: the item and its text.
    pub fn asked(&mut self, path: &str) -> Option<(String, String)> {
        let page = self.get(path).body;
        let item = between(&page, "name=\"item\" value=\"", "\"")?;
        Some((item, between(&page, "<blockquote id=\"review\" class=\"large\" dir=\"auto\">", "</blockquote>")?))
    }
}

/// What stands between two marks, the first time; of the last `before`, where there are several.
pub fn between(page: &str, before: &str, after: &str) -> Option<String> {
    Some(page.split_once(before)?.1.split_once(after)?.0.to_owned())
}

impl Visitor {
    /// Asks where another one asks, with the cookie that it has.
    pub fn move_to(&mut self, other: &Self) {
        self.address = other.address;
    }
}
