//! Several limits of a request, charges, resets and requests at a time, counted by a Redis that the tests start.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, Value};
use tokio::sync::{Barrier, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, service_fn};
use tower_api_keys::key::KeyId;
use tower_api_keys::limit::{OnFailure, RedisConnection, Subject};
use tower_api_keys::{ApiKeys, Charge, Principal, Quota, RateLimit};

use crate::redis_server::RedisServer;
use crate::support::{KEY, X_API_KEY, assembly, record, store};

type Stack = BoxCloneService<Request<()>, Response<Bytes>, Infallible>;

/// Let a call of `/wait`, and of `/later`, go on.
static WAITING: Semaphore = Semaphore::const_new(0);
static LATER: Semaphore = Semaphore::const_new(0);

/// A process. Its handler charges the number in the path, if a limit is charged.
async fn process(
    connection: RedisConnection,
    limits: impl IntoIterator<Item = RateLimit>,
) -> (ApiKeys, Stack) {
    let keys = assembly(store([record(KEY, |_| {})]).await).without_route_table().limits(limits);
    let connection = connection.with_deadline(Duration::from_secs(10)).with_on_failure(OnFailure::Closed);
    let keys = keys.shared_limits(connection, "acme").build().unwrap();
    let handler = service_fn(async |request: Request<()>| {
        let path = request.uri().path();
        if path == "/wait" {
            WAITING.acquire().await.unwrap().forget();
        } else if path == "/later" {
            LATER.acquire().await.unwrap().forget();
            Charge::from_extensions(request.extensions()).unwrap().add(7);
        } else if let Some(charge) = Charge::from_extensions(request.extensions()) {
            charge.add(path.trim_start_matches('/').parse().unwrap());
        }
        Ok::<_, Infallible>(Response::new(Bytes::new()))
    });
    let stack = BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler));
    (keys, stack)
}

fn open(server: &RedisServer) -> RedisConnection {
    RedisConnection::open(&server.url()).unwrap()
}

async fn call(stack: &mut Stack, path: &str) -> Response<Bytes> {
    let request = Request::builder().uri(path).header(X_API_KEY, KEY).body(()).unwrap();
    stack.call(request).await.unwrap()
}

async fn status(stack: &mut Stack) -> u16 {
    call(stack, "/0").await.status().as_u16()
}

async fn told(stack: &mut Stack, path: &str) -> (u16, String) {
    let response = call(stack, path).await;
    let remaining = response.headers()["x-ratelimit-remaining"].to_str().unwrap().to_owned();
    (response.status().as_u16(), remaining)
}

/// Asks until it is so: what is sent beside a request arrives soon after it.
async fn soon(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("it becomes so");
}

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit).unwrap()
}

fn subject() -> Subject {
    let id: KeyId = record(KEY, |_| {}).id;
    Subject::Key(id)
}

/// The one of the key, as a handler has it.
async fn principal(keys: &ApiKeys) -> Principal {
    let handler = service_fn(async |request: Request<()>| {
        let mut response = Response::new(Bytes::new());
        response.extensions_mut().insert(Principal::from_extensions(request.extensions()).cloned().unwrap());
        Ok::<_, Infallible>(response)
    });
    let mut stack = BoxCloneService::new(ServiceBuilder::new().layer(keys.authenticate()).service(handler));
    call(&mut stack, "/").await.extensions().get::<Principal>().unwrap().clone()
}

