//! Trust: tokens that people paste, what enrolment says, a machine's certificate.

use snapless_trust::enrolment::{Answer, Request, decode, encode};
use snapless_trust::identity::{Certified, NAME_MAX};
use snapless_trust::rustls::pki_types::CertificateDer;
use snapless_trust::token::Token;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "trust",
    repairs: &[],
    run,
    reached: &["token", "request", "answer", "certificate", "none of them"],
};

fn run(input: &[u8]) -> &'static str {
    if let Ok(certified) = Certified::read(&CertificateDer::from(input)) {
        let name = &certified.identity.name;
        assert!(!name.is_empty() && name.len() <= NAME_MAX);
        assert!(!name.chars().any(char::is_control), "a name cannot break a line");
        let validity = certified.validity;
        assert!(validity.renew_at() >= validity.from);
        return "certificate";
    }
    if let Ok(request) = decode::<Request>(input) {
        // It may be longer when it is written again: escapes, and what was left out.
        drop(encode(&request));
        return "request";
    }
    if let Ok(answer) = decode::<Answer>(input) {
        drop(encode(&answer));
        return "answer";
    }
    match str::from_utf8(input).map(str::parse::<Token>) {
        Ok(Ok(token)) => {
            let text = token.text();
            assert!(str::from_utf8(input).is_ok_and(|it| it.trim().eq_ignore_ascii_case(&text)));
            assert!(text.parse::<Token>().is_ok_and(|again| again.text() == text));
            "token"
        }
        _ => "none of them",
    }
}
