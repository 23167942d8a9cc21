//! The names of performance counters in the service's program, where Windows looks for them.
//!
//! The rule: the program has each text of the manifest that the setup registers, under the id that
//! the manifest says.

use std::fs;
use std::path::Path;

use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};

use crate::error::{Error, IoContext, Result as TaskResult};
use crate::resources;

/// An attribute with a text, and the one with its id.
const TEXTS: [(&str, &str); 2] = [("name", "nameID"), ("description", "descriptionID")];

/// An error unless a program that has been built has the texts of this manifest.
pub fn require(program: &Path, manifest: &Path) -> TaskResult<()> {
    let bytes = fs::read(program).on("read", program)?;
    let text = fs::read_to_string(manifest).on("read", manifest)?;
    let malformed = |file: &Path| {
        let file = file.to_path_buf();
        move |problem| Error::Malformed { file, problem }
    };
    let wanted = texts(&text).map_err(malformed(manifest))?;
    let found = resources::strings(&bytes).map_err(|error| error.to_string());
    found.and_then(|found| compare(&found, &wanted)).map_err(malformed(program))
}

fn compare(found: &[(u16, String)], wanted: &[(u16, String)]) -> Result<(), String> {
    match wanted.iter().find(|text| !found.contains(text)) {
        Some((id, text)) => Err(format!("it has no string {id} `{text}`")),
        None if wanted.is_empty() => Err("the manifest has no text".to_owned()),
        None => Ok(()),
    }
}

/// The texts of a manifest with their ids.
fn texts(manifest: &str) -> Result<Vec<(u16, String)>, String> {
    let mut reader = Reader::from_str(manifest);
    let mut texts = Vec::new();
    loop {
        let element = match reader.read_event().map_err(|error| error.to_string())? {
            Event::Eof => return Ok(texts),
            Event::Start(element) | Event::Empty(element) => element,
            _ => continue,
        };
        let value = |name: &str| {
            let attribute = element.try_get_attribute(name).ok().flatten()?;
            Some(attribute.normalized_value(XmlVersion::Explicit1_0).ok()?.into_owned())
        };
        for (text, id) in TEXTS {
            let Some(id) = value(id) else { continue };
            let id = id.parse().map_err(|_| format!("{id} is no id of a string"))?;
            texts.push((id, value(text).ok_or_else(|| format!("string {id} has no text"))?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_under_another_id_or_none_is_refused() {
        let manifest = r#"<a><b name="x" nameID="100" description="&quot;y&quot;" descriptionID="102"/>
                          <c name="unnumbered"/></a>"#;
        let wanted = texts(manifest).unwrap();
        assert_eq!(wanted, [(100, "x".to_owned()), (102, "\"y\"".to_owned())]);
        assert_eq!(compare(&wanted, &wanted), Ok(()));
        assert!(compare(&[(101, "x".to_owned()), wanted[1].clone()], &wanted).is_err());
        assert!(compare(&wanted, &[]).is_err());
        assert!(texts(r#"<a nameID="1"/>"#).is_err());
    }
}
