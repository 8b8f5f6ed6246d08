//! The input and the output, as JSON; bench/load/plan.ts gives the meaning of each member.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadPlan {
    pub host: IpAddr,
    pub port: u16,
    pub via: Option<Via>,
    pub duration_ms: u64,
    pub warm_up_ms: u64,
    pub streams: Vec<LoadStream>,
    pub server_pid: Option<u32>,
    pub niceness: Option<i32>,
}

/// A Unix socket: TLS is known to the other generator alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Via {
    pub path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadStream {
    pub name: String,
    pub connections: usize,
    pub rate_per_second: f64,
    #[serde(default)]
    pub later_rates: Vec<LoadPhase>,
    #[serde(default)]
    pub gives_up: bool,
    #[serde(default)]
    pub window_ms: u64,
    pub requests: Vec<LoadRequest>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadPhase {
    pub from_ms: u64,
    pub rate_per_second: f64,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
pub enum Method {
    #[serde(rename = "GET")]
    Get,
    #[serde(rename = "POST")]
    Post,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    pub method: Method,
    pub path: String,
    pub token: String,
    #[serde(default)]
    pub body: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl LoadRequest {
    /// The bytes of the request.
    pub fn wire(&self, host: IpAddr, port: u16) -> Box<[u8]> {
        let method = if self.method == Method::Get { "GET" } else { "POST" };
        let mut text = format!("{method} {} HTTP/1.1\r\nHost: {host}:{port}\r\n", self.path);
        if !self.token.is_empty() {
            text += &format!("Authorization: Bearer {}\r\n", self.token);
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.method == Method::Post {
            text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", self.body.len());
        }
        text += "\r\n";
        text += &self.body;
        text.into_bytes().into()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadResult {
    pub elapsed_ms: f64,
    pub streams: Vec<StreamResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUse>,
    pub generator_cpu_share: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerUse {
    pub cpu_us: f64,
    pub main_thread_us: f64,
    pub answers: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamResult {
    pub name: String,
    pub sent: u64,
    pub sent_per_second: f64,
    pub statuses: BTreeMap<u16, u64>,
    pub answered_per_second: f64,
    pub ok_per_second: f64,
    pub latency_ms: Quantiles,
    pub refusal_ms: Quantiles,
    pub unanswered: u64,
    pub unsent: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PartResult>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<PartResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartResult {
    pub from_ms: f64,
    pub to_ms: f64,
    pub sent: u64,
    pub unsent: u64,
    pub statuses: BTreeMap<u16, u64>,
    pub ok: u64,
    pub latency_ms: Quantiles,
}

#[derive(Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_with_what_it_carries_and_nothing_else() {
        let text = |json: &str| {
            let request: LoadRequest = serde_json::from_str(json).unwrap();
            String::from_utf8(request.wire("127.0.0.1".parse().unwrap(), 80).into()).unwrap()
        };
        assert_eq!(
            text(r#"{"method":"GET","path":"/a","token":""}"#),
            "GET /a HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"
        );
        assert_eq!(
            text(r#"{"method":"POST","path":"/b","token":"t","body":"{\"é\":1}","headers":{"X-A":"1"}}"#),
            "POST /b HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAuthorization: Bearer t\r\nX-A: 1\r\n\
             Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"é\":1}"
        );
    }
}
