//! The manifest that the setup registers (`service/snapless-counters.man`) says of each counter
//! what the service's list says.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use snapless_service::performance::sets::{Kind, PROVIDER, SETS};

const MANIFEST: &str = include_str!("../snapless-counters.man");

/// An element's name and its attributes.
type Element = (String, Vec<(String, String)>);

fn elements() -> Vec<Element> {
    let mut reader = Reader::from_str(MANIFEST);
    let mut elements = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return elements,
            Event::Start(start) | Event::Empty(start) => elements.push(element(&start)),
            _ => {}
        }
    }
}

fn element(start: &BytesStart<'_>) -> Element {
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).unwrap().into_owned();
        (String::from_utf8(attribute.key.as_ref().to_vec()).unwrap(), value)
    });
    (String::from_utf8(start.name().as_ref().to_vec()).unwrap(), attributes.collect())
}

/// The attributes of these names, in this order.
fn of<const N: usize>((_, attributes): &Element, names: [&str; N]) -> [String; N] {
    names.map(|name| {
        let found = attributes.iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("{name} is missing in {attributes:?}")).1.clone()
    })
}

fn guid(number: u128) -> String {
    let digits = format!("{number:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    format!("{{{}}}", parts.join("-"))
}

#[test]
fn the_manifest_has_every_set_and_counter_with_its_ids_type_and_texts() {
    let mut rest = elements().into_iter().filter(|(name, _)| {
        matches!(name.as_str(), "provider" | "counterSet" | "counter" | "counterAttribute")
    });
    let provider = rest.next().unwrap();
    let wanted = [guid(PROVIDER), "snapless-service.exe".into(), "userMode".into()];
    assert_eq!(of(&provider, ["providerGuid", "applicationIdentity", "providerType"]), wanted);
    for set in SETS {
        let (name, description) = set.string_ids();
        let element = rest.next().unwrap();
        assert_eq!(element.0, "counterSet");
        let names = ["guid", "name", "nameID", "description", "descriptionID", "instances"];
        let instances = if set.is_per_volume { "multiple" } else { "single" };
        let wanted = [
            guid(set.guid),
            set.name.into(),
            name.to_string(),
            set.description.into(),
            description.to_string(),
            instances.into(),
        ];
        assert_eq!(of(&element, names), wanted);
        for counter in set.counters {
            let (name, description) = set.string_ids_of(counter);
            let element = rest.next().unwrap();
            assert_eq!(element.0, "counter");
            let names = ["id", "name", "nameID", "description", "descriptionID", "type"];
            let kind = match counter.kind {
                Kind::Level => "perf_counter_large_rawcount",
                Kind::PerSecond => "perf_counter_bulk_count",
            };
            let wanted = [
                counter.id.to_string(),
                counter.name.into(),
                name.to_string(),
                counter.description.into(),
                description.to_string(),
                kind.into(),
            ];
            assert_eq!(of(&element, names), wanted);
            assert_eq!(of(&element, ["detailLevel"]), ["standard"]);
            // As the service says to Windows: a value is read where it is.
            assert_eq!(of(&rest.next().unwrap(), ["name"]), ["reference"]);
        }
    }
    assert_eq!(rest.next(), None, "more than the list has");
}

#[test]
fn symbols_and_uris_are_unique() {
    for name in ["symbol", "uri"] {
        let mut all: Vec<_> = elements()
            .into_iter()
            .flat_map(|(_, attributes)| attributes)
            .filter_map(|(other, value)| (other == name).then_some(value))
            .collect();
        let count = all.len();
        assert!(count > SETS.len());
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "{name}");
    }
}

#[test]
fn the_schema_is_the_one_that_names_strings_by_their_ids() {
    let counters = elements().into_iter().find(|(name, _)| name == "counters").unwrap();
    let wanted = ["2.0", "http://schemas.microsoft.com/win/2005/12/counters"];
    assert_eq!(of(&counters, ["schemaVersion", "xmlns"]), wanted);
}
