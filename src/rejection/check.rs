/// The checks that a request goes through, in their order.
///
/// A request with several faults is rejected by the first check that finds one; what it would have failed later has no
/// influence on the answer. The order is the same whatever is configured; a check that is not configured is left out.
///
/// | | check | rejected with | why here |
/// |---|---|---|---|
/// | 1 | [`Extraction`](Self::Extraction) | 400 or 401 | two credentials are two callers: nobody is |
/// | 2 | [`Format`](Self::Format) | 401 | junk costs no lookup |
/// | 3 | [`Throttle`](Self::Throttle) | 429 | who guesses has to slow down before the store is asked |
/// | 4 | [`Lookup`](Self::Lookup) | 401, 503 | a wrong secret gets the comparison of a right one |
/// | 5 | [`State`](Self::State) | 401 | revoked and expired look like unknown from outside |
/// | 6 | [`Address`](Self::Address) | 403 | a stolen key must not spend its owner's limit |
/// | 7 | [`RateLimit`](Self::RateLimit) | 429; 503 from a limiter that has no store to ask and is to be closed then | a 401 spends nobody's window; a 403 for a scope does |
/// | 8 | [`Organization`](Self::Organization) | 400, 403, 404 | a good key with a wrong organization is still limited |
/// | 9 | [`Access`](Self::Access) | 403 | only who may ask is told what is missing |
///
/// Where the host's layers lack something that a check needs, such as the peer's address, the answer is 500.
///
/// A true CORS preflight, where the host lets it pass, goes through none of them.
///
/// ```
/// use tower_api_keys::rejection::Check;
///
/// assert!(Check::State < Check::RateLimit && Check::RateLimit < Check::Access);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Exactly one credential is there.
    Extraction,
    /// It has the shape of a key.
    Format,
    /// The client's address has not presented too many bad credentials lately.
    Throttle,
    /// The store knows it, and the secret is right.
    Lookup,
    /// The key is neither revoked, disabled, expired nor yet to come, and of the mode it claims.
    State,
    /// The client's address is one of those that the key may be used from.
    Address,
    /// The caller has not used up the window.
    RateLimit,
    /// The organization that the request names is the caller's, or one that the caller may act for.
    Organization,
    /// The caller has what the route needs: the tier, the role, the scope.
    Access,
}
