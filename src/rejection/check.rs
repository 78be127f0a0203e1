/// The checks of a request, in their order.
///
/// A request with several faults is rejected by the first check that finds one; later checks have no influence on the
/// response. The order is always the same; a check that is not configured is skipped.
///
/// | | check | rejected with | why here |
/// |---|---|---|---|
/// | 1 | [`Extraction`](Self::Extraction) | 400 or 401 | two credentials are ambiguous, so both are rejected |
/// | 2 | [`Format`](Self::Format) | 401 | a malformed key costs no lookup |
/// | 3 | [`Throttle`](Self::Throttle) | 429 | guessing is slowed down before the store is asked |
/// | 4 | [`Lookup`](Self::Lookup) | 401, 503 | a wrong secret is compared like a right one |
/// | 5 | [`State`](Self::State) | 401 | revoked and expired keys look like unknown ones to clients |
/// | 6 | [`Address`](Self::Address) | 403 | a stolen key must not spend its owner's limit |
/// | 7 | [`RateLimit`](Self::RateLimit) | 429; 503 if the limiter's shared store fails and its policy is to reject | a 401 uses no limit; a 403 for a scope does |
/// | 8 | [`Organization`](Self::Organization) | 400, 403, 404 | a valid key with a wrong organization is still limited |
/// | 9 | [`Access`](Self::Access) | 403 | only accepted callers learn what is missing |
///
/// If the application's layers lack something that a check needs, such as the peer's address, the response is 500.
///
/// A CORS preflight request skips all checks, if the application lets preflights pass.
///
/// ```
/// use tower_api_keys::rejection::Check;
///
/// assert!(Check::State < Check::RateLimit && Check::RateLimit < Check::Access);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// There is exactly one credential.
    Extraction,
    /// It has the format of a key.
    Format,
    /// The client's address has not sent too many bad credentials lately.
    Throttle,
    /// The store knows the key, and the secret is right.
    Lookup,
    /// The key is not revoked, disabled, expired or not yet valid, and has the mode it claims.
    State,
    /// The key may be used from the client's address.
    Address,
    /// The caller has not used up its rate limit.
    RateLimit,
    /// The caller may act for the organization that the request names.
    Organization,
    /// The caller has the tier, the role and the scope that the route needs.
    Access,
}

impl Check {
    pub(crate) const ALL: [Self; 9] = [
        Self::Extraction,
        Self::Format,
        Self::Throttle,
        Self::Lookup,
        Self::State,
        Self::Address,
        Self::RateLimit,
        Self::Organization,
        Self::Access,
    ];

    /// A stable text for metrics, such as `rate_limit`: lower-case letters and `_`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Extraction => "extraction",
            Self::Format => "format",
            Self::Throttle => "throttle",
            Self::Lookup => "lookup",
            Self::State => "state",
            Self::Address => "address",
            Self::RateLimit => "rate_limit",
            Self::Organization => "organization",
            Self::Access => "access",
        }
    }
}
