//! The pages of a service.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, Error};

/// A service's HTTP address.
#[derive(Clone, Copy)]
pub struct Http {
    /// Where the service is to listen.
    pub address: SocketAddr,
}

impl Http {
    /// An address that nothing listens on yet.
    pub fn on_a_free_port() -> Self {
        let port = stack::free_port().expect("a port is free");
        Self { address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    /// Status and body of a page; status 0 where nobody answers.
    pub fn get(&self, path: &str) -> (u16, String) {
        answer(agent().get(self.url(path)).call())
    }

    /// Status and parsed body of a POST of JSON, with this token where there is one.
    pub fn post(&self, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = agent().post(self.url(path)).content_type("application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (status, body) = answer(request.send(body));
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Status and parsed body of `POST /predict`.
    pub fn predict(&self, body: &Value) -> (u16, Value) {
        self.post("/predict", None, &body.to_string())
    }

    /// A metric, summed over its samples: all of a name, or those that begin with what is given, as
    /// in `records_total{reason="not_json"}`. `None` where there is no sample.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.get("/metrics");
        let rests = page.lines().filter_map(|line| line.strip_prefix(name));
        let samples = rests.filter(|rest| rest.starts_with([' ', '{']));
        samples.filter_map(|rest| rest.rsplit(' ').next()?.parse().ok()).reduce(|sum: f64, value| sum + value)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn agent() -> Agent {
    let limit = Some(Duration::from_secs(30));
    Agent::config_builder().http_status_as_error(false).timeout_global(limit).build().into()
}

fn answer(response: Result<Response<Body>, Error>) -> (u16, String) {
    match response {
        Ok(mut response) => (response.status().as_u16(), response.body_mut().read_to_string().unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}
