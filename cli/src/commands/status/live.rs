//! `snapless status --watch` on a terminal: the text on the alternate screen, redrawn in place.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};

use super::answer::Query;
use super::text;
use crate::error::CliError;

/// Lines that Page Up and Page Down scroll.
const PAGE: u16 = 10;

/// Shows the sessions until the user quits; returns the last text, for the screen that comes back.
pub(super) fn show(interval: Duration, query: &mut Query<'_>) -> Result<String, CliError> {
    // Restored after a panic too, by the hook that `try_init` sets.
    let mut terminal = ratatui::try_init()?;
    let shown = watch(&mut terminal, interval, query);
    ratatui::restore();
    shown
}

fn watch(
    terminal: &mut DefaultTerminal,
    interval: Duration,
    query: &mut Query<'_>,
) -> Result<String, CliError> {
    let mut top = 0;
    loop {
        let text = text::render(&query.answer()?);
        let due = Instant::now() + interval;
        loop {
            terminal.draw(|frame| draw(frame, &text, top))?;
            if !event::poll(due.saturating_duration_since(Instant::now()))? {
                break;
            }
            // Other events, such as a new size, only need the redraw.
            if let Event::Key(key) = event::read()? {
                match action(key) {
                    Some(Action::Quit) => return Ok(text),
                    Some(Action::Up(lines)) => top = top.saturating_sub(lines),
                    Some(Action::Down(lines)) => top = (top + lines).min(last_line(&text)),
                    None => {}
                }
            }
        }
    }
}

/// What a key does.
#[derive(PartialEq, Eq, Debug)]
enum Action {
    Quit,
    Up(u16),
    Down(u16),
}

fn action(key: KeyEvent) -> Option<Action> {
    // Windows reports releases as well.
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Action::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Action::Quit),
        KeyCode::Up => Some(Action::Up(1)),
        KeyCode::Down => Some(Action::Down(1)),
        KeyCode::PageUp => Some(Action::Up(PAGE)),
        KeyCode::PageDown => Some(Action::Down(PAGE)),
        _ => None,
    }
}

fn last_line(text: &str) -> u16 {
    u16::try_from(text.lines().count().saturating_sub(1)).unwrap_or(u16::MAX)
}

fn draw(frame: &mut Frame<'_>, text: &str, top: u16) {
    let [body, footer] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    // A session begins with its device, the only line that is not indented.
    let style = |line: &str| if line.starts_with(' ') { Style::new() } else { Style::new().bold() };
    let lines: Vec<Line<'_>> = text.lines().map(|line| Line::styled(line, style(line))).collect();
    let sessions = Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((top, 0));
    frame.render_widget(sessions, body);
    frame.render_widget(Line::from("q quits, arrow keys scroll").dim(), footer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(text: &str, top: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(30, 4)).unwrap();
        terminal.draw(|frame| draw(frame, text, top)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_long_line_wraps_and_the_text_scrolls() {
        let text = "device\n  a line that is longer than the screen is wide\n  last";
        let first = screen(text, 0);
        assert!(first.contains("device") && first.contains("wide") && !first.contains("last"));
        let scrolled = screen(text, 1);
        assert!(!scrolled.contains("device") && scrolled.contains("last"), "{scrolled}");
        assert!(scrolled.contains("q quits"), "{scrolled}");
    }

    #[test]
    fn q_escape_and_control_c_quit_and_a_release_does_nothing() {
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for key in [KeyCode::Char('q').into(), KeyCode::Esc.into(), control_c] {
            assert_eq!(action(key), Some(Action::Quit));
        }
        let mut release = KeyEvent::from(KeyCode::Char('q'));
        release.kind = KeyEventKind::Release;
        assert_eq!(action(release), None);
        assert_eq!(action(KeyCode::Char('c').into()), None);
        assert_eq!(last_line("a\nb"), 1);
    }
}
