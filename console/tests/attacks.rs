//! Attacks on the console that are refused, over real TLS connections: one test each.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{HeaderMap, ORIGIN, SET_COOKIE};
use serde_json::{Value, json};
use snapless_console::accounts::users::Users;
use snapless_console::model::{Role, UserName};
use snapless_console::serve::{self, Options, Running};
use snapless_console::settings::Settings;
use snapless_console_synthetic::{Synthetic, certificate};

const PASSWORD: &str = "correct horse battery";
const VOLUME: &str = "/api/v1/volumes/5e1f0000-0000-4000-8000-000000000001";

/// A console over a synthetic estate, with a user of each role.
struct Console {
    running: Running,
    estate: Arc<Synthetic>,
    folder: tempfile::TempDir,
    client: reqwest::Client,
}

/// Who asks.
#[derive(Clone, Default)]
struct Who {
    cookie: String,
    csrf: String,
    token: Option<String>,
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Console {
    fn start() -> Self {
        Self::start_with(Settings { requests_per_second: 1000, ..Settings::default() })
    }

    fn start_with(settings: Settings) -> Self {
        log_to_memory();
        let folder = tempfile::tempdir().unwrap();
        let users = Users::new(folder.path());
        for role in [Role::Viewer, Role::Operator, Role::Administrator] {
            users.set(&UserName::parse(role.name()).unwrap(), role, PASSWORD).unwrap();
        }
        let (tls, _) = certificate().unwrap();
        let estate = Arc::new(Synthetic::new(20));
        let running = serve::start(
            "127.0.0.1:0".parse().unwrap(),
            Options {
                estate: Arc::<Synthetic>::clone(&estate),
                folder: folder.path().to_owned(),
                settings,
                tls,
                machine: "box".to_owned(),
                version: "1".to_owned(),
            },
        )
        .unwrap();
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        Self { running, estate, folder, client }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running.address())
    }

    async fn ask(&self, method: Method, path: &str, who: &Who, body: Option<Value>) -> Answer {
        self.ask_with(method, path, who, body, HeaderMap::new()).await
    }

    async fn ask_with(
        &self,
        method: Method,
        path: &str,
        who: &Who,
        body: Option<Value>,
        headers: HeaderMap,
    ) -> Answer {
        let mut request = self.client.request(method, self.url(path)).headers(headers);
        if !who.cookie.is_empty() {
            request = request.header("cookie", format!("__Host-snapless={}", who.cookie));
        }
        if !who.csrf.is_empty() {
            request = request.header("x-csrf-token", &who.csrf);
        }
        if let Some(token) = &who.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&self, path: &str, who: &Who) -> Answer {
        self.ask(Method::GET, path, who, None).await
    }

    async fn try_to_sign_in(&self, name: &str, password: &str, who: &Who) -> Answer {
        let body = json!({"name": name, "password": password});
        self.ask(Method::POST, "/api/v1/session", who, Some(body)).await
    }

    async fn sign_in(&self, role: Role) -> Who {
        let answer = self.try_to_sign_in(role.name(), PASSWORD, &Who::default()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let set = answer.headers[SET_COOKIE].to_str().unwrap().to_owned();
        for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(set.contains(attribute), "{set}");
        }
        let cookie = set.split(['=', ';']).nth(1).unwrap().to_owned();
        let csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        Who { cookie, csrf, token: None }
    }
}

/// Every line that is logged, so that it can be searched for secrets.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct ToMemory;

impl log::Log for ToMemory {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // What the libraries below trace is not in a server's log.
        if record.level() <= log::Level::Debug {
            let mut logged = LOGGED.lock().unwrap();
            writeln!(logged, "{} {}", record.target(), record.args()).unwrap();
        }
    }

    fn flush(&self) {}
}

fn log_to_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&ToMemory).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

