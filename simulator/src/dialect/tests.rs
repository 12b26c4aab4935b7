use super::*;
use crate::oauth::Client;
use crate::provider::RawRequest;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");
/// `c:s`
const BASIC: (&str, &str) = ("authorization", "Basic Yzpz");
const NOW_US: u64 = 1_800_000_000_000_000;

/// A file with these lines at its begin, and the answers that each must have.
fn dialect(lines: &str) -> ProviderDialect {
    let answers = r#"
        [[vector]]
        status = 200
        now = "2026-11-18T11:06:40Z"
        body = '{"data":{"token":"A2","next":"R2","at":1795003600,"text":"2026-11-18T12:06:40Z","n":7}}'
        means = "refreshed"
        access_token = "A2"
        refresh_token = "R2"
        [[vector]]
        status = 400
        body = 'gone'
        means = "dead"
        [[vector]]
        status = 429
        headers = { Retry-After = "9", X-Reset = "1795000030" }
        now = "2026-11-18T11:06:40Z"
        body = '{}'
        means = "throttled"
        [[vector]]
        status = 401
        body = '{"error":"who"}'
        means = "refused"
        "#;
    ProviderDialect::parse(&format!("{lines}\n{answers}")).unwrap()
}

fn read(dialect: &ProviderDialect, raw: RawRequest<'_>) -> Result<String, DialectRefusal> {
    let client = Client { id: "c".into(), secret: "s".into() };
    let asking = AskingClient { client: &client, key: None, now_us: NOW_US };
    dialect.read(asking, raw, "").map(|request| request.refresh_token.into_owned())
}

#[test]
fn each_embedded_file_is_a_dialect() {
    for name in ProviderDialect::names() {
        ProviderDialect::from_name(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(ProviderDialect::names().count() >= 49);
    let unknown = ProviderDialect::from_name("nobody").unwrap_err().to_string();
    assert!(unknown.contains("slack"), "{unknown}");
}

#[test]
fn a_request_is_taken_as_the_provider_wants_it_and_not_otherwise() {
    let form: &[u8] = b"grant_type=refresh_token&refresh_token=R1";
    let in_body: &[u8] = b"refresh_token=R1&client_key=c&client_secret=s&type=x";
    let own = "client_auth = 'body'\nrequest = { omit = ['grant_type'], names = { client_id = 'client_key' }, \
               parameters = { type = 'x' }, headers = { x-version = '3' } }";
    let json = "request = { body = 'json' }";
    let version = ("x-version", "3");
    for (lines, headers, body, taken) in [
        ("", &[FORM, BASIC][..], form, true),
        ("", &[FORM], form, false),
        ("", &[FORM, ("authorization", "Basic Yzp4")], form, false),
        ("", &[JSON, BASIC], form, false),
        ("", &[FORM, BASIC], b"grant_type=refresh_token&refresh_token=R1&client_id=c", false),
        ("", &[FORM, BASIC], b"grant_type=refresh_token&refresh_token=R1&scope=a", true),
        ("", &[FORM, BASIC], b"grant_type=refresh_token&refresh_token=R1&refresh_token=R1", false),
        ("", &[FORM, BASIC], b"grant_type=refresh_token&refresh_token=", false),
        ("client_auth = 'basic_secret_only'", &[FORM, ("authorization", "Basic czo=")], form, true),
        ("client_auth = 'body'", &[FORM, BASIC], form, false),
        (own, &[FORM, version], in_body, true),
        (own, &[FORM], in_body, false),
        (own, &[FORM, version, BASIC], in_body, false),
        (own, &[FORM, version], b"refresh_token=R1&client_id=c&client_secret=s&type=x", false),
        (own, &[FORM, version], b"refresh_token=R1&client_key=c&client_secret=s", false),
        (json, &[JSON, BASIC], br#"{"grant_type":"refresh_token","refresh_token":"R1"}"#, true),
        (json, &[FORM, BASIC], br#"{"grant_type":"refresh_token","refresh_token":"R1"}"#, false),
        ("request = { user_agent = 'a/1' }", &[FORM, BASIC], form, false),
    ] {
        let read = read(&dialect(lines), RawRequest::post(headers, body));
        let text = String::from_utf8_lossy(body);
        assert_eq!(read.is_ok(), taken, "{lines} {headers:?} {text}: {read:?}");
        assert!(read.is_err() || read.as_deref() == Ok("R1"));
    }
}

#[test]
fn method_and_address_are_the_providers() {
    let get = dialect(
        "token_url = 'https://{host}/{tenant}/token'\nclient_auth = 'none'\nrequest = { method = 'GET' }",
    );
    let query = "grant_type=refresh_token&refresh_token=R1&client_id=c";
    let raw = RawRequest { method: "GET", path: "/t/token", query, headers: &[], body: b"" };
    assert_eq!(read(&get, raw).as_deref(), Ok("R1"));
    let post = RawRequest { method: "POST", ..raw };
    assert!(matches!(read(&get, post), Err(DialectRefusal::Wrong(_))));
    let elsewhere = RawRequest { path: "/t/x/token", ..raw };
    assert!(matches!(read(&get, elsewhere), Err(DialectRefusal::NotThere(_))));
}

#[test]
fn answers_are_the_providers_with_tokens_and_times_of_now() {
    let dialect = dialect("");
    let tokens = NewTokens { access_token: "a", refresh_token: "r", is_rotated: true };
    let body: serde_json::Value =
        serde_json::from_slice(&dialect.success(&tokens, NOW_US).body).unwrap();
    let data = serde_json::json!({"token": "a", "next": "r", "at": 1_800_003_600_u64,
        "text": "2027-01-15T09:00:00Z", "n": 7});
    assert_eq!(body["data"], data);
    let throttled = dialect.throttled(Some(4), NOW_US);
    assert_eq!(throttled.retry_after.as_deref(), Some("4"));
    assert_eq!(throttled.headers, [("X-Reset".to_owned(), "1800000030".to_owned())]);
    assert_eq!(dialect.dead(NOW_US).body, b"gone");
    assert_eq!(dialect.refused(NOW_US).status, 401);
}
