use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

use super::*;

/// This many pseudo-random bytes, always the same.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn base64(bytes: usize) -> String {
    STANDARD.encode(noise(bytes))
}

fn hex(bytes: usize) -> String {
    noise(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text of `bytes` in all that begins with these bytes and continues pseudo-randomly.
fn begins(beginning: &[u8], bytes: usize) -> Vec<u8> {
    [beginning, &noise(bytes - beginning.len())].concat()
}

fn jwe(header: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(header);
    format!(
        "{header}..AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.9hH0vgRfYgPnAHOd8stkvw"
    )
}

fn jwt(header: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(header);
    format!("{header}.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U")
}

fn fernet(bytes: usize) -> String {
    let beginning = [&[0x80][..], &1_760_000_000_u64.to_be_bytes()].concat();
    URL_SAFE.encode(begins(&beginning, bytes))
}

#[test]
fn encrypted_tokens_are_recognized() {
    let laravel = STANDARD.encode(format!(
        "{{\"iv\":\"{}\",\"value\":\"{}\",\"mac\":\"{}\",\"tag\":\"\"}}",
        base64(16),
        base64(64),
        hex(32)
    ));
    let rails = format!("{{\"p\":\"{}\",\"h\":{{\"iv\":\"{}\"}}}}", base64(50), base64(12));
    assert!(laravel.starts_with("eyJpdiI6"));
    for token in [
        "sealed:v1:YWFhMQ:Y2Nj".to_owned(),
        format!("enc:v1:{}", base64(60)),
        format!("enc:{}", base64(60)),
        format!("simenc:v1:{}:{}:{}", hex(16), hex(50), hex(16)),
        format!("myapp:v2:{}:{}", base64(12), base64(60)),
        format!("v1:{}:{}:{}", base64(12), base64(60), base64(16)),
        format!("vault:v3:{}", base64(80)),
        format!("ENC[AES256_GCM,data:{},type:str]", base64(60)),
        format!("ENC({})", base64(60)),
        format!("{{cipher}}{}", hex(60)),
        format!("__encrypted__:{}", base64(60)),
        format!("encrypted.v1.{}", base64(60)),
        format!("aes-256-gcm:{}:{}", base64(12), base64(60)),
        format!("$ba$1${}", hex(120)),
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b1dWRWJTmaQm5XH".to_owned(),
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".to_owned(),
        format!("sha256:{}", hex(32)),
        fernet(73),
        fernet(201),
        STANDARD.encode(begins(&[1, 2, 2, 0, 0x78], 180)),
        STANDARD.encode(begins(&[1, 0x80, 3, 0x78], 300)),
        STANDARD.encode(begins(b"Salted__", 96)),
        laravel,
        rails,
        format!("{{\"iv\":\"{}\",\"ciphertext\":\"{}\"}}", base64(12), base64(40)),
        format!("{}--{}--{}", base64(61), base64(12), base64(16)),
        format!("{}:{}", hex(16), hex(48)),
        format!("{}:{}:{}", hex(12), hex(16), hex(51)),
        format!("{}:{}:{}", base64(16), base64(51), base64(16)),
        format!("{}.{}.{}", base64(12), base64(16), base64(51)),
        jwe("{\"alg\":\"dir\",\"enc\":\"A256GCM\"}"),
        jwe("{\"alg\":\"A256KW\",\"enc\":\"A128CBC-HS256\"}"),
        "-----BEGIN PGP MESSAGE-----\n\nwV4D…".to_owned(),
    ] {
        assert!(SealedForm::of(&token, None).is_some(), "{token}");
        assert!(SealedForm::of(&format!(" {token}\n"), None).is_some(), "{token}");
    }
}

#[test]
fn issued_tokens_are_not_taken_for_encrypted() {
    let length_and_noise = STANDARD.encode(begins(&[0x80, 0, 0, 0], 200));
    assert!(length_and_noise.starts_with("gAAAA"));
    for token in [
        "R.u1.1".to_owned(),
        format!("1//0{}-{}", "gqL9x3VbZ", "cFsDRnCgYIARAAGAwSNwF-L9IrcV7h7pQ"),
        "xoxe-1-My0xLTM5ODc2NTQzMjEwLTEyMzQ1Njc4OTAxMjMtYWJjZGVmZ2hpams".to_owned(),
        "EAAAEOuLQObrVwJvCvoio3H13b8Ssqz1ighmTBKZvIENW9qxirHGHkqsGcPBC1uN".to_owned(),
        "EQAAEEXdYpzbfkkmh8F1Eu1NqyJqEFHbY8cF2wKZRzzv6jHLzPXqTuHQ4nSNWr".to_owned(),
        "1000.8ecdXXXXXXXXXXXXXXXXXXXX5cb7.4638XXXXXXXXXXXXXXXXXXXXebdc".to_owned(),
        format!("1000.{}.{}", hex(16), hex(16)),
        "ghr_1B4a2e77838347a7E420ce178F2E7c6912E169246c34E1ccbF66C46812d16D5B1A9Dc86A1498"
            .to_owned(),
        "AB11710000000abcDEFghiJKLmnoPQRstuVWXyzabcDEFghiJKL".to_owned(),
        "v^1.1#i^1#p^3#r^1#f^0#I^3#t^Ul4xMF8xMDo1QTk2RDAyRkE0MzE".to_owned(),
        "v1.MaZ8yGqVlT_pWbnCkUo3kP5iQr0VdXyTzRsEwHgJfKc".to_owned(),
        "dal:A420qcNvdVS4cRMJP269GfgT1LA".to_owned(),
        "us-south1:sdf8s7df8s7df87sd8f7".to_owned(),
        "refresh_token$production$abcdefghijklmnop$0123456789abcdef0123456789abcdef".to_owned(),
        "Atzr|IQEBLzAtAhRPpMJxdwVz2Nn6f2y-tpJX2DeX".to_owned(),
        "M.C546_BAY.0.U.-Cq2sPv*ZbKkWc!bXo7VrTLEfRyKw$$".to_owned(),
        "0.AXEAqjgtoA_0b0SOW8bK9Rv3UQ.AgABAwEAAADW6jl31mB3T7ugrWTT8pFe.AwDs_wUA9P".to_owned(),
        "5Aep861TSESvWeug_xvFHRBTTbf_YrTWgEyjBJrCXuHxVPxmlGhFmwpJxnwBQ".to_owned(),
        "encRyPt3dLookingButRandom0123456789abcdefg".to_owned(),
        "3e5a7a0c-52a5-4a5c-9d3a-1b7f0e7f2a11".to_owned(),
        "R23AAO0R8pKzJzk-_encLZWVnM2YvXq".to_owned(),
        length_and_noise,
        hex(20),
        hex(32),
        hex(64),
        hex(200),
        base64(24),
        base64(64),
        base64(200),
        jwt("{\"alg\":\"HS512\",\"typ\":\"JWT\",\"kid\":\"aae04e5c\"}"),
        jwe("{\"cty\":\"JWT\",\"enc\":\"A256GCM\",\"alg\":\"RSA-OAEP\"}"),
        jwe("{\"kid\":\"cpimcore_09252015\",\"ver\":\"1.0\",\"zip\":\"Deflate\",\"ser\":\"1.0\"}"),
        jwe("{\"alg\":\"dir\",\"enc\":\"A256GCM\",\"iss\":\"https://tenant.example.com/\"}"),
        STANDARD.encode("{\"user\":1,\"nonce\":\"x\",\"scope\":\"a\"}"),
        String::new(),
    ] {
        assert_eq!(SealedForm::of(&token, None), None, "{token}");
        assert_eq!(SealedForm::of(&token, Some("ya29.a0AfH6SMBx")), None, "{token}");
    }
}

#[test]
fn an_ambiguous_form_counts_only_in_both_tokens() {
    let own = "{\"alg\":\"dir\",\"enc\":\"A256GCM\"}";
    let other = "{\"alg\":\"dir\",\"enc\":\"A128CBC-HS256\"}";
    let named = |name: &str| format!("{name}:{}:{}", base64(12), base64(60));
    for (refresh, access, form) in [
        (hex(140), hex(300), Some(SealedForm::Digits)),
        (hex(140), hex(20), None),
        (hex(140), "ya29.x".to_owned(), None),
        (jwe(own), jwe(own), Some(SealedForm::EncryptedJwt)),
        (jwe(own), jwe(other), None),
        (jwe(own), jwt("{\"alg\":\"RS256\"}"), None),
        (named("acme"), named("acme"), Some(SealedForm::Envelope)),
        (named("acme"), named("other"), None),
        ("dal:A420qcNvdVS4".to_owned(), "dal:Bnsjahdjahs".to_owned(), None),
    ] {
        assert_eq!(SealedForm::of(&refresh, Some(&access)), form, "{refresh} {access}");
    }
}

#[test]
fn random_tokens_are_never_sealed() {
    for length in 8..120 {
        for start in 0..40 {
            let bytes = noise(length + start).split_off(start);
            for token in [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
                assert_eq!(SealedForm::of(&token, Some(&token)), None, "{token}");
            }
        }
    }
}
