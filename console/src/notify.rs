//! Sends alarms: to webhooks and by e-mail. A message that cannot be sent is tried again, and then
//! left to the log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Message, SmtpTransport, Transport};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::model::Alarm;
use crate::settings::{Mail, MailSecurity, Settings, Webhook};

/// Alarms that wait to be sent. Past that the newest is left to the log.
const WAITING_MAX: usize = 1000;
/// Pauses before the next attempt.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(3)];
/// The longest attempt.
const SEND_LIMIT: Duration = Duration::from_secs(15);

/// The way to those who want to know.
#[derive(Clone, Debug)]
pub struct Notifier(mpsc::Sender<Alarm>);

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
        let (sender, mut waiting) = mpsc::channel::<Alarm>(WAITING_MAX);
        let (webhooks, mail) = (settings.webhook.clone(), settings.mail.clone());
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Some(alarm) = waiting.recv().await {
                for webhook in &webhooks {
                    let send = || post(webhook, &server, &alarm);
                    again(&webhook.url, send).await;
                }
                if let Some(mail) = &mail {
                    again(&mail.server, || send(mail, &server, &alarm)).await;
                }
            }
        });
        Self(sender)
    }

    /// Sends an alarm that began or ended.
    pub fn send(&self, alarm: Alarm) {
        let text = text_of(&alarm);
        log::warn!("alarm: {text}");
        if self.0.try_send(alarm).is_err() {
            log::error!("too many alarms wait to be sent; this one is not: {text}");
        }
    }
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
