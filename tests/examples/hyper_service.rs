//! The layers without axum, and the agreement of HTTP/1.1 and HTTP/2, over real sockets.

use std::net::TcpStream;
use std::process::Command;

use crate::http2::Http2;
use crate::server::Server;
use http::Method;

/// A request with these `x-api-key` lines, and the expected status.
struct Case {
    name: &'static str,
    method: Method,
    path: &'static str,
    keys: Vec<Vec<u8>>,
    status: u16,
}

/// The expected responses of both protocols to a key that may only read. Servers differ in their response to two
/// lines (`ambiguous`) and to methods that they do not know (`uncovered`).
fn cases(key: &str, read: &'static str, ambiguous: u16, uncovered: u16) -> Vec<Case> {
    let case = |name, method, keys: &[&str], status| {
        let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        Case { name, method, path: read, keys, status }
    };
    let get = |name, keys: &[&str], status| case(name, Method::GET, keys, status);
    let unknown = format!("{}{}", &key[..key.len() - 32], "0".repeat(32));
    let mut cases = vec![
        get("good", &[key], 200),
        get("none", &[], 401),
        get("unknown", &[&unknown], 401),
        get("malformed", &["Bearer 123"], 401),
        get("one short", &[&key[..key.len() - 1]], 401),
        get("empty", &[""], 401),
        get("blank", &[" \t "], 401),
        get("the key twice", &[key, key], ambiguous),
        get("a good key, then an empty line", &[key, ""], ambiguous),
        get("an empty line, then a good key", &["", key], ambiguous),
        get("two in one value", &[&format!("{key}, {key}")], 401),
        get("space before", &[&format!("  {key}")], 200),
        get("space after", &[&format!("{key} ")], 200),
        get("tab and space around", &[&format!("\t {key}\t ")], 200),
        get("space inside", &[&key.replacen('_', "_ ", 1)], 401),
        get("5000 bytes", &[&"x".repeat(5000)], 401),
        get("5000 bytes of space after", &[&format!("{key}{}", " ".repeat(5000))], 200),
        case("HEAD goes with GET", Method::HEAD, &[key], 200),
        case("HEAD without a key", Method::HEAD, &[], 401),
        case("a scope is missing", Method::POST, &[key], 403),
        case("a method that no rule covers", Method::PATCH, &[key], uncovered),
        case("TRACE", Method::TRACE, &[key], uncovered),
        case("TRACE without a key", Method::TRACE, &[], 401),
    ];
    let obs_text = [key.as_bytes(), b"\xff"].concat();
    cases.push(Case { keys: vec![obs_text], ..get("bytes above 0x7F", &[], 401) });
    cases.push(Case { path: "/no/such/path", ..get("a path that no rule covers, without a key", &[], 401) });
    cases
}

/// The parts of a response that must be equal.
const SAME: [&str; 4] = ["content-type", "www-authenticate", "cache-control", "x-ratelimit-limit"];

async fn answers_alike(server: &Server, prefix: &str, cases: Vec<Case>) {
    let mut http2 = Http2::connect(server.address()).await;
    for Case { name, method, path, keys, status } in cases {
        let path = format!("{prefix}{path}");
        let mut raw = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").into_bytes();
        for key in &keys {
            raw.extend([b"x-api-key: ", key.as_slice(), b"\r\n"].concat());
        }
        raw.extend(b"\r\n");
        let over_http1 = server.raw(&raw);
        assert_eq!(over_http1.status, status, "HTTP/1.1: {name}: {}", over_http1.body);

        let headers: Vec<_> = keys.iter().map(|key| ("x-api-key", key.as_slice())).collect();
        let over_http2 = http2.send(method, &path, &headers).await.expect(name);
        assert_eq!(over_http2.status(), status, "HTTP/2: {name}: {}", over_http2.body);
        assert_eq!(over_http2.body, over_http1.body, "{name}");
        for field in SAME {
            assert_eq!(over_http2.header(field), over_http1.header(field), "{name}: {field}");
        }
    }
}

/// Calls until the limit is used up, and then once over each protocol.
async fn limits_alike(server: &Server, path: &str, key: &str, limit: u32) {
    let mut http2 = Http2::connect(server.address()).await;
    let headers = [("x-api-key", key.as_bytes())];
    for remaining in (0..limit).rev() {
        let answer = http2.get(path, &headers).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.body);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(remaining.to_string().as_str()));
    }
    let over_http2 = http2.get(path, &headers).await.expect("an answer");
    let raw = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: {key}\r\n\r\n");
    let over_http1 = server.raw(raw.as_bytes());
    assert_eq!((over_http1.status, over_http2.status()), (429, 429));
    assert_eq!(over_http2.body, over_http1.body);
    assert!(over_http1.number("retry-after") > 0 && over_http2.header("retry-after").is_some());
    for field in SAME {
        assert_eq!(over_http2.header(field), over_http1.header(field), "{field}");
    }
}

fn hyper_service() -> Server {
    Server::start("hyper_service", &[])
}

#[tokio::test]
async fn http1_and_http2_agree_on_plain_hyper() {
    let server = hyper_service();
    answers_alike(&server, "", cases(server.get("API_KEY"), "/notes", 400, 403)).await;
}