#[tokio::test]
async fn without_a_cookie_or_a_token_nothing_is_told() {
    let console = Console::start();
    let paths = [
        "server",
        "overview",
        "alarms",
        "jobs",
        "audit",
        "tokens",
        "session",
        "events",
        "volumes/5e1f0000-0000-4000-8000-000000000001",
        "volumes/5e1f0000-0000-4000-8000-000000000001/timeline",
        "volumes/5e1f0000-0000-4000-8000-000000000001/files?at=latest",
    ];
    let forged = Who { cookie: "0".repeat(64), ..Who::default() };
    let token = Who { token: Some("snapless-console-0".to_owned()), ..Who::default() };
    for who in [Who::default(), forged, token] {
        for path in paths {
            let answer = console.get(&format!("/api/v1/{path}"), &who).await;
            assert_eq!((answer.status, &*answer.code()), (401, "not-signed-in"), "{path}");
        }
        assert_eq!(console.get("/metrics", &who).await.status, 401);
    }
}

#[tokio::test]
async fn a_wrong_csrf_token_changes_nothing() {
    let console = Console::start();
    let right = console.sign_in(Role::Operator).await;
    let other = console.sign_in(Role::Operator).await;
    let path = format!("{VOLUME}/bookmarks");
    let body = || Some(json!({"name": "noon", "at": "latest"}));
    for csrf in ["", "0", &other.csrf] {
        let who = Who { csrf: csrf.to_owned(), ..right.clone() };
        let answer = console.ask(Method::POST, &path, &who, body()).await;
        assert_eq!((answer.status, &*answer.code()), (403, "csrf"), "{csrf}");
    }
    assert_eq!(console.ask(Method::POST, &path, &right, body()).await.status, 201);
    assert_eq!(console.estate.audit_log().iter().filter(|it| it.act == "bookmark-add").count(), 1);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let console = Console::start();
    let who = console.sign_in(Role::Operator).await;
    let path = format!("{VOLUME}/verifications");
    for origin in ["https://evil.example", "null", "http://127.0.0.1"] {
        let headers = HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
        let answer = console.ask_with(Method::POST, &path, &who, None, headers.clone()).await;
        assert_eq!((answer.status, &*answer.code()), (403, "origin"), "{origin}");
        let answer = console.ask_with(Method::GET, "/api/v1/overview", &who, None, headers).await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    let site =
        HeaderMap::from_iter([("sec-fetch-site".parse().unwrap(), "cross-site".parse().unwrap())]);
    assert_eq!(console.ask_with(Method::POST, &path, &who, None, site).await.status, 403);
    let ours = format!("https://{}", console.running.address());
    let headers = HeaderMap::from_iter([(ORIGIN, ours.parse().unwrap())]);
    assert_eq!(console.ask_with(Method::POST, &path, &who, None, headers).await.status, 202);
}

#[tokio::test]
async fn a_session_that_was_put_into_the_browser_is_worth_nothing() {
    let console = Console::start();
    // The attacker knows this secret, of a session of his own or of none.
    for planted in ["f".repeat(64), console.sign_in(Role::Viewer).await.cookie] {
        let who = Who { cookie: planted.clone(), ..Who::default() };
        let answer = console.try_to_sign_in("operator", PASSWORD, &who).await;
        let set = answer.headers[SET_COOKIE].to_str().unwrap();
        assert!(answer.status == 200 && !set.contains(&planted));
        assert_eq!(console.get("/api/v1/session", &who).await.status, 401);
    }
}

#[tokio::test]
async fn passwords_are_not_tried_one_after_the_other() {
    let console = Console::start();
    let mut refused = None;
    for n in 0..40 {
        let password = format!("wrong password {n}");
        let answer = console.try_to_sign_in("administrator", &password, &Who::default()).await;
        match answer.status {
            401 => assert_eq!(answer.code(), "wrong-password"),
            429 => {
                refused = Some((n, answer));
                break;
            }
            other => panic!("{other}"),
        }
    }
    let (n, answer) = refused.unwrap();
    assert!(n <= 10 && answer.headers.contains_key("retry-after"));
    // The right password has to wait too: otherwise the answer would tell that it is right.
    let answer = console.try_to_sign_in("administrator", PASSWORD, &Who::default()).await;
    assert_eq!(answer.status, 429);
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_look_the_same() {
    let console = Console::start();
    let known = console.try_to_sign_in("viewer", "wrong password", &Who::default()).await;
    let unknown = console.try_to_sign_in("nobody", "wrong password", &Who::default()).await;
    assert_eq!((known.status, known.text), (unknown.status, unknown.text));
}

#[tokio::test]
async fn requests_of_one_address_are_limited() {
    let console = Console::start_with(Settings { requests_per_second: 5, ..Settings::default() });
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(console.get("/", &Who::default()).await.status);
    }
    assert!(statuses.starts_with(&[200; 5]) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_path_does_not_leave_the_page_s_folder() {
    let console = Console::start();
    assert_eq!(console.get("/index.html", &Who::default()).await.status, 200);
    // As bytes: a client would tidy them up.
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/lib/../../Cargo.toml",
        "//etc/passwd",
        "/..\\Cargo.toml",
        "/.git/config",
        "/index.html%00.js",
    ] {
        let answer = raw(&console, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains("[package]") && !answer.contains("root:"), "{path}");
    }
}

#[tokio::test]
async fn a_name_of_a_file_stays_a_name() {
    let console = Console::start();
    let who = console.sign_in(Role::Operator).await;
    for file in ["../x", "/etc/cron.d/x", "a/b", "..", ".bashrc", "a\u{0}b", "C:\\x", "x\n"] {
        let body = json!({"at": "latest", "folder": "/srv/restores", "file": file});
        let answer =
            console.ask(Method::POST, &format!("{VOLUME}/restores"), &who, Some(body)).await;
        assert_eq!(answer.status, 400, "{file:?}: {}", answer.text);
    }
    let body = json!({"at": "latest", "folder": "/etc", "file": "x"});
    let answer = console.ask(Method::POST, &format!("{VOLUME}/restores"), &who, Some(body)).await;
    assert_eq!(answer.status, 400);
    for path in ["/../../etc/passwd", "/Data/../readme.txt"] {
        let path = format!("{VOLUME}/files/content?at=latest&path={path}");
        assert_eq!(console.get(&path, &who).await.status, 404, "{path}");
    }
    let path = format!("{VOLUME}/files/content?at=latest&path=/Data/Z%C3%BCrich%20%22plan%22.pdf");
    let answer = console.client.get(console.url(&path));
    let answer = answer.header("cookie", format!("__Host-snapless={}", who.cookie));
    let answer = answer.send().await.unwrap();
    let disposition = answer.headers()["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"Z_rich _plan_.pdf\""), "{disposition}");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
}

#[tokio::test]
async fn a_host_of_another_name_is_refused() {
    let console = Console::start();
    for (host, status) in [("localhost", 200), ("box:8443", 200), ("evil.example", 421), ("", 400)]
    {
        let answer = raw(&console, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_or_no_json_is_refused() {
    let console = Console::start();
    let who = console.sign_in(Role::Operator).await;
    // Nothing of it is read: the length says it.
    let (cookie, csrf) = (&who.cookie, &who.csrf);
    let head = format!(
        "POST {VOLUME}/bookmarks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Cookie: __Host-snapless={cookie}\r\nX-CSRF-Token: {csrf}\r\nContent-Length: 70000\r\n\r\n"
    );
    let answer = raw(&console, &head);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too-large"), "{answer}");
    // Without a length that is said before.
    let head = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, "x".repeat(40_000));
    let answer = raw(&console, &format!("{head}{chunk}{chunk}0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // What a form of another page can send.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let body = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        assert!(raw(&console, &body).starts_with("HTTP/1.1 415"), "{kind}");
    }
    for text in ["", "[]", "{\"name\":1}", "{\"name\":\"a\",\"password\":\"b\",\"role\":\"x\"}"] {
        let body = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{text}",
            text.len()
        );
        assert!(raw(&console, &body).starts_with("HTTP/1.1 400"), "{text}");
    }
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = raw(&console, &head);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_request_that_its_head_refuses_is_answered_although_its_body_comes_later() {
    let console = Console::start();
    for (path, host, status) in [
        ("/api/v1/session", "localhost", "415"),
        ("/api/v1/session", "elsewhere.example", "421"),
        ("/api/v1/volumes/none/mounts", "localhost", "401"),
        ("/api/v1/overview", "localhost", "405"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n");
        let mut stream = tls(&console);
        // A connection that had been closed at the head would not take the second request.
        for _ in 0..2 {
            stream.write_all(head.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(b"{}").unwrap();
            let mut answer = [0; 4096];
            let len = stream.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..len]);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_sends_slowly_is_closed_and_one_address_has_only_so_many() {
    let console = Console::start();
    let address = console.running.address();
    let begun = Instant::now();
    // No handshake at all, and a head that never ends.
    let mut silent = TcpStream::connect(address).unwrap();
    let mut slow = tls(&console);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    silent.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    slow.sock.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let many: Vec<_> = (0..80).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut closed = 0;
    for mut stream in many {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        closed += usize::from(matches!(stream.read(&mut [0; 1]), Ok(0)));
    }
    assert!(closed >= 16, "{closed}");
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest));
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(50), "both were closed by the console");
}

#[tokio::test]
async fn html_in_names_is_data() {
    let console = Console::start();
    let who = console.sign_in(Role::Operator).await;
    let answer = console.get("/api/v1/overview", &who).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let overview = answer.json();
    assert_eq!(overview["volumes"][7]["name"], "<b>D:</b>");
    assert_eq!(overview["machines"][3]["name"], "<script>alert('machine')</script>");
    // No script of a name could run, whatever the page does with it.
    let page = console.get("/", &Who::default()).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && policy.contains("default-src 'none'"));
    assert!(!policy.contains("unsafe") && !page.text.contains("<script>"));
    assert!(!page.text.contains("style=") && !page.text.contains("onclick="));
    let metrics = console.get("/metrics", &who).await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert!(metrics.text.contains("name=\"\\\"><script>alert(1)</script>\""), "escaped quotes");
}

#[tokio::test]
async fn a_role_does_only_what_it_may() {
    let console = Console::start();
    let viewer = console.sign_in(Role::Viewer).await;
    let operator = console.sign_in(Role::Operator).await;
    let machine = format!("/api/v1/machines/{}/revocation", "0".repeat(32));
    let at = json!({"at": "latest"});
    let restore = json!({"at": "latest", "folder": "/srv/restores", "file": "x"});
    let of_operators = [
        (Method::POST, format!("{VOLUME}/bookmarks"), Some(json!({"name": "a", "at": "latest"}))),
        (Method::DELETE, format!("{VOLUME}/bookmarks/a"), None),
        (Method::POST, format!("{VOLUME}/mounts"), Some(at)),
        (Method::POST, format!("{VOLUME}/restores"), Some(restore)),
        (Method::POST, format!("{VOLUME}/verifications"), None),
        (Method::GET, format!("{VOLUME}/files?at=latest"), None),
        (Method::GET, format!("{VOLUME}/files/content?at=latest&path=/readme.txt"), None),
        (Method::DELETE, "/api/v1/jobs/0000000000000000".to_owned(), None),
    ];
    let of_administrators = [
        (Method::PUT, format!("{VOLUME}/retention"), Some(json!({"daily": 3}))),
        (Method::POST, "/api/v1/enrolments".to_owned(), Some(json!({}))),
        (Method::PUT, machine, None),
        (Method::GET, "/api/v1/tokens".to_owned(), None),
        (
            Method::POST,
            "/api/v1/tokens".to_owned(),
            Some(json!({"name": "a", "role": "administrator"})),
        ),
        (Method::DELETE, "/api/v1/tokens/0000000000000000".to_owned(), None),
        (Method::GET, "/api/v1/audit".to_owned(), None),
    ];
    for (method, path, body) in of_operators.iter().chain(&of_administrators) {
        let answer = console.ask(method.clone(), path, &viewer, body.clone()).await;
        assert_eq!((answer.status, &*answer.code()), (403, "forbidden"), "{method} {path}");
    }
    for (method, path, body) in &of_administrators {
        let answer = console.ask(method.clone(), path, &operator, body.clone()).await;
        assert_eq!((answer.status, &*answer.code()), (403, "forbidden"), "{method} {path}");
    }
    // Where a mount listens is for those who may mount.
    let mounts = format!("{VOLUME}/mounts");
    let answer = console.ask(Method::POST, &mounts, &operator, Some(json!({"at": "latest"}))).await;
    let job = format!("/api/v1/jobs/{}", answer.json()["job"].as_str().unwrap());
    let told = async |who: &Who| console.get(&job, who).await.json()["mount"].clone();
    while told(&operator).await.is_null() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(told(&viewer).await.is_null());
    assert_eq!(console.ask(Method::DELETE, &job, &operator, None).await.status, 202);
}

#[tokio::test]
async fn a_user_who_is_removed_or_changed_is_signed_out() {
    let console = Console::start();
    let users = Users::new(console.folder.path());
    let viewer = console.sign_in(Role::Viewer).await;
    let operator = console.sign_in(Role::Operator).await;
    users.remove("viewer").unwrap();
    assert_eq!(console.get("/api/v1/overview", &viewer).await.status, 401);
    users.set(&UserName::parse("operator").unwrap(), Role::Viewer, "another password").unwrap();
    assert_eq!(console.get("/api/v1/overview", &operator).await.status, 401);
    let administrator = console.sign_in(Role::Administrator).await;
    assert_eq!(
        console.ask(Method::DELETE, "/api/v1/session", &administrator, None).await.status,
        204
    );
    assert_eq!(console.get("/api/v1/overview", &administrator).await.status, 401);
}

#[tokio::test]
async fn a_token_does_what_its_role_may_until_it_is_ended() {
    let console = Console::start();
    let administrator = console.sign_in(Role::Administrator).await;
    let body = json!({"name": "prometheus", "role": "viewer", "valid_days": 1});
    let made = console.ask(Method::POST, "/api/v1/tokens", &administrator, Some(body)).await;
    assert_eq!(made.status, 201);
    let token = Who { token: made.json()["secret"].as_str().map(str::to_owned), ..Who::default() };
    assert_eq!(console.get("/metrics", &token).await.status, 200);
    let path = format!("{VOLUME}/verifications");
    assert_eq!(console.ask(Method::POST, &path, &token, None).await.status, 403);
    let listed = console.get("/api/v1/tokens", &administrator).await;
    let secret = token.token.clone().unwrap();
    assert!(!listed.text.contains(&secret));
    for file in std::fs::read_dir(console.folder.path()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(&secret) && !text.contains(PASSWORD));
    }
    let id = made.json()["token"]["token"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(console.ask(Method::DELETE, &path, &administrator, None).await.status, 204);
    assert_eq!(console.get("/metrics", &token).await.status, 401);
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_in_the_audit_log() {
    let console = Console::start();
    let who = console.sign_in(Role::Administrator).await;
    let wrong = "a password that is wrong";
    console.try_to_sign_in("viewer", wrong, &Who::default()).await;
    let token = json!({"name": "ci", "role": "viewer"});
    let token = console.ask(Method::POST, "/api/v1/tokens", &who, Some(token)).await.json();
    let enrolment = console.ask(Method::POST, "/api/v1/enrolments", &who, Some(json!({}))).await;
    let secrets = [
        PASSWORD.to_owned(),
        wrong.to_owned(),
        who.cookie,
        who.csrf,
        token["secret"].as_str().unwrap().to_owned(),
        enrolment.json()["token"].as_str().unwrap().to_owned(),
    ];
    let audit = format!("{:?}", console.estate.audit_log());
    assert!(audit.contains("token-make") && audit.contains("sign-in"));
    let logged = LOGGED.lock().unwrap().clone();
    assert!(logged.contains("was refused"));
    for secret in secrets {
        assert!(!logged.contains(&secret) && !audit.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_session() {
    let console = Console::start();
    let who = console.sign_in(Role::Viewer).await;
    let path = "/api/v1/events?volume=5e1f0000-0000-4000-8000-000000000000&parts=16";
    let request = console.client.get(console.url(path));
    let request = request.header("cookie", format!("__Host-snapless={}", who.cookie));
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut signed_out = false;
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        let has_all = ["hello", "live", "map", "overview"]
            .iter()
            .all(|name| text.contains(&format!("event: {name}\n")));
        if has_all && !signed_out {
            signed_out = true;
            console.ask(Method::DELETE, "/api/v1/session", &who, None).await;
        }
    }
    assert!(signed_out && text.contains("event: end\ndata: {}\n\n"), "{text}");
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A connection on which anything can be sent.
fn tls(console: &Console) -> Tls {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(console.running.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    rustls::StreamOwned::new(connection, stream)
}

/// Sends bytes as they are; returns what came until the connection is quiet or closed.
fn raw(console: &Console, request: &str) -> String {
    let mut stream = tls(console);
    // The console may answer and close before it has read all.
    drop(stream.write_all(request.as_bytes()));
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer).unwrap_or_default();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

/// The certificate is not what these tests are about.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
