use std::io::Cursor;

use serde_json::Value;

use super::*;
use crate::import::columns::KnownFields;
use crate::import::item::DOCUMENT_BYTES_MAX;

fn reading(is_table: bool, map: &[&str]) -> Reading {
    let mapping = Mapping(map.iter().map(|entry| entry.parse().unwrap()).collect());
    Reading { is_table, mapping, fields: KnownFields::example() }
}

fn read_as(reading: &Reading, text: impl Into<Vec<u8>>) -> Vec<Item> {
    let (sender, mut items) = tokio::sync::mpsc::channel(1_000);
    read_documents(Cursor::new(text.into()), reading, &sender);
    drop(sender);
    std::iter::from_fn(|| items.blocking_recv()).collect()
}

fn read(text: &str) -> Vec<Item> {
    read_as(&reading(false, &[]), text)
}

fn told(items: Vec<Item>) -> Vec<String> {
    let told = |item| match item {
        Item::Document { line, document } => format!("{line} {}", Value::Object(document)),
        Item::Broken { line, column: None, why } => format!("{line}: {why}"),
        Item::Broken { line, column: Some(column), why } => format!("{line}, {column}: {why}"),
        Item::Foreign(why) => format!("foreign: {why}"),
        Item::Note(words) => format!("note: {words}"),
    };
    items.into_iter().map(told).collect()
}

#[test]
fn lines_are_read_with_blank_ones_windows_ends_and_a_byte_order_mark() {
    assert_eq!(
        told(read("\u{feff}{\"_id\":1}\r\n\r\n{\"_id\":2}")),
        ["1 {\"_id\":1}", "3 {\"_id\":2}"]
    );
    assert_eq!(told(read("\n\n{}")), ["3 {}"]);
    assert!(told(read("")).is_empty());
}

#[test]
fn documents_are_read_however_they_are_laid_out() {
    let expected = ["{\"_id\":1,\"a\":[{\"b\":\"}{\"}]}", "{\"_id\":2}"];
    for (text, lines) in [
        ("{\"_id\": 1, \"a\": [{\"b\": \"}{\"}]} {\"_id\": 2}", [1, 1]),
        ("{\n  \"_id\": 1,\n  \"a\": [\n{\n\"b\": \"}{\"\n}\n]\n}\n{\n\"_id\": 2\n}\n", [1, 9]),
        ("[{\"_id\": 1, \"a\": [{\"b\": \"}{\"}]}, {\"_id\": 2}]", [1, 1]),
        ("  [\n {\"_id\": 1, \"a\":\n[{\"b\": \"}{\"}]},\n {\"_id\": 2}\n]\n", [2, 4]),
        ("{\"_id\": 1, \"a\": [{\"b\": \"}{\"}]},\n{\"_id\": 2},\n", [1, 2]),
        ("/* 1 */\n{ _id: 1, a: [{ b: '}{' }] }\n/* 2 */\n{ _id: 2 }", [2, 4]),
    ] {
        let expected: Vec<_> =
            lines.iter().zip(expected).map(|(line, it)| format!("{line} {it}")).collect();
        assert_eq!(told(read(text)), expected, "{text}");
    }
    assert!(told(read("[]")).is_empty());
}

#[test]
fn what_is_broken_is_named_and_the_rest_is_read() {
    assert_eq!(
        told(read("{}\n{\"a\": oops\n[1]\n{\"a\n{}\n}\n{\"b\":1}}\n{}")),
        [
            "1 {}",
            "2, 7: not valid JSON",
            "3: not a JSON object",
            "4, 3: the JSON ends too early",
            "5 {}",
            "6, 1: not valid JSON",
            "7 {\"b\":1}",
            "7, 8: not valid JSON",
            "8 {}",
        ]
    );
}

#[test]
fn a_document_of_many_lines_that_is_broken_is_named_by_the_line() {
    let text = "{\n  \"a\": 1\n}\n{\n  \"a\": oops\n}\n{\n  \"a\": 2,\n{\n  \"a\": 3\n}\n";
    assert_eq!(told(read(text)), ["1 {\"a\":1}", "5, 8: not valid JSON", "9, 1: not valid JSON"]);
    let text = "{\n  \"a\": 1\n{\n  \"a\": 2\n}\n";
    assert_eq!(told(read(text)), ["2, 8: the JSON ends too early", "3 {\"a\":2}"]);
}