#[tokio::test]
async fn the_limits_of_a_request_are_asked_at_once() {
    /// Sends nothing before three commands are to be sent.
    #[derive(Clone)]
    struct Together(MultiplexedConnection, Arc<Barrier>);

    impl ConnectionLike for Together {
        fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
            Box::pin(async move {
                let is_by_digest = command.args_iter().next() == Some(redis::Arg::Simple(b"EVALSHA"));
                if is_by_digest {
                    self.1.wait().await;
                }
                self.0.req_packed_command(command).await
            })
        }

        fn req_packed_commands<'a>(
            &'a mut self,
            _: &'a Pipeline,
            _: usize,
            _: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            panic!("no limiter sends a pipeline")
        }

        fn get_db(&self) -> i64 {
            0
        }
    }

    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let together = RedisConnection::from_connection(Together(connection, Arc::new(Barrier::new(3))));
    let limits = [
        RateLimit::per_key("key", per_minute(10)),
        RateLimit::per_organization("organization", per_minute(20)),
        RateLimit::per_key("at a time", Quota::concurrent(10).unwrap()),
    ];
    let (_, mut stack) = process(together, limits).await;
    let response =
        timeout(Duration::from_secs(5), call(&mut stack, "/0")).await.expect("not one after the other");
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_request_is_counted_by_all_limits_or_by_none() {
    let server = RedisServer::start();
    let limits = || {
        [
            RateLimit::per_organization("organization", per_minute(5)),
            RateLimit::per_key("key", per_minute(2)),
            RateLimit::per_key("at a time", Quota::concurrent(1).unwrap()),
        ]
    };
    let (keys, mut stack) = process(open(&server), limits()).await;
    assert_eq!([status(&mut stack).await, status(&mut stack).await], [200, 200]);
    for _ in 0..5 {
        assert_eq!(status(&mut stack).await, 429);
    }
    let (_, mut other) = process(open(&server), limits()).await;
    let organization = Subject::organization(&"acme".parse().unwrap(), tower_api_keys::key::Mode::Live);
    // What was refused was counted by none: three are left to the organization, whichever key.
    soon(async || {
        keys.forget(&subject()).await.unwrap();
        status(&mut other).await == 200
    })
    .await;
    keys.forget(&organization).await.unwrap();
}

#[tokio::test]
async fn charges_count_past_the_limit_in_every_process() {
    let server = RedisServer::start();
    let limits = || [RateLimit::per_key("tokens", per_minute(1_000)).charged()];
    let (_, mut here) = process(open(&server), limits()).await;
    let (there_keys, mut there) = process(open(&server), limits()).await;
    // What is charged reaches Redis soon after its response.
    assert_eq!(told(&mut here, "/900").await, (200, "100".into()));
    let left = async || there_keys.limits_of(&principal(&there_keys).await).await.unwrap()[0].remaining();
    soon(async || left().await == 100).await;
    assert_eq!(told(&mut here, "/300").await, (200, "0".into()));
    soon(async || status(&mut there).await == 429).await;

    // The operator's reset counts at once here, and within a second there.
    there_keys.forget(&subject()).await.unwrap();
    assert_eq!(told(&mut there, "/1").await, (200, "999".into()));
    soon(async || status(&mut here).await == 200).await;
}

#[tokio::test]
async fn no_charge_is_lost_while_redis_is_away() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let limits = || [RateLimit::per_key("tokens", per_minute(1_000)).charged()];
    let (_, mut stack) = process(open(&server), limits()).await;
    let (other, _) = process(open(&server), limits()).await;
    let principal = principal(&other).await;
    let left = async || other.limits_of(&principal).await.ok().map(|limits| limits[0].remaining());

    // Its handler charges 7 while Redis is down.
    let hang = tokio::spawn(async move { call(&mut stack, "/later").await });
    soon(async || left().await == Some(999)).await;
    server.kill();
    LATER.add_permits(1);
    assert_eq!(hang.await.unwrap().status(), 200);
    server.restart();
    soon(async || left().await == Some(993)).await;
}

#[test]
fn a_charge_outlives_the_runtime_that_it_was_to_be_sent_in() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime().block_on(async { RedisServer::start() });
    let limits = [RateLimit::per_key("tokens", per_minute(1_000)).charged()];
    let first = runtime();
    let (keys, mut stack) = first.block_on(process(open(&server), limits));
    // Its task has had no turn yet.
    first.block_on(async { assert_eq!(told(&mut stack, "/300").await, (200, "700".into())) });
    drop(first);
    runtime().block_on(async {
        // The connection has ended with its runtime, too.
        soon(async || status(&mut stack).await == 200).await;
        assert_eq!(call(&mut stack, "/100").await.status(), 200);
        let principal = principal(&keys).await;
        soon(async || keys.limits_of(&principal).await.unwrap()[0].remaining() == 600).await;
    });
}

