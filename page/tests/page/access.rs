//! Who may do what: roles, other sites, guesses, proxies.

use harness::Http;

use crate::site::{Site, Visitor, class_of};

const PEOPLE: &str = "vic viewer token-of-vic-1\nlea labeler token-of-lea-1\nole operator token-of-ole-1\n";

/// Each change that the page takes, with fields that make sense.
fn changes(item: &str) -> [(&'static str, Vec<(&'static str, String)>); 11] {
    let fields = |fields: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    [
        ("/label", fields(&[("item", item), ("label", "好评")])),
        ("/label/copies", fields(&[("item", item), ("label", "好评")])),
        ("/label/import", fields(&[])),
        ("/guidelines", fields(&[("class", "好评"), ("guideline", "glad")])),
        ("/classes", fields(&[("class", "中评")])),
        ("/models/promote", fields(&[("version", "1")])),
        ("/models/rollback", fields(&[])),
        ("/models/shadow", fields(&[("version", "1"), ("share", "10")])),
        ("/models/shadow/stop", fields(&[])),
        ("/models/retrain", fields(&[])),
        ("/dead-letters/replay", fields(&[])),
    ]
}

fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_sees_and_may_do_what_it_should() {
    let site = Site::of_people(PEOPLE).await;
    site.add_classes().await;
    site.predict_some(30).await;
    let [mut viewer, mut labeler, mut operator] =
        ["token-of-vic-1", "token-of-lea-1", "token-of-ole-1"].map(|token| site.visitor().signed_in(token));
    for path in ["/stream", "/search", "/models", "/ask", "/dead-letters", "/review?id=r-1"] {
        for visitor in [&mut viewer, &mut labeler, &mut operator] {
            assert_eq!(visitor.get(path).status, 200, "{path}");
        }
    }
    assert_eq!([viewer.get("/label").status, labeler.get("/label").status], [403, 200]);
    assert_eq!([viewer.get("/").to, labeler.get("/").to], ["/stream", "/label"]);
    assert!(!viewer.get("/models").body.contains("/models/retrain"));
    assert!(operator.get("/models").body.contains("/models/retrain"));
    let (item, _) = labeler.asked("/label").unwrap();
    for (path, fields) in changes(&item) {
        assert_eq!(viewer.post(path, &borrowed(&fields)).status, 403, "a viewer at {path}");
        let may = path.starts_with("/label");
        let status = labeler.post(path, &borrowed(&fields)).status;
        assert_eq!(status != 403, may, "a labeler at {path}: {status}");
        assert_ne!(operator.post(path, &borrowed(&fields)).status, 403, "an operator at {path}");
    }
    // Every change of an operator's is on record, with the name.
    let page = operator.get("/models").body;
    assert!(page.contains("<bdi>ole</bdi> · <bdi>asked for a round</bdi>"), "{page}");
    assert!(page.contains("added the class 中评") && !page.contains("<bdi>lea</bdi> · "));
    let by = sqlx::query_scalar::<_, String>("select labeled_by from labels order by id").fetch_all(&site.storage.pool);
    assert_eq!(by.await.unwrap(), ["lea", "ole"]);
    let asked =
        sqlx::query_scalar::<_, String>("select requested_by from round_requests").fetch_all(&site.storage.pool);
    assert_eq!(asked.await.unwrap(), ["ole"]);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_only_the_way_to_sign_in() {
    let site = Site::of_people(PEOPLE).await;
    let mut stranger = site.visitor();
    for path in ["/", "/label", "/stream", "/search.csv", "/models", "/rounds/1", "/ask", "/label/tasks.json"] {
        let answer = stranger.get(path);
        assert!(answer.status == 303 && answer.to.starts_with("/sign-in?to="), "{path}: {}", answer.status);
    }
    for (path, fields) in changes("pick-1") {
        assert_eq!(stranger.post(path, &borrowed(&fields)).status, 403, "{path}");
    }
    for cookie in ["labelstream=", "labelstream=a.b.c.d", "labelstream=6c6f63616c"] {
        assert_eq!(stranger.get_with("/stream", &[("cookie", cookie)]).status, 303);
    }
    let signed_in = site.visitor().post("/sign-in", &[("token", "token-of-lea-1"), ("to", "//evil.example")]);
    assert_eq!((signed_in.status, signed_in.to.as_str()), (303, "/"));
    let cookie = signed_in.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("token-of"), "{cookie}");
    assert_eq!(
        site.visitor().get("/sign-in").header("content-security-policy").map(|policy| policy.contains("'unsafe")),
        Some(false)
    );
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_down_and_signing_out_forgets() {
    let site = Site::of_people(PEOPLE).await;
    let mut guesser = site.visitor();
    let statuses: Vec<u16> =
        (0..20).map(|number| guesser.post("/sign-in", &[("token", &format!("guess-{number}"))]).status).collect();
    assert_eq!(&statuses[..5], [401; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    site.close().await;

    let site = Site::of_people(PEOPLE).await;
    let mut labeler = site.visitor().signed_in("token-of-lea-1");
    assert_eq!(labeler.get("/stream").status, 200);
    labeler.post("/sign-out", &[]);
    assert_eq!(labeler.get("/stream").status, 303);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_changes_nothing() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(10).await;
    let mut visitor = site.visitor();
    let (item, _) = visitor.asked("/label").unwrap();
    let fields = [("item", item.as_str()), ("label", class_of(0))];
    for headers in [
        [("origin", "https://evil.example"), ("accept", "text/html")],
        [("sec-fetch-site", "cross-site"), ("accept", "text/html")],
        [("host", "evil.example"), ("accept", "text/html")],
    ] {
        assert_eq!(visitor.post_with("/label", &fields, &headers).status, 403, "{headers:?}");
    }
    assert_eq!(visitor.get_with("/label", &[("host", "evil.example:9102")]).status, 403);
    assert_eq!(site.storage.number("select count(*) from labels").await, Some(0));
    let ours = format!("http://{}", site.address);
    assert_eq!(visitor.post_with("/label", &fields, &[("origin", &ours)]).status, 303);
    assert_eq!(site.storage.number("select count(*) from labels").await, Some(1));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_says_who_asks_and_without_its_word_nobody_comes_in() {
    let site = Site::with(|config, storage| {
        let file = storage.path("people");
        std::fs::write(&file, "lea labeler\n").unwrap();
        (config.people, config.user_header) = (Some(file), Some("X-Forwarded-User".to_owned()));
    })
    .await;
    let mut visitor = site.visitor();
    assert_eq!(visitor.get("/stream").status, 403);
    let stream = visitor.get_with("/stream", &[("x-forwarded-user", "somebody")]);
    assert!(stream.status == 200 && stream.body.contains("somebody · viewer"), "{}", stream.body);
    assert_eq!(visitor.get_with("/label", &[("x-forwarded-user", "somebody")]).status, 403);
    assert!(visitor.get_with("/label", &[("x-forwarded-user", "lea")]).body.contains("lea · labeler"));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_waits_and_others_do_not() {
    let site = Site::of_people(PEOPLE).await;
    let mut fast = site.visitor().signed_in("token-of-ole-1");
    let statuses: Vec<u16> = (0..60).map(|_| fast.post("/models/shadow/stop", &[]).status).collect();
    assert!(statuses.contains(&429) && statuses.iter().filter(|status| **status == 303).count() >= 20, "{statuses:?}");
    let mut other = site.visitor().signed_in("token-of-lea-1");
    assert_eq!(other.get("/label").status, 200);
    site.close().await;
}

#[tokio::test]
async fn beyond_loopback_without_people_it_does_not_start() {
    let storage = harness::Storage::new().await;
    let config = page::Config {
        database: service::DatabaseArguments::new(&*storage.database),
        http: ([0, 0, 0, 0], Http::on_a_free_port().address.port()).into(),
        ..page::Config::default()
    };
    let error = page::run(config, tokio_util::sync::CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("--people") && error.contains("--user-header"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_pages_know_the_same_people_and_share_the_queue() {
    let site = Site::of_people(PEOPLE).await;
    site.add_classes().await;
    site.predict_some(30).await;
    let mut here = site.visitor().signed_in("token-of-lea-1");
    let mut there = Visitor::of(site.another().await).signed_in("token-of-lea-1");
    let (one, other) = (here.asked("/label").unwrap(), there.asked("/label").unwrap());
    assert_ne!(one.1, other.1);
    // A cookie of one is good at the other.
    let mut moved = here.clone();
    moved.move_to(&there);
    assert_eq!(moved.get("/stream").status, 200);
    site.close().await;
}
