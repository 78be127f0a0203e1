//! What JSON leaves open: an object with two members of one name, of which readers keep the first or the last.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whether an object in a JSON value, or the value itself, has a member twice.
pub(crate) struct HasDuplicateMember(pub(crate) bool);

impl<'de> Deserialize<'de> for HasDuplicateMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = HasDuplicateMember;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HasDuplicateMember, A::Error> {
                let (mut names, mut found) = (BTreeSet::new(), false);
                while let Some((name, HasDuplicateMember(inside))) = map.next_entry::<String, _>()? {
                    found |= inside | !names.insert(name);
                }
                Ok(HasDuplicateMember(found))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HasDuplicateMember, A::Error> {
                let mut found = false;
                while let Some(HasDuplicateMember(inside)) = list.next_element()? {
                    found |= inside;
                }
                Ok(HasDuplicateMember(found))
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<HasDuplicateMember, E> {
                Ok(HasDuplicateMember(false))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<HasDuplicateMember, E> {
                Ok(HasDuplicateMember(false))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<HasDuplicateMember, E> {
                Ok(HasDuplicateMember(false))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<HasDuplicateMember, E> {
                Ok(HasDuplicateMember(false))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<HasDuplicateMember, E> {
                Ok(HasDuplicateMember(false))
            }

            fn visit_unit<E: Error>(self) -> Result<HasDuplicateMember, E> {
                Ok(HasDuplicateMember(false))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_comes_twice_is_found_at_any_depth() {
        for (text, has_duplicate_member) in [
            (r#"{"a":1,"b":{"a":1}}"#, false),
            (r#"[{"a":1},{"a":2}]"#, false),
            (r#"[null,true,-1,1.5,1e300,"a","a",18446744073709551615,[],{}]"#, false),
            (r#"{"a":1,"a":1}"#, true),
            (r#"{"a":1,"\u0061":null}"#, true),
            (r#"{"a":{"b":1,"b":2}}"#, true),
            (r#"{"a":[1,{"b":1,"c":2,"b":3}]}"#, true),
        ] {
            assert_eq!(
                serde_json::from_str::<HasDuplicateMember>(text).unwrap().0,
                has_duplicate_member,
                "{text}"
            );
        }
        assert!(serde_json::from_str::<HasDuplicateMember>("{\"a\":1").is_err());
    }
}