#[tokio::test]
async fn http1_and_http2_agree_on_axum() {
    let server = Server::start("justpaid_workflows", &[]);
    answers_alike(&server, "/api/v1", cases(server.get("READ_ONLY_API_KEY"), "/workflows", 401, 405)).await;
}

#[tokio::test]
async fn http1_and_http2_share_one_limit() {
    let server = hyper_service();
    limits_alike(&server, "/notes", server.get("API_KEY"), 100).await;
    let server = Server::start("justpaid_workflows", &[("READ_LIMIT", "3")]);
    limits_alike(&server, "/api/v1/workflows", server.get("READ_ONLY_API_KEY"), 3).await;
}

#[tokio::test]
async fn responses_come_from_the_service_with_the_principal() {
    let server = hyper_service();
    let mut http2 = Http2::connect(server.address()).await;
    let headers = [("x-api-key", server.get("API_KEY").as_bytes())];
    let answer = http2.get("/whoami", &headers).await.expect("an answer");
    assert_eq!((answer.status(), answer.body.as_str()), (200, "Reader\n"));
    assert_eq!(answer.header("x-ratelimit-limit"), Some("100"), "the key's limit, which stands further in");
    let answer = http2.get("/whoami", &[]).await.expect("an answer");
    assert_eq!(answer.header("x-ratelimit-limit"), Some("1000"), "the peer's address was found");
}

#[tokio::test]
async fn connect_is_rejected_with_and_without_a_key() {
    let server = hyper_service();
    let mut http2 = Http2::connect(server.address()).await;
    let key = [("x-api-key", server.get("API_KEY").as_bytes())];
    assert_eq!(http2.connect_to("example.com:443", &[]).await.expect("an answer").status(), 401);
    assert_eq!(http2.connect_to("example.com:443", &key).await.expect("an answer").status(), 403);
    assert!(!http2.takes_extended_connect());
    let line = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n";
    assert_eq!(server.raw(format!("{line}\r\n").as_bytes()).status, 401);
    let with_key = format!("{line}x-api-key: {}\r\n\r\n", server.get("API_KEY"));
    assert_eq!(server.raw(with_key.as_bytes()).status, 403);

    let server = Server::start("justpaid_workflows", &[]);
    let mut http2 = Http2::connect(server.address()).await;
    let key = [("x-api-key", server.get("WORKFLOWS_API_KEY").as_bytes())];
    assert!(http2.takes_extended_connect(), "axum's server does, so the layers have to reject");
    let path = "/api/v1/workflows";
    assert_eq!(http2.extended_connect(path, &[]).await.expect("an answer").status(), 401);
    assert_eq!(http2.extended_connect(path, &key).await.expect("an answer").status(), 405);
}

#[tokio::test]
async fn a_huge_header_is_rejected_and_the_server_lives() {
    for (example, path, key) in [
        ("hyper_service", "/notes", "API_KEY"),
        ("justpaid_workflows", "/api/v1/workflows", "READ_ONLY_API_KEY"),
    ] {
        let server = Server::start(example, &[]);
        let mut http2 = Http2::connect(server.address()).await;
        let huge = [b'x'; 30_000];
        let answer = http2.get(path, &[("x-api-key", &huge)]).await.expect("an answer");
        assert_eq!(answer.status(), 431, "{example}: HTTP/2's own limit on a head");
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: ");
        let answer = server.raw(&[head.as_bytes(), &huge, b"\r\n\r\n"].concat());
        assert_eq!(answer.status, 401, "{example}: HTTP/1.1 lets it come as far as the layers");
        let good = [("x-api-key", server.get(key).as_bytes())];
        assert_eq!(http2.get(path, &good).await.expect("an answer").status(), 200, "{example}");
    }
}

#[test]
fn the_log_is_on_standard_error_as_rust_log_says() {
    for (filter, logged) in
        [("info", true), ("warn,tower_api_keys=info", true), ("warn", false), ("off", false)]
    {
        let path = std::env::temp_dir().join(format!("api-keys-example-{}.log", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        let server = Server::start_with_log("hyper_service", &[("RUST_LOG", filter)], file);
        assert_eq!(server.send("GET", "/notes", &[], None).status, 401);
        assert!(server.stop("-TERM"));
        let log = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(log.contains("request rejected"), logged, "{filter}: {log}");
        assert!(!log.contains('\x1b'), "a file needs no colours: {log}");
    }
}

#[test]
fn the_printed_curl_lines_work_as_pasted() {
    let server = hyper_service();
    let lines = server.lines.iter().filter(|line| line.starts_with("curl "));
    let statuses: Vec<String> = lines
        .map(|line| {
            let output = Command::new("sh").args(["-c", line]).output().expect("sh runs");
            String::from_utf8_lossy(&output.stdout).split(' ').take(2).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/2 200", "HTTP/1.1 401", "HTTP/1.1 403"]);
}

#[test]
fn it_stops_cleanly_when_asked_to() {
    for signal in ["-INT", "-TERM"] {
        let server = hyper_service();
        // A client that has connected and sent nothing does not keep the server running.
        let _idle = TcpStream::connect(server.address()).expect("the example listens");
        assert!(server.stop(signal), "{signal}");
    }
}

#[test]
fn an_invalid_address_is_reported_and_nothing_starts() {
    let server = Server::start("hyper_service", &[("LISTEN_ADDR", "nowhere")]);
    assert!(!server.printed.contains_key("BASE_URL"), "{:?}", server.lines);
}
