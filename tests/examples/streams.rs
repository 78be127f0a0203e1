//! Streams over real sockets: they begin with a key, and end with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::Server;

fn start() -> Server {
    Server::start("streams", &[])
}

/// A connection on which the server goes on sending.
struct Open {
    stream: TcpStream,
    /// Everything received so far.
    received: Vec<u8>,
}

impl Open {
    fn new(server: &Server, request: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).expect("the example listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream.write_all(request.as_bytes()).expect("the request can be written");
        Self { stream, received: Vec::new() }
    }

    fn events(server: &Server, fields: &str) -> Self {
        Self::new(server, &format!("GET /events HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
    }

    /// As a browser opens it.
    fn socket(server: &Server, offered: &str) -> Self {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let offered = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        Self::new(server, &format!("GET /socket HTTP/1.1\r\nHost: x\r\n{upgrade}{offered}\r\n"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn status(&self) -> Option<u16> {
        self.text().split(' ').nth(1)?.parse().ok()
    }

    fn wait_for(&mut self, what: &str) {
        let mut buffer = [0; 1024];
        while !self.text().contains(what) {
            let count = self.stream.read(&mut buffer).expect("the server sends");
            assert!(count > 0, "it closed before {what:?}: {}", self.text());
            self.received.extend(&buffer[..count]);
        }
    }

    /// Waits until the server closes, and returns how long that took.
    fn wait_for_the_end(&mut self) -> Duration {
        let start = Instant::now();
        self.stream.read_to_end(&mut self.received).expect("it closes in time");
        start.elapsed()
    }
}

#[test]
fn an_event_stream_and_a_web_socket_end_when_their_key_is_deleted() {
    let server = start();
    let key = server.get("API_KEY");
    let mut events = Open::events(&server, &format!("Connection: close\r\nx-api-key: {key}\r\n"));
    let mut socket = Open::socket(&server, &format!("events, key.{key}"));
    // Another key's go on.
    let manager = server.get("MANAGER_API_KEY");
    let mut others = Open::events(&server, &format!("x-api-key: {manager}\r\n"));
    for open in [&mut events, &mut socket, &mut others] {
        open.wait_for("event 2");
    }
    assert_eq!((events.status(), socket.status(), others.status()), (Some(200), Some(101), Some(200)));

    let path = format!("/api-keys/{}", server.get("KEY_ID"));
    let answer = server.send("DELETE", &path, &[("x-api-key", manager)], None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (name, open) in [("events", &mut events), ("socket", &mut socket)] {
        let took = open.wait_for_the_end();
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
    assert!(events.received.ends_with(b"0\r\n\r\n"), "the body ends as it should: {}", events.text());
    // A close frame: the code for a violated policy (RFC 6455 section 7.4.1), and why.
    let close = [b"\x88\x13\x03\xf0".as_slice(), b"the key has ended"].concat();
    let has_closed = socket.received.windows(close.len()).any(|window| window == close);
    assert!(has_closed, "{}", socket.text());

    let number = others.text().matches("data: event").count();
    others.wait_for(&format!("event {}", number + 2));
    let mut late = Open::socket(&server, &format!("events, key.{key}"));
    late.wait_for("\r\n\r\n");
    assert_eq!(late.status(), Some(401));
}

#[test]
fn the_key_is_not_repeated_in_the_answer_to_a_handshake() {
    let server = start();
    let key = server.get("API_KEY");
    for offered in [format!("events, key.{key}"), format!("key.{key}, events"), format!("key.{key},other")] {
        let mut socket = Open::socket(&server, &offered);
        socket.wait_for("event 1");
        let head = socket.text().to_ascii_lowercase();
        assert_eq!(socket.status(), Some(101), "{offered}");
        assert!(!head.contains(&key.to_ascii_lowercase()), "{head}");
        let selected = head.contains("sec-websocket-protocol: events\r\n");
        assert_eq!(selected, offered.contains("events"), "{head}");
    }
}

#[test]
fn handshakes_without_one_good_key_are_rejected() {
    let server = start();
    let key = server.get("API_KEY");
    for (offered, status) in [
        ("events".to_owned(), 401),
        (format!("key.{key}"), 401),
        ("events, key.".to_owned(), 401),
        (format!("events, key.{key}0"), 401),
        (format!("events, key.{key}, key.{key}"), 400),
        (format!("events, key.{key}\r\nx-api-key: {key}"), 400),
    ] {
        let mut socket = Open::socket(&server, &offered);
        socket.wait_for("\r\n\r\n");
        assert_eq!(socket.status(), Some(status), "{offered}");
    }
}

#[test]
fn the_printed_curl_lines_work_as_pasted() {
    assert_eq!(start().paste_curl_lines(), [200, 401, 200]);
}

#[test]
fn it_stops_cleanly_while_streams_are_open() {
    for signal in ["-INT", "-TERM"] {
        let server = start();
        let key = server.get("API_KEY");
        let mut events = Open::events(&server, &format!("x-api-key: {key}\r\n"));
        let mut socket = Open::socket(&server, &format!("events, key.{key}"));
        for open in [&mut events, &mut socket] {
            open.wait_for("event 1");
        }
        assert!(server.stop(signal), "{signal}");
        events.wait_for_the_end();
        assert!(events.received.ends_with(b"0\r\n\r\n"), "the body ends as it should: {}", events.text());
    }
}
