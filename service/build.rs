//! Gives `snapless-service.exe` its version resource, the messages of its events, and the names of
//! its performance counters.

use event::Event;
use sets::{CounterSet, SETS};
use snapless_version_info::{Texts, program_with};

#[allow(dead_code, reason = "of the list only what the messages are made of is used")]
#[path = "src/event.rs"]
mod event;
#[allow(dead_code, reason = "of the list only the texts are used")]
#[path = "src/performance/sets.rs"]
mod sets;

fn main() {
    let messages = Event::ALL.map(|event| (event.message_id(), event.message()));
    let strings: Vec<_> = SETS.iter().flat_map(CounterSet::string_table).collect();
    let texts = Texts { messages: &messages, strings: &strings };
    program_with("snapless-service.exe", "Snapless service", &texts);
}
