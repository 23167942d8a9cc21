//! Alarms reach a webhook and a mail server, each once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use snapless_console::model::{Alarm, AlarmKind, Level};
use snapless_console::notify::Notifier;
use snapless_console::settings::{Mail, MailSecurity, Settings, Webhook};

fn alarm(text: &str) -> Alarm {
    Alarm {
        alarm: "gap x".to_owned(),
        kind: AlarmKind::Gap,
        level: Level::Warning,
        volume: None,
        machine: None,
        text: text.to_owned(),
        since_ms: 1,
        ended_ms: None,
    }
}

/// An HTTP server that refuses the first request, and tells each.
fn webhook() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut len) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
                    len = length.trim().parse().unwrap();
                }
                head.push_str(&line);
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; len];
            reader.read_exact(&mut body).unwrap();
            let status = if n == 0 { "503 Busy" } else { "204 No Content" };
            let answer =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            sender.send(head + &String::from_utf8(body).unwrap()).unwrap();
        }
    });
    (address, receiver)
}

/// A mail server that takes everything, and tells each message.
fn mail_server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            stream.write_all(b"220 test\r\n").unwrap();
            let (mut message, mut is_data) = (String::new(), false);
            for line in reader.lines() {
                let Ok(line) = line else { break };
                let answer: &[u8] = match &*line {
                    "." if is_data => {
                        is_data = false;
                        sender.send(std::mem::take(&mut message)).unwrap();
                        b"250 taken\r\n"
                    }
                    _ if is_data => {
                        message.push_str(&line);
                        message.push('\n');
                        continue;
                    }
                    "DATA" => {
                        is_data = true;
                        b"354 go on\r\n"
                    }
                    "QUIT" => b"221 bye\r\n",
                    _ => b"250 ok\r\n",
                };
                stream.write_all(answer).unwrap();
            }
        }
    });
    (address, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_reaches_a_webhook_that_was_busy_and_a_mailbox() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "a-secret\n").unwrap();
    let (webhook, posted) = webhook();
    // It takes connections and never answers, and delays none of the others.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, mailed) = mail_server();
    let settings = Settings {
        webhook: vec![
            Webhook { url: format!("http://{}", silent.local_addr().unwrap()), token_file: None },
            Webhook { url: format!("http://{webhook}/hook"), token_file: Some(token_file) },
        ],
        mail: Some(Mail {
            server: server.ip().to_string(),
            port: Some(server.port()),
            security: MailSecurity::None,
            from: "snapless@example.com".parse().unwrap(),
            to: vec!["ops@example.com".parse().unwrap()],
            user: None,
            password_file: None,
        }),
        ..Settings::default()
    };
    let notifier = Notifier::start(&settings, "backup-1");
    notifier.send(alarm("a gap lasts\r\nBcc: all@example.com"));
    let posts: Vec<_> =
        tokio::task::spawn_blocking(move || posted.iter().take(2).collect()).await.unwrap();
    for post in &posts {
        let post: &String = post;
        assert!(post.starts_with("POST /hook ") && post.contains("Bearer a-secret"), "{post}");
        assert!(post.contains("\"server\":\"backup-1\"") && post.contains("\"kind\":\"gap\""));
    }
    let mail = tokio::task::spawn_blocking(move || mailed.recv().unwrap()).await.unwrap();
    assert!(mail.contains("Subject: [backup-1] gap began: a gap lasts"), "{mail}");
    let head = mail.split("\n\n").next().unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{head}");
}
