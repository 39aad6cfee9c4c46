use super::*;

fn visit(lang: Lang) -> Visit {
    Visit {
        lang,
        chosen: None,
        step: None,
        token: "tok".to_owned(),
        number: None,
        headers: Default::default(),
    }
}

fn entry(lang: Lang, is_entering: bool, error: Option<&str>, notice: Option<&'static str>) -> String {
    let t = lang.text();
    let page = Entry {
        frame: Frame::new(lang, "", "/m/tok"),
        title: crate::text::fill(t.entry_title, &[("organisation", "Fern & <b>Partners</b>")]),
        token: "tok",
        notice,
        error: error.map(str::to_owned),
        is_entering,
        where_to: crate::text::fill(t.ask_where, &[("minutes", "10")]),
    };
    page.render().unwrap()
}

fn message(lang: Lang, frame_size: Option<FrameSize>) -> String {
    let page = Message {
        frame: Frame::new(lang, "", "/m/tok/message"),
        token: "tok",
        subject: Some("Your results <script>alert(1)</script>".to_owned()),
        from: "Dr. Ada Fern <care@clinic.test>".to_owned(),
        date: Some("November 24, 2026, 2:35 PM UTC".to_owned()),
        closes: crate::text::fill(lang.text().message_closes, &[("minutes", "15 minutes")]),
        text: Some("Hello Robin,\n\nall values are within range.\n</pre><script>alert(1)</script>".to_owned()),
        frame_size,
        files: vec![File {
            number: 1,
            name: "results \"<i>.pdf".to_owned(),
            size: "182 KB".to_owned(),
        }],
        until: crate::text::fill(lang.text().message_until, &[("date", "December 24, 2026")]),
        doubt: crate::text::fill(lang.text().message_doubt, &[("address", "care@clinic.test")]),
    };
    page.render().unwrap()
}

#[test]
fn pages_escape_what_they_are_filled_with() {
    let html = entry(Lang::En, false, None, None);
    assert!(html.contains("Fern &#38; &#60;b&#62;Partners"), "{html}");
    let html = message(Lang::En, None);
    assert!(!html.contains("<script") && !html.contains("<i>"), "{html}");
    let body = MessageBody {
        lang: Lang::En,
        title: "t",
        safe_html: None,
        text: "</pre><script>alert(1)</script>",
    };
    assert!(!body.render().unwrap().contains("<script"));
}

#[test]
fn pages_have_no_script_and_name_their_language() {
    for lang in [Lang::En, Lang::Es] {
        let other = lang.other().code();
        let t = lang.text();
        let home = Home {
            frame: Frame::new(lang, "", "/"),
        }
        .render()
        .unwrap();
        let pages = [
            home,
            entry(lang, false, None, Some(t.over_notice)),
            entry(lang, true, Some(t.error_wrong), None),
            message(lang, Some(FrameSize::Short)),
        ];
        for html in pages {
            assert!(html.starts_with("<!doctype html>"), "{html}");
            assert!(html.contains(&format!("<html lang=\"{}\">", lang.code())), "{html}");
            assert!(html.contains(&format!("?lang={other}\" lang=\"{other}\"")), "{html}");
            for word in ["<script", "javascript:", " style=", "http://", "https://", " onclick"] {
                assert!(!html.contains(word), "{word} in {html}");
            }
        }
    }
}

#[test]
fn the_code_field_is_tied_to_its_label_and_its_error() {
    let html = entry(Lang::En, true, Some("Wrong."), None);
    for piece in [
        "<label for=\"code\">",
        "inputmode=\"numeric\"",
        "autocomplete=\"one-time-code\"",
        "aria-describedby=\"code-hint code-error\"",
        "aria-invalid=\"true\"",
        "<a href=\"#code\">Wrong.</a>",
        "<title>Error: ",
    ] {
        assert!(html.contains(piece), "{piece} in {html}");
    }
    assert!(!entry(Lang::En, true, None, None).contains("aria-invalid"));
}

#[test]
fn unknown_links_answer_with_the_same_octets() {
    let read = |visit: &Visit| {
        let response = failure(visit, "http://127.0.0.1:1", &Error::not_found());
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers().get(header::SET_COOKIE).is_none());
        let page = response.into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(axum::body::to_bytes(page, usize::MAX)).unwrap()
    };
    let empty = Visit {
        token: String::new(),
        ..visit(Lang::Es)
    };
    assert_eq!(read(&visit(Lang::Es)), read(&empty));
}

#[test]
fn failures_say_what_can_be_done() {
    let cases = [
        (Kind::Unavailable, 503, true),
        (Kind::Throttled, 429, true),
        (Kind::Internal, 500, true),
        (Kind::Conflict, 409, false),
        (Kind::Forbidden, 403, false),
    ];
    for (kind, status, is_retryable) in cases {
        let response = failure(&visit(Lang::En), "https://m.test", &Error::new(kind, "secret detail"));
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(
            response.headers().contains_key(header::RETRY_AFTER),
            is_retryable,
            "{status}"
        );
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    }
}

#[test]
fn a_chosen_language_is_kept() {
    let chosen = Visit {
        chosen: Some(Lang::Es),
        ..visit(Lang::Es)
    };
    let response = answer(
        &chosen,
        "https://m.test",
        StatusCode::OK,
        &Home {
            frame: Frame::new(Lang::Es, "", "/"),
        },
    );
    let kept = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(kept.starts_with("lang=es; ") && kept.ends_with("; Secure"), "{kept}");
}

#[test]
fn the_frame_is_as_high_as_the_text_asks() {
    let cases = [("Short.", false, FrameSize::Short), ("Short.", true, FrameSize::Medium)];
    for (text, has_pictures, expected) in cases {
        assert_eq!(FrameSize::of(text, has_pictures), expected);
    }
    assert_eq!(FrameSize::of(&"line\n".repeat(12), false), FrameSize::Medium);
    assert_eq!(FrameSize::of(&"word ".repeat(400), false), FrameSize::Tall);
}

#[test]
fn an_address_with_a_path_leads_every_link_below_it() {
    let cases = [
        ("https://m.test", ""),
        ("https://m.test/", ""),
        ("https://m.test/live", "/live"),
        ("http://[::1]:8/a/b", "/a/b"),
    ];
    for (portal_url, expected) in cases {
        assert_eq!(base(portal_url), expected);
    }
    let html = Home {
        frame: Frame::new(Lang::En, "/live", "/"),
    }
    .render()
    .unwrap();
    assert!(
        html.contains("href=\"/live/assets/portal.css\"") && html.contains("href=\"/live/?lang=es\""),
        "{html}"
    );
}
