//! A JSON schema of examples.

use serde_json::{Map, Value, json};

/// A schema that all of `examples` meet. A member is required if all have it; what is of several types can be anything.
pub(super) fn of<'v>(examples: impl IntoIterator<Item = &'v Value>) -> Value {
    examples.into_iter().map(of_one).reduce(common).unwrap_or_else(|| json!({}))
}

fn of_one(example: &Value) -> Value {
    match example {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(number) if number.is_f64() => json!({ "type": "number" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) => json!({ "type": "array", "items": of(items) }),
        Value::Object(members) => {
            let properties: Map<_, _> =
                members.iter().map(|(name, value)| (name.clone(), of_one(value))).collect();
            let required: Vec<_> = members.keys().collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }
}

fn common(one: Value, other: Value) -> Value {
    match (one["type"].as_str(), other["type"].as_str()) {
        (Some("object"), Some("object")) => {
            let mut properties = one["properties"].as_object().cloned().unwrap_or_default();
            for (name, schema) in other["properties"].as_object().into_iter().flatten() {
                let both = match properties.remove(name) {
                    Some(own) => common(own, schema.clone()),
                    None => schema.clone(),
                };
                properties.insert(name.clone(), both);
            }
            let required: Vec<_> = one["required"].as_array().into_iter().flatten().collect();
            let in_other = other["required"].as_array();
            let in_both = |name: &&&Value| in_other.is_some_and(|all| all.contains(name));
            let required: Vec<_> = required.iter().filter(in_both).collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
        (Some("array"), Some("array")) => {
            json!({ "type": "array", "items": common(one["items"].clone(), other["items"].clone()) })
        }
        (one_type, other_type) if one_type == other_type => one,
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_what_the_examples_have_in_common() {
        let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
        let string = json!({ "type": "string" });
        for (examples, schema) in [
            (json!(["a", "b"]), string.clone()),
            (json!(["a", 7]), json!({})),
            (json!([7, 7.5]), json!({})),
            (json!([true]), json!({ "type": "boolean" })),
            (json!([null]), json!({})),
            (json!([]), json!({})),
            (json!([[], ["a"]]), json!({ "type": "array", "items": {} })),
            (json!([{ "code": "a" }]), object(json!({ "code": string }), &["code"])),
            (
                json!([{ "code": "a", "id": 7 }, { "code": "b", "wait": 1 }]),
                object(
                    json!({ "code": string, "id": { "type": "integer" }, "wait": { "type": "integer" } }),
                    &["code"],
                ),
            ),
        ] {
            assert_eq!(of(examples.as_array().unwrap()), schema, "{examples}");
        }
    }
}
