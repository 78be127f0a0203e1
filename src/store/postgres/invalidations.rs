use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Acquire, Connection, PgPool};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::store::{Invalidation, InvalidationSource};

/// Receives the changes of other processes to a [`PostgresStore`](super::PostgresStore), over its own connection.
///
/// Triggers of the schema send a notification (`NOTIFY`) on the channel `tower_api_keys` in the transaction of each change,
/// whether this crate makes it or a statement of yours. So it comes when the change is visible, and never for one that was
/// rolled back. The payload is the key's identifier, or empty if any key may have changed.
///
/// ```sql
/// UPDATE api_keys SET state = 'revoked' WHERE id = 'k7Jc0qWv';
/// ```
///
/// 1. The connection is lost when it ends, or when a ping, sent every second, is unanswered for another second. So a
///    network that drops all packets is noticed within two seconds.
/// 2. A lost connection is retried immediately, and then after waits that grow to one second. An attempt that hangs
///    is given up after two seconds.
/// 3. [`Connected`](Invalidation::Connected) means that this source listens from now on. It says nothing about the
///    time before.
///
/// `LISTEN` does not work through a [pooler](super::PostgresStore#behind-a-pooler) that shares connections between
/// transactions; use [`connecting_with`](Self::connecting_with) to bypass it.
pub struct PostgresInvalidations {
    options: PgConnectOptions,
    state: State,
}

enum State {
    Lost { retry_at: Instant, wait: Duration },
    Listening { listener: Box<PgListener>, ask_at: Instant },
}

const CHANNEL: &str = "tower_api_keys";
const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl PostgresInvalidations {
    /// Connects to the pool's database when [`next`](InvalidationSource::next) is first called.
    pub fn new(pool: &PgPool) -> Self {
        Self::connecting_with((*pool.connect_options()).clone())
    }

    /// Connects with these options.
    pub fn connecting_with(options: PgConnectOptions) -> Self {
        Self { options, state: lost(Instant::now()) }
    }
}

fn lost(now: Instant) -> State {
    State::Lost { retry_at: now, wait: FIRST_WAIT }
}

/// The last event of the listener.
enum Heard {
    Notification(Invalidation),
    Nothing,
    Loss,
}

async fn listen(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    // The listener takes its connection from a pool. With more than one, it would silently continue on the next one.
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn hear(listener: &mut PgListener, ask_at: Instant) -> Heard {
    match timeout_at(ask_at, listener.try_recv()).await {
        // A payload that is not an identifier: an unknown key has changed, so everything is read again.
        Ok(Ok(Some(notification))) => Heard::Notification(
            notification.payload().parse().map_or(Invalidation::Connected, Invalidation::Key),
        ),
        Ok(Ok(None) | Err(_)) => Heard::Loss,
        Err(_) => {
            let answer = timeout(ANSWER_WITHIN, async { listener.acquire().await?.ping().await });
            if matches!(answer.await, Ok(Ok(()))) { Heard::Nothing } else { Heard::Loss }
        }
    }
}

impl fmt::Debug for PostgresInvalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the options: they contain a password.
        f.debug_struct("PostgresInvalidations").finish_non_exhaustive()
    }
}

#[async_trait]
impl InvalidationSource for PostgresInvalidations {
    /// Cancel safe: can be dropped and called again, as in `select!`.
    async fn next(&mut self) -> Invalidation {
        loop {
            match &mut self.state {
                State::Lost { retry_at, wait } => {
                    sleep_until(*retry_at).await;
                    *retry_at = Instant::now() + *wait;
                    *wait = (*wait * 2).min(LONGEST_WAIT);
                    if let Ok(Ok(listener)) = timeout(CONNECT_WITHIN, listen(&self.options)).await {
                        let ask_at = Instant::now() + ASK_EVERY;
                        self.state = State::Listening { listener: Box::new(listener), ask_at };
                        return Invalidation::Connected;
                    }
                }
                State::Listening { listener, ask_at } => match hear(listener, *ask_at).await {
                    Heard::Notification(invalidation) => {
                        *ask_at = Instant::now() + ASK_EVERY;
                        return invalidation;
                    }
                    Heard::Nothing => *ask_at = Instant::now() + ASK_EVERY,
                    Heard::Loss => {
                        self.state = lost(Instant::now());
                        return Invalidation::Disconnected;
                    }
                },
            }
        }
    }
}