#[tokio::test]
async fn a_slow_server_counts_a_charge_once() {
    let server = RedisServer::start();
    let slow = Slow { connection: Holding::open(&server, "").await.connection, calls: Arc::default() };
    let limits = [RateLimit::per_key("tokens", per_minute(1_000)).charged()];
    let keys = assembly(store([record(KEY, |_| {})]).await).without_route_table().limits(limits);
    let keys = keys.shared_limits(RedisConnection::from_connection(slow.clone()), "acme").build().unwrap();
    let handler = service_fn(async |request: Request<()>| {
        Charge::from_extensions(request.extensions()).unwrap().add(7);
        Ok::<_, Infallible>(Response::new(Bytes::new()))
    });
    let mut stack = BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler));
    assert_eq!(status(&mut stack).await, 200);
    soon(async || slow.calls.load(Ordering::SeqCst) >= 2).await;
    // Longer than the pause before it would be sent again.
    sleep(Duration::from_millis(1_500)).await;
    let calls = slow.calls.load(Ordering::SeqCst);
    assert_eq!(calls, 2, "one for the request, and one for its charge");
}

/// Answers later than a request waits for it. Counts what it has done.
#[derive(Clone)]
struct Slow {
    connection: MultiplexedConnection,
    calls: Arc<AtomicUsize>,
}

