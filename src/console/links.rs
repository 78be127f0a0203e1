use axum::extract::OriginalUri;
use http::request::Parts;

/// Where a page is, for links to others: relative ones, which hold under any mount, also behind a proxy that takes off a
/// prefix.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// From the page to the directory that the list is in: `./` or `../` repeated.
    up: String,
    /// The last segment of the mount; empty at the root.
    last: String,
}

impl Links {
    pub(super) fn new(request: &Parts) -> Self {
        let inner = request.uri.path();
        let original = request.extensions.get::<OriginalUri>().map_or(inner, |original| original.path());
        Self::between(original, inner)
    }

    /// `inner` is what is left of the path `original` below the mount.
    fn between(original: &str, inner: &str) -> Self {
        let inner = inner.trim_end_matches('/');
        let mount = original.strip_suffix(inner).unwrap_or(original).trim_end_matches('/');
        let last = mount.rsplit('/').next().unwrap_or_default().to_owned();
        let depth = inner.matches('/').count();
        let up = if last.is_empty() { depth.saturating_sub(1) } else { depth };
        Self { up: if up == 0 { "./".to_owned() } else { "../".repeat(up) }, last }
    }

    /// To the page with this path below the mount, which begins with `/`.
    pub(super) fn to(&self, path: &str) -> String {
        let path = if path == "/" { "" } else { path };
        let path = if self.last.is_empty() { path.trim_start_matches('/') } else { path };
        format!("{}{}{path}", self.up, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_every_page_to_every_other_under_any_mount() {
        for mount in ["", "/keys", "/admin/keys", "/orgs/a%20b/keys"] {
            for inner in ["/", "/new", "/key/k1", "/key/k1/edit"] {
                let original = if inner == "/" && !mount.is_empty() {
                    mount.to_owned()
                } else {
                    format!("{mount}{inner}")
                };
                for target in ["/", "/new", "/key/k2", "/style.css"] {
                    let want = if target == "/" && !mount.is_empty() {
                        mount.to_owned()
                    } else {
                        format!("{mount}{target}")
                    };
                    let link = Links::between(&original, inner).to(target);
                    assert_eq!(resolved(&original, &link), want, "{original} {link}");
                    // A proxy that has added a prefix makes no difference.
                    assert_eq!(resolved(&format!("/outer{original}"), &link), format!("/outer{want}"));
                }
            }
        }
    }

    /// RFC 3986 section 5.2, for a relative path.
    fn resolved(base: &str, link: &str) -> String {
        let mut segments: Vec<_> = base.split('/').skip(1).collect();
        segments.pop();
        for segment in link.split('/') {
            match segment {
                "." => {}
                ".." => assert!(segments.pop().is_some(), "{link} leaves {base}"),
                segment => segments.push(segment),
            }
        }
        format!("/{}", segments.join("/"))
    }
}
