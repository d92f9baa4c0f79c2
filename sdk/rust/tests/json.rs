use wasmill::json::{find, Kind};

#[test]
fn a_pointer_finds_its_value() {
    let text =
        r#" { "a" : [ 1 , {"b":[[],{}]} , "x" ], "a~/b": true, "é\n\"": {"": null}, "num": -12.50e+1, "a": 2 } "#;
    for (pointer, want) in [
        ("/a", r#"[ 1 , {"b":[[],{}]} , "x" ]"#),
        ("/a/0", "1"),
        ("/a/1/b/0", "[]"),
        ("/a/1/b/1", "{}"),
        ("/a/2", "\"x\""),
        ("/a~0~1b", "true"),
        ("/é\n\"/", "null"),
        ("/num", "-12.50e+1"),
    ] {
        assert_eq!(find(text.as_bytes(), pointer).raw(), want.as_bytes(), "{}", pointer);
    }
    for pointer in ["a", "/b", "/a/3", "/a/-1", "/a/01", "/a/", "/a/x", "/a/0/0", "/a~2", "/a~", "/", "/num/0"] {
        assert!(!find(text.as_bytes(), pointer).exists(), "{}", pointer);
    }
    assert_eq!(find(text.as_bytes(), "").raw(), text.trim().as_bytes());
}

#[test]
fn what_is_no_json_has_no_value() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "tru",
        "nul",
        "01",
        "1.",
        "-",
        "1e",
        "+1",
        ".5",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "[}",
        "{]",
        "1 2",
        "[1]]",
        "'a'",
    ] {
        assert!(!find(text.as_bytes(), "").exists(), "{}", text);
    }
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(find(deep(1024).as_bytes(), "").exists());
    assert!(!find(deep(1025).as_bytes(), "").exists());
}

#[test]
fn values_are_what_they_are() {
    let v = |text: &'static str| find(text.as_bytes(), "");
    assert_eq!(v("5.3").as_f64(), Some(5.3));
    assert_eq!(v("-0.1").as_f64(), Some(-0.1));
    assert_eq!(v("123456789012345678").as_f64(), Some(123456789012345678.0));
    assert_eq!(v("1e400").as_f64(), None);
    assert_eq!(v("0.1e1").as_f64(), Some(1.0));
    assert_eq!(v("\"1\"").as_f64(), None);
    assert_eq!(v("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(v("9223372036854775808").as_i64(), None);
    assert_eq!(v("1.0").as_i64(), None);
    assert_eq!((v("true").as_bool(), v("false").as_bool(), v("1").as_bool()), (Some(true), Some(false), None));
    assert_eq!(v("null").kind(), Kind::Null);
    assert_eq!(find(b"{}", "/a").kind(), Kind::Absent);
    assert_eq!(
        v(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx""#).as_str().unwrap(),
        "a\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x"
    );
    assert_eq!(v(r#""plain é""#).as_plain_str(), Some("plain é"));
    assert_eq!(v(r#""\n""#).as_plain_str(), None);
    assert!(v(r#""\u0061b""#).eq_str("ab") && !v(r#""ab""#).eq_str("a") && !v("1").eq_str("1"));
    assert_eq!(v("[1]").bytes().collect::<Vec<_>>(), b"[1]");
    assert_eq!(format!("{:?} {:?}", v("[1]"), find(b"{}", "/a")), "[1] absent");
}

#[test]
fn text_is_quoted() {
    use wasmill::json::quoted;
    assert_eq!(quoted("a\"\\/\u{1}\n\r\té😀").to_string(), r#""a\"\\/\u0001\n\r\té😀""#);
    assert_eq!(quoted("").to_string(), "\"\"");
}

#[test]
fn arrays_and_objects_are_iterated() {
    let v = find(br#"{"a":[1, "]" ,[2]],"b":{"c":{}}}"#, "");
    let raw: Vec<_> = v.find("/a").elements().map(|e| format!("{:?}", e)).collect();
    assert_eq!(raw, ["1", "\"]\"", "[2]"]);
    let members: Vec<_> = v.members().map(|(k, m)| format!("{:?} {:?}", k, m)).collect();
    assert_eq!(members, [r#""a" [1, "]" ,[2]]"#, r#""b" {"c":{}}"#]);
    assert_eq!(v.elements().count() + v.find("/b/c").members().count() + find(b"[]", "").elements().count(), 0);
}

/// Whatever bytes there are, nothing panics, and what is found is JSON by itself.
#[test]
fn random_bytes_are_borne() {
    let alphabet = b"{}[]\",:\\u0019.-e truefalsn\n";
    let mut state = 1u64;
    for _ in 0..200_000 {
        let mut text = Vec::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        for pointer in ["", "/0", "/u", "/"] {
            let value = find(&text, pointer);
            if value.exists() {
                assert_eq!(find(value.raw(), "").raw(), value.raw());
                let _ = (value.as_f64(), value.as_str(), value.elements().count(), value.members().count());
            }
        }
    }
}