impl ConnectionLike for Slow {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = self.connection.req_packed_command(command).await;
            if answer.as_ref().is_ok_and(|answer| !matches!(answer, Value::ServerError(_))) {
                self.calls.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(200)).await;
            }
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        panic!("no limiter sends a pipeline")
    }

    fn get_db(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn a_key_deleted_by_hand_counts_within_a_second() {
    let server = RedisServer::start();
    let (_, mut stack) = process(open(&server), [RateLimit::per_key("all", per_minute(2))]).await;
    assert_eq!(
        [status(&mut stack).await, status(&mut stack).await, status(&mut stack).await],
        [200, 200, 429]
    );
    let keys: Vec<String> = server.run(&["KEYS", "*"]);
    let deleted: u64 = server.run(&["DEL", &keys[0]]);
    assert_eq!(deleted, 1);
    soon(async || status(&mut stack).await == 200).await;
}

/// The Redis key of the limit at a time.
fn at_a_time() -> String {
    format!("acme:1:at%20a%20time:concurrent:0:key={}", record(KEY, |_| {}).id)
}

/// Holds calls whose arguments have a text.
#[derive(Clone)]
struct Holding {
    connection: MultiplexedConnection,
    text: &'static [u8],
    /// Has a permit for each one.
    held: Arc<Semaphore>,
    /// `None` once it holds no more.
    waiting: Arc<Mutex<Option<Vec<oneshot::Sender<()>>>>>,
}

impl Holding {
    async fn open(server: &RedisServer, text: &'static str) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let (held, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Some(Vec::new()))));
        Self { connection, text: text.as_bytes(), held, waiting }
    }

    fn let_last_go(&self) {
        self.waiting.lock().unwrap().as_mut().unwrap().pop().unwrap().send(()).unwrap();
    }

    /// Also those that come later.
    fn let_all_go(&self) {
        for one in self.waiting.lock().unwrap().take().unwrap() {
            let _ = one.send(());
        }
    }
}

impl ConnectionLike for Holding {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let packed = command.get_packed_command();
            if packed.windows(self.text.len()).any(|part| part == self.text) {
                let (go, goes) = oneshot::channel();
                match self.waiting.lock().unwrap().as_mut() {
                    Some(waiting) => waiting.push(go),
                    // It lets the call go.
                    None => drop(go),
                }
                self.held.add_permits(1);
                let _ = goes.await;
            }
            self.connection.req_packed_command(command).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        panic!("no limiter sends a pipeline")
    }

    fn get_db(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_while_another_limit_is_asked_gives_back_what_was_counted() {
    let server = RedisServer::start();
    let limits = [
        RateLimit::per_key("at a time", Quota::concurrent(1).unwrap()),
        RateLimit::per_key("late", per_minute(100)),
    ];
    let holding = Holding::open(&server, ":late:").await;
    let (_, stack) = process(RedisConnection::from_connection(holding.clone()), limits).await;
    let processes = async || server.run::<Vec<String>>(&["HKEYS", &at_a_time()]).len();
    let mut caller = stack.clone();
    let gone = tokio::spawn(async move { status(&mut caller).await });
    holding.held.acquire().await.unwrap().forget();
    soon(async || processes().await == 1).await;
    // The answer has arrived, too.
    sleep(Duration::from_millis(50)).await;
    gone.abort();
    soon(async || processes().await == 0).await;
    holding.let_all_go();
    assert_eq!(status(&mut stack.clone()).await, 200);
}

#[tokio::test]
async fn a_call_that_is_overtaken_takes_nothing_from_what_a_later_one_has_told() {
    let server = RedisServer::start();
    let limits = || [RateLimit::per_key("at a time", Quota::concurrent(2).unwrap())];
    let holding = Holding::open(&server, "EVALSHA").await;
    let (_, stack) = process(RedisConnection::from_connection(holding.clone()), limits()).await;
    let (_, mut there) = process(open(&server), limits()).await;
    let wait = |mut stack: Stack| tokio::spawn(async move { call(&mut stack, "/wait").await });
    // The second call overtakes the first.
    let first = wait(stack.clone());
    holding.held.acquire().await.unwrap().forget();
    let second = wait(stack.clone());
    holding.held.acquire().await.unwrap().forget();
    holding.let_last_go();
    let has = async || server.run::<Vec<String>>(&["HVALS", &at_a_time()]);
    soon(async || has().await.first().is_some_and(|has| has.starts_with("2:"))).await;
    holding.let_all_go();
    sleep(Duration::from_millis(50)).await;
    assert!(has().await[0].starts_with("2:"), "{:?}", has().await);
    assert_eq!(status(&mut there).await, 429);
    for waiting in [first, second] {
        waiting.abort();
    }
    soon(async || has().await.is_empty()).await;
}

#[tokio::test]
async fn processes_share_what_is_under_way() {
    let server = RedisServer::start();
    let limits = || [RateLimit::per_key("at a time", Quota::concurrent(2).unwrap())];
    let (_, mut here) = process(open(&server), limits()).await;
    let (_, mut there) = process(open(&server), limits()).await;
    let waiting = [here.clone(), there.clone()]
        .map(|mut stack| tokio::spawn(async move { call(&mut stack, "/wait").await }));
    soon(async || {
        let processes: Vec<String> = server.run(&["HKEYS", &at_a_time()]);
        processes.len() == 2
    })
    .await;
    assert_eq!(told(&mut here, "/0").await, (429, "0".into()));
    assert_eq!(told(&mut there, "/0").await, (429, "0".into()));
    // One client hangs up, the other is answered.
    let [gone, answered] = waiting;
    gone.abort();
    soon(async || status(&mut there).await == 200).await;
    WAITING.add_permits(1);
    assert_eq!(answered.await.unwrap().status(), 200);
    soon(async || {
        let keys: Vec<String> = server.run(&["KEYS", "*"]);
        keys.is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_a_killed_process_had_under_way_ends_with_its_lease() {
    let server = RedisServer::start();
    let limits = [RateLimit::per_key("at a time", Quota::concurrent(2).unwrap())];
    let (_, mut stack) = process(open(&server), limits).await;
    let key = at_a_time();
    let now: (u64, u64) = server.run(&["TIME"]);
    for (lease, want) in [(now.0 + 60, 429), (now.0 - 1, 200)] {
        let held = format!("2:{}000000", lease);
        let _: u64 = server.run(&["HSET", &key, "4711", &held]);
        assert_eq!(status(&mut stack).await, want, "{held}");
    }
    soon(async || {
        let processes: Vec<String> = server.run(&["HKEYS", &key]);
        processes.is_empty()
    })
    .await;
}
