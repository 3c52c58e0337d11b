//! Events in the journal: the line as the message, the fields that people filter by beside it.

use libsystemd::logging::{Priority, journal_send};
use serde_json::Value;
use std::io;

/// Fields of the event that become fields of the entry: `RSTMON_CAUSE=…`.
const FIELDS: [&str; 10] = [
    "kind",
    "cause",
    "initiator",
    "confidence",
    "comm",
    "pid",
    "local_port",
    "remote_addr",
    "unit",
    "pod",
];

/// Sends each line as an entry.
pub(super) fn send_lines(lines: &[u8]) -> io::Result<()> {
    let lines = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    for line in lines {
        let text = String::from_utf8_lossy(line);
        let fields = fields_of(&text);
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        journal_send(Priority::Info, &text, fields)
            .map_err(|error| io::Error::other(format!("journal: {error}")))?;
    }
    Ok(())
}

fn fields_of(line: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(members)) = serde_json::from_str(line) else {
        return Vec::new();
    };
    FIELDS
        .iter()
        .filter_map(|name| {
            let value = match members.get(*name)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some((format!("RSTMON_{}", name.to_ascii_uppercase()), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_the_journal_wants_them() {
        let fields = fields_of(r#"{"cause":"paws","pid":7,"seq_no":1}"#);
        let expected = [("RSTMON_CAUSE", "paws"), ("RSTMON_PID", "7")];
        assert_eq!(
            fields,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(fields_of("no JSON").is_empty());
    }
}
