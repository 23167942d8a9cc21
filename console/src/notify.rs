//! Sends alarms: to webhooks and by e-mail. A message that cannot be sent is tried again, and then
//! left to the log.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Message, SmtpTransport, Transport};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::model::Alarm;
use crate::settings::{Mail, MailSecurity, Settings, Webhook};

/// Alarms that wait to be sent to one receiver. Past that the newest is left to the log.
const WAITING_MAX: usize = 1000;
/// Pauses before the next attempt.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(3)];
/// The longest attempt.
const SEND_LIMIT: Duration = Duration::from_secs(15);

/// The way to those who want to know. Each has a queue of its own: one that does not answer keeps
/// nothing from the others.
#[derive(Clone, Debug)]
pub struct Notifier(Vec<Receiver>);

/// One who wants to know.
#[derive(Clone, Debug)]
struct Receiver {
    /// What it is called in the log.
    name: String,
    waiting: mpsc::Sender<Alarm>,
}

impl Receiver {
    /// Starts what sends to it.
    fn start<F: Future<Output = Result<(), String>> + Send>(
        name: String,
        send: impl Fn(Alarm) -> F + Send + Sync + 'static,
    ) -> Self {
        let (sender, mut waiting) = mpsc::channel::<Alarm>(WAITING_MAX);
        let to = name.clone();
        tokio::spawn(async move {
            while let Some(alarm) = waiting.recv().await {
                again(&to, || send(alarm.clone())).await;
            }
        });
        Self { name, waiting: sender }
    }
}

/// What a webhook gets.
#[derive(Serialize)]
struct Posted<'a> {
    server: &'a str,
    text: &'a str,
    alarm: &'a Alarm,
}

impl Notifier {
    /// Starts what sends, on the current runtime. `server` names this server to the reader.
    pub fn start(settings: &Settings, server: &str) -> Self {
        let server: Arc<str> = server.into();
        let webhooks = settings.webhook.iter().map(|webhook| {
            let (server, webhook) = (Arc::clone(&server), Arc::new(webhook.clone()));
            Receiver::start(host_of(&webhook.url), move |alarm| {
                let (server, webhook) = (Arc::clone(&server), Arc::clone(&webhook));
                async move { post(&webhook, &server, &alarm).await }
            })
        });
        let mail = settings.mail.iter().map(|mail| {
            let (server, mail) = (Arc::clone(&server), Arc::new(mail.clone()));
            Receiver::start(mail.server.clone(), move |alarm| {
                let (server, mail) = (Arc::clone(&server), Arc::clone(&mail));
                async move { send(&mail, &server, &alarm).await }
            })
        });
        Self(webhooks.chain(mail).collect())
    }

    /// Sends an alarm that began or ended.
    pub fn send(&self, alarm: Alarm) {
        let text = text_of(&alarm);
        log::warn!("alarm: {text}");
        for Receiver { name, waiting } in &self.0 {
            if waiting.try_send(alarm.clone()).is_err() {
                log::error!("too many alarms wait to be sent to {name}; this one is not: {text}");
            }
        }
    }
}

/// The host and port of a webhook. The rest of a URL may have a secret in it.
fn host_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str().zip(url.port_or_known_default()));
    host.map_or_else(|| "a webhook".to_owned(), |(host, port)| format!("{host}:{port}"))
}

/// Tries until it works, a few times.
async fn again<F: Future<Output = Result<(), String>>>(to: &str, send: impl Fn() -> F) {
    for pause in PAUSES.into_iter().map(Some).chain([None]) {
        match (send().await, pause) {
            (Ok(()), _) => return,
            (Err(why), Some(pause)) => {
                log::warn!("an alarm could not be sent to {to}: {why}; again in {pause:?}");
                tokio::time::sleep(pause).await;
            }
            (Err(why), None) => log::error!("an alarm was not sent to {to}: {why}"),
        }
    }
}

async fn post(webhook: &Webhook, server: &str, alarm: &Alarm) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .timeout(SEND_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.to_string())?;
    let text = text_of(alarm);
    let mut request = client.post(&webhook.url).json(&Posted { server, text: &text, alarm });
    if let Some(file) = &webhook.token_file {
        request = request.bearer_auth(first_line(file)?);
    }
    // Without the URL, which may have a secret in it.
    let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
    answer.error_for_status().map(drop).map_err(|error| error.without_url().to_string())
}

async fn send(mail: &Mail, server: &str, alarm: &Alarm) -> Result<(), String> {
    let message = message(mail, server, alarm)?;
    let mail = mail.clone();
    let sent = tokio::task::spawn_blocking(move || {
        let transport = transport(&mail)?;
        transport.send(&message).map(drop).map_err(|error| error.to_string())
    });
    sent.await.map_err(|error| error.to_string())?
}

fn transport(mail: &Mail) -> Result<SmtpTransport, String> {
    let builder = match mail.security {
        MailSecurity::Starttls => SmtpTransport::starttls_relay(&mail.server),
        MailSecurity::Tls => SmtpTransport::relay(&mail.server),
        MailSecurity::None => Ok(SmtpTransport::builder_dangerous(&mail.server)),
    };
    let mut builder = builder.map_err(|error| error.to_string())?.timeout(Some(SEND_LIMIT));
    if let Some(port) = mail.port {
        builder = builder.port(port);
    }
    if let Some((user, file)) = mail.user.clone().zip(mail.password_file.as_ref()) {
        builder = builder.credentials(Credentials::new(user, first_line(file)?));
    }
    Ok(builder.build())
}

fn message(mail: &Mail, server: &str, alarm: &Alarm) -> Result<Message, String> {
    let text = text_of(alarm);
    // A name of a volume or machine is text from outside: a header has one line.
    let subject: String =
        format!("[{server}] {text}").chars().filter(|it| !it.is_control()).take(200).collect();
    let mut builder =
        Message::builder().from(mail.from.clone()).subject(subject).header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        builder = builder.to(to.clone());
    }
    builder.body(format!("{text}\n")).map_err(|error| error.to_string())
}

fn text_of(alarm: &Alarm) -> String {
    let what = if alarm.ended_ms.is_some() { "ended" } else { "began" };
    format!("{} {what}: {}", alarm.kind.name(), alarm.text)
}

fn first_line(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { Err(format!("{} is empty", file.display())) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_a_webhook_without_its_secrets() {
        for url in ["https://user:secret@example.com/secret?key=secret", "https://example.com"] {
            assert_eq!(host_of(url), "example.com:443");
        }
        assert_eq!(host_of("http://[::1]:8080/secret"), "[::1]:8080");
    }
}
