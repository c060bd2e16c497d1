//! The shape of a JSON value: which fields it has, and of which types. It becomes a JSON schema.
//!
//! A shape says no more than viewers can use. It leaves out nulls, empty arrays and arrays whose items differ, which may be
//! anything. A shape admits a value if both have the same fields of the same types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The most fields of a shape. Further ones are left out: they may be anything.
const MOST_FIELDS: usize = 1_000;

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Boolean,
    Number,
    Text,
    Array(Box<Shape>),
    Object(BTreeMap<String, Shape>),
}

/// Returns the shape of an object.
pub(super) fn of_object(members: &Map<String, Value>) -> Shape {
    let mut room = MOST_FIELDS;
    fields(members, &mut room)
}

fn fields(members: &Map<String, Value>, room: &mut usize) -> Shape {
    let mut known = BTreeMap::new();
    for (name, value) in members {
        if *room == 0 {
            break;
        }
        *room -= 1;
        if let Some(shape) = of(value, room) {
            known.insert(name.clone(), shape);
        }
    }
    Shape::Object(known)
}

/// Returns the shape of a value. `None` if it may be anything.
fn of(value: &Value, room: &mut usize) -> Option<Shape> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(Shape::Boolean),
        Value::Number(_) => Some(Shape::Number),
        Value::String(_) => Some(Shape::Text),
        Value::Array(items) => {
            let first = of(items.first()?, room)?;
            // Viewers know arrays of one type, and none of arrays.
            let is_plain = !matches!(first, Shape::Array(_)) && items.iter().all(|item| first.admits(item));
            is_plain.then(|| Shape::Array(Box::new(first)))
        }
        Value::Object(members) => Some(fields(members, room)),
    }
}

impl Shape {
    /// Whether the value is valid by the schema of this shape, and has no field that the schema could name and does not.
    pub(super) fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Text, Value::String(_)) => true,
            (Self::Array(item), Value::Array(items)) => items.iter().all(|value| item.admits(value)),
            (Self::Object(fields), Value::Object(members)) => {
                members.iter().all(|(name, value)| match fields.get(name) {
                    Some(shape) => shape.admits(value),
                    None => of(value, &mut MOST_FIELDS.clone()).is_none(),
                })
            }
            _ => false,
        }
    }

    /// Returns the JSON schema.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Number => json!({ "type": "number" }),
            Self::Text => json!({ "type": "string" }),
            Self::Array(item) => json!({ "type": "array", "items": item.schema() }),
            Self::Object(fields) => {
                let properties: Map<_, _> =
                    fields.iter().map(|(name, shape)| (name.clone(), shape.schema())).collect();
                json!({ "type": "object", "properties": properties })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("an object")
    }

    #[test]
    fn a_shape_says_what_viewers_can_use() {
        let shape = of_object(&members(
            r#"{"a":1,"b":[1.5,2],"c":{"d":"x","e":null},"f":[],"g":[1,"x"],"h":[[1]],"i":true,"j":[{"k":1},{"k":2}]}"#,
        ));
        let expected = json!({"type": "object", "properties": {
            "a": {"type": "number"},
            "b": {"type": "array", "items": {"type": "number"}},
            "c": {"type": "object", "properties": {"d": {"type": "string"}}},
            "i": {"type": "boolean"},
            "j": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "number"}}}},
        }});
        assert_eq!(shape.schema(), expected);
    }

    #[test]
    fn a_shape_admits_what_its_schema_describes_whole() {
        let shape = of_object(&members(r#"{"a":1,"b":{"c":"x"}}"#));
        for (text, admits) in [
            (r#"{"a":2.5,"b":{"c":"y"}}"#, true),
            (r#"{"a":2.5}"#, true),
            (r#"{"a":2.5,"new":1}"#, false),
            (r#"{"a":2.5,"new":null,"empty":[],"mixed":[1,"x"]}"#, true),
            (r#"{"b":{"new":1}}"#, false),
            (r#"{"a":null}"#, false),
            (r#"{"a":"x"}"#, false),
            (r#"{"b":[1]}"#, false),
        ] {
            assert_eq!(shape.admits(&Value::Object(members(text))), admits, "{text}");
        }
    }

    #[test]
    fn a_shape_has_a_bounded_number_of_fields() {
        let many: Map<String, Value> = (0..5_000).map(|number| (number.to_string(), json!([1]))).collect();
        let Shape::Object(fields) = of_object(&many) else { panic!("an object") };
        assert_eq!(fields.len(), MOST_FIELDS);
    }
}
