//! A JSON schema of examples.

use serde_json::{Map, Value, json};

/// A schema that all of `examples` meet. A member is required if all have it.
pub(super) fn of<'v>(examples: impl IntoIterator<Item = &'v Value>) -> Value {
    examples.into_iter().map(of_one).reduce(common).unwrap_or_else(|| json!({}))
}

fn of_one(example: &Value) -> Value {
    match example {
        Value::Null => json!({ "type": "null" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(number) if number.is_f64() => json!({ "type": "number" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) if items.is_empty() => json!({ "type": "array" }),
        Value::Array(items) => json!({ "type": "array", "items": of(items) }),
        Value::Object(members) => {
            let properties: Map<_, _> =
                members.iter().map(|(name, value)| (name.clone(), of_one(value))).collect();
            let required: Vec<_> = members.keys().collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }
}

/// A schema of what meets one of the two. Items and members bind only arrays and objects, so they are kept.
fn common(one: Value, other: Value) -> Value {
    let mut types = types(&one);
    types.extend(self::types(&other));
    types.sort_unstable();
    types.dedup();
    let mut schema = match &*types {
        [only] => json!({ "type": only }),
        several => json!({ "type": several }),
    };
    let both = |member| (one.get(member), other.get(member));
    match both("items") {
        (Some(one), Some(other)) => schema["items"] = common(one.clone(), other.clone()),
        (Some(items), None) | (None, Some(items)) => schema["items"] = items.clone(),
        (None, None) => {}
    }
    if let (Some(Value::Object(one)), Some(Value::Object(other))) = both("properties") {
        let mut properties = one.clone();
        for (name, schema) in other {
            let own = properties.remove(name);
            let both = own.map_or_else(|| schema.clone(), |own| common(own, schema.clone()));
            properties.insert(name.clone(), both);
        }
        schema["properties"] = Value::Object(properties);
        let names =
            |required: Option<&Value>| required.and_then(Value::as_array).cloned().unwrap_or_default();
        let (required, others) = both("required");
        let mut required = names(required);
        required.retain(|name| names(others).contains(name));
        schema["required"] = Value::Array(required);
    } else {
        let object = if one.get("properties").is_some() { &one } else { &other };
        for member in ["properties", "required"] {
            if let Some(value) = object.get(member) {
                schema[member] = value.clone();
            }
        }
    }
    schema
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_what_the_examples_have_in_common() {
        let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
        let string = json!({ "type": "string" });
        let mut with_null = object(json!({ "a": { "type": "integer" } }), &["a"]);
        with_null["type"] = json!(["null", "object"]);
        for (examples, schema) in [
            (json!(["a", "b"]), string.clone()),
            (json!(["a", 7]), json!({ "type": ["integer", "string"] })),
            (json!([null, "a"]), json!({ "type": ["null", "string"] })),
            (json!([7, 7.5]), json!({ "type": ["integer", "number"] })),
            (json!([true]), json!({ "type": "boolean" })),
            (json!([null]), json!({ "type": "null" })),
            (json!([]), json!({})),
            (json!([[]]), json!({ "type": "array" })),
            (json!([[], ["a"]]), json!({ "type": "array", "items": string })),
            (json!([null, { "a": 1 }]), with_null),
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