#[test]
fn an_array_goes_on_after_what_is_broken_and_must_end() {
    assert_eq!(
        told(read("[{},\n{\"a\": oops}, {}, 5, \"a,b\"]")),
        ["1 {}", "2, 7: not valid JSON", "2 {}", "2: not a JSON object", "2: not a JSON object"]
    );
    assert_eq!(told(read("[{},\n")), ["1 {}", "2: the file ends within its array: is it whole?"]);
    assert_eq!(told(read("[{}\n,{\"a\":")).len(), 3);
}

#[test]
fn fields_are_moved_by_the_mapping() {
    let read = read_as(&reading(false, &["id=_id", "rt=a.b"]), "{\"id\": 1, \"rt\": \"r\"}");
    assert_eq!(told(read), ["1 {\"_id\":1,\"a\":{\"b\":\"r\"}}"]);
}

#[test]
fn a_table_is_read_with_quotes_and_its_columns_are_mapped() {
    let text = "id,User Id,refresh_token,note\nu1,\"a,b\",\"R\"\"1\",\nu2,c,R2,\"two\nlines\"\n\
                ObjectId(65f0c0ffee65f0c0ffee65f0),d,R3,x,y\nu4,d,R4,x\n";
    assert_eq!(
        told(read_as(&reading(true, &[]), text)),
        [
            "note: columns taken: id as _id, User Id as userId",
            "2 {\"_id\":\"u1\",\"userId\":\"a,b\",\"refresh_token\":\"R\\\"1\"}",
            "3 {\"_id\":\"u2\",\"userId\":\"c\",\"refresh_token\":\"R2\",\"note\":\"two\\nlines\"}",
            "5: 5 columns, and the line of names has 4",
            "6 {\"_id\":\"u4\",\"userId\":\"d\",\"refresh_token\":\"R4\",\"note\":\"x\"}",
        ]
    );
}

#[test]
fn a_table_in_utf_16_with_tabs_is_read() {
    let text = "\u{feff}_id\trefresh_token\r\nü\tR1\r\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        told(read_as(&reading(true, &[]), bytes)),
        ["2 {\"_id\":\"ü\",\"refresh_token\":\"R1\"}"]
    );
}

#[test]
fn a_table_that_nobody_spoke_of_is_one_sentence() {
    let rows = "u1,u1,R.1\n".repeat(2_000);
    let items = told(read(&format!("id,user_id,refresh_token\n{rows}")));
    assert_eq!(items.len(), 1);
    assert!(items[0].contains("CSV") && items[0].contains("id as _id"), "{items:?}");
}

#[test]
fn a_quote_that_is_never_closed_does_not_take_all_the_memory() {
    let text = format!("_id,refresh_token\nu1,\"R1\n{}", "x".repeat(2 * DOCUMENT_BYTES_MAX));
    let items = told(read_as(&reading(true, &[]), text));
    assert!(items.len() == 1 && items[0].contains("quote"), "{items:?}");
}

#[test]
fn a_document_that_is_too_long_ends_the_reading() {
    let text = format!("{{}}\n{{\"a\": \"{}", "x".repeat(2 * DOCUMENT_BYTES_MAX));
    let items = told(read(&text));
    assert!(items.len() == 2 && items[1].starts_with("2: longer than"), "{items:?}");
}

#[test]
fn nothing_that_is_read_is_quoted() {
    for text in [
        "{\"t\":\"s3cret\" oops",
        "\"s3cret\"",
        "[{\"t\":\"s3cret\"}, s3cret]",
        "[\"s3cret\"]",
        "s3cret,s3cret\ns3cret,s3cret",
        "{ t: s3cret }",
        "s3cret",
    ] {
        for is_table in [false, true] {
            let items = read_as(&reading(is_table, &[]), text);
            let is_document = |item: &Item| matches!(item, Item::Document { .. });
            let items: Vec<Item> = items.into_iter().filter(|item| !is_document(item)).collect();
            assert!(!items.is_empty() && !format!("{items:?}").contains("s3cret"), "{items:?}");
        }
    }
}
