//! As much of JSON Schema as docs/schema.json has.
//!
//! **Invariant:** a keyword that is not known here is a failure, not ignored.

use serde_json::Value;

/// Whether `value` is what `schema` says; `all` is the document that it stands in.
pub(crate) fn check(schema: &Value, all: &Value, value: &Value, path: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{path} {what}: {value}"));
    let (items, fields) = (value.as_array(), value.as_object());
    for (keyword, said) in schema.as_object().unwrap() {
        let words = || said.as_array().unwrap();
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "unit" | "format" => {}
            "$ref" => {
                let pointer = said.as_str().unwrap().trim_start_matches('#');
                check(all.pointer(pointer).expect(pointer), all, value, path)?;
            }
            "anyOf" => {
                let meets = |one| check(one, all, value, path).is_ok();
                if !words().iter().any(meets) {
                    return wrong("is none of several");
                }
            }
            "const" if said == value => {}
            "enum" if words().contains(value) => {}
            "pattern" => {
                assert_eq!(said, "^[0-9a-f]+$");
                let is_hexadecimal = |text: &str| {
                    let digits = |c| matches!(c, '0'..='9' | 'a'..='f');
                    !text.is_empty() && text.chars().all(digits)
                };
                if !value.as_str().is_none_or(is_hexadecimal) {
                    return wrong("is not hexadecimal");
                }
            }
            "type" => {
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                if said != kind
                    && !said
                        .as_array()
                        .is_some_and(|kinds| kinds.contains(&kind.into()))
                {
                    return wrong(&format!("is not {said}"));
                }
            }
            "items" => {
                for item in items.into_iter().flatten() {
                    check(said, all, item, &format!("{path}[]"))?;
                }
            }
            "properties" => {
                for (key, value) in fields.into_iter().flatten() {
                    if let Some(schema) = said.get(key) {
                        check(schema, all, value, &format!("{path}.{key}"))?;
                    }
                }
            }
            "required" => {
                for key in words() {
                    if value.get(key.as_str().unwrap()).is_none() {
                        return wrong(&format!("has no {key}"));
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(said, false);
                for key in fields.into_iter().flatten().map(|(key, _)| key) {
                    if schema["properties"].get(key).is_none() {
                        return wrong(&format!("has a {key}"));
                    }
                }
            }
            _ => return wrong(&format!("is not {keyword} {said}")),
        }
    }
    Ok(())
}

/// Every value that differs from this one by a key: objects with one more, or one less.
pub(crate) fn changed(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("news".into(), 0.into());
            all.push(more.into());
            for (key, inner) in fields {
                let mut less = fields.clone();
                less.remove(key);
                all.push(less.into());
                all.extend(changed(inner).into_iter().map(|inner| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), inner);
                    fields.into()
                }));
            }
        }
        // Items are of one kind.
        Value::Array(items) => {
            if let Some(first) = items.first() {
                all.extend(changed(first).into_iter().map(|first| vec![first].into()));
            }
        }
        _ => {}
    }
    all
}
