//! Gives `snapless-service.exe` its version resource, and the messages of its events.

use event::Event;

#[allow(dead_code, reason = "of the list only what the messages are made of is used")]
#[path = "src/event.rs"]
mod event;

fn main() {
    let messages = Event::ALL.map(|event| (event.message_id(), event.message()));
    snapless_version_info::program_with("snapless-service.exe", "Snapless service", &messages);
}
