//! A client that speaks HTTP/2 with prior knowledge, and sends requests as given.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::{HeaderValue, Method, Request, Version};

/// One connection.
pub struct Http2 {
    address: String,
    requests: SendRequest<Bytes>,
}

/// A response, or `Err` with the HTTP/2 error of a stream without one.
pub type Outcome = Result<Answer, h2::Error>;

pub struct Answer {
    pub head: http::response::Parts,
    pub body: String,
}

impl Http2 {
    pub async fn connect(address: &str) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the example listens");
        let (requests, connection) = h2::client::handshake(stream).await.expect("the example speaks HTTP/2");
        tokio::spawn(connection);
        let mut client = Self { address: address.to_owned(), requests };
        // A response comes after the server's settings, so these are known from here on.
        client.get("/", &[]).await.expect("the example answers");
        client
    }

    pub async fn get(&mut self, path: &str, headers: &[(&str, &[u8])]) -> Outcome {
        self.send(Method::GET, path, headers).await
    }

    /// A request without a body, with unchecked field values.
    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &[u8])]) -> Outcome {
        let uri = format!("http://{}{path}", self.address);
        self.request(Request::builder().method(method).uri(uri), headers).await
    }

    /// `CONNECT` to an authority (RFC 9113 section 8.5).
    pub async fn connect_to(&mut self, authority: &str, headers: &[(&str, &[u8])]) -> Outcome {
        self.request(Request::builder().method(Method::CONNECT).uri(authority), headers).await
    }

    /// Whether the server accepts extended `CONNECT`.
    pub fn takes_extended_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Extended `CONNECT`, with which WebSockets start (RFC 8441).
    pub async fn extended_connect(&mut self, path: &str, headers: &[(&str, &[u8])]) -> Outcome {
        let uri = format!("http://{}{path}", self.address);
        let protocol = Protocol::from_static("websocket");
        self.request(Request::builder().method(Method::CONNECT).uri(uri).extension(protocol), headers).await
    }

    async fn request(&mut self, request: http::request::Builder, headers: &[(&str, &[u8])]) -> Outcome {
        let mut request = request.version(Version::HTTP_2).body(()).expect("the request is well formed");
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).expect("the name is one");
            request.headers_mut().append(name, HeaderValue::from_bytes(value).expect("HTTP/2 can carry it"));
        }
        let mut ready = self.requests.clone().ready().await?;
        let (response, _) = ready.send_request(request, true)?;
        let (head, mut stream) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            let _ = stream.flow_control().release_capacity(chunk.len());
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { head, body: String::from_utf8(body).expect("the body is text") })
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().expect("the field is ASCII"))
    }
}
