//! `runner labels serve` as a process: nothing that was acknowledged is lost, nothing counts twice, and only those may
//! in who should.

mod fuzz;
mod load;
#[path = "../fuzz/mutate.rs"]
mod mutate;
mod site;

use assert_cmd::cargo::CommandCargoExt;
use serde_json::{Value, json};
use site::{Client, Site, batch, item, on_disk, questions};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Exit code, standard output, standard error of the program.
fn runner(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("runner").expect("the program").args(arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn path(dir: &Path) -> &str {
    dir.to_str().expect("UTF-8")
}

fn append(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

#[test]
fn two_people_get_different_items_and_undo_is_a_revision() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 3), 1);
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    let (_, ada) = client.next("Ada");
    let (_, bob) = client.next("Bob");
    assert_ne!(ada["item"]["id"], bob["item"]["id"]);
    assert_eq!(client.next("Ada").1["item"]["id"], ada["item"]["id"], "the same until it is answered");
    assert!(ada["item"]["candidates"][0].is_string() && ada["item"].get("gold").is_none(), "nothing is given away");
    let (status, after) = client.answer("Ada", &ada["item"], 1);
    assert_eq!((status, &after["you"]["answers"]), (200, &json!(1)));
    // The page's answer was lost on the way back and is sent again.
    assert_eq!(client.answer("Ada", &ada["item"], 1).0, 200);
    assert_eq!(client.answer("Ada", &ada["item"], 2).0, 409, "something else with the same revision");
    let (_, back) = client.get("/api/previous?labeler=Ada&steps=1");
    assert_eq!((&back["item"]["id"], &back["item"]["revision"]), (&ada["item"]["id"], &json!(1)));
    assert_eq!(back["item"]["answer"]["place"], 1);
    assert_eq!(client.answer("Ada", &back["item"], 3).0, 200);
    let id = ada["item"]["id"].as_str().expect("an id").to_string();
    let order = item(&id)["order"].clone();
    assert_eq!(on_disk(dir.path())[&(id, "Ada".into())], (1, order[3].as_u64()));
    assert_eq!(client.get("/api/previous?labeler=Ada&steps=2").0, 404);
    let lines = std::fs::read_to_string(dir.path().join("b1/answers.jsonl")).expect("there");
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn checks_go_to_everybody_and_several_labelers_share_an_item() {
    let dir = scratch();
    let mut items = questions("q", 12);
    items.insert(
        0,
        json!({"gold": 2})
            .as_object()
            .map(|gold| {
                let mut made = item("gold").as_object().cloned().unwrap_or_default();
                made.extend(gold.clone());
                Value::Object(made)
            })
            .expect("an object"),
    );
    let mut again = item("q0");
    (again["id"], again["repeat_of"]) = (json!("again"), json!("q0"));
    items.push(again);
    batch(dir.path(), "b1", &items, 2);
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    for labeler in ["Ada", "Bob"] {
        let mut seen = Vec::new();
        loop {
            let (_, next) = client.next(labeler);
            if next["state"] == "done" {
                break;
            }
            seen.push(next["item"]["id"].as_str().expect("an id").to_string());
            assert_eq!(client.answer(labeler, &next["item"], 0).0, 200);
        }
        let place = |id: &str| seen.iter().position(|s| s == id).unwrap_or_else(|| panic!("{labeler} has no {id}"));
        assert_eq!(seen.len(), 14, "{labeler}: {seen:?}");
        assert!(place("gold") > 0 && place("again") > place("q0") + 3, "{seen:?}");
    }
    let (_, status) = client.get("/api/lead/overview");
    assert_eq!(status["batches"][0]["progress"]["complete"], 14);
    assert_eq!(status["quality"]["self_agreement"]["pairs"], 2);
}

#[test]
fn answers_survive_kill_9_under_load_and_a_restart_goes_on() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 600), 1);
    let done = load::with_kills(dir.path(), 12, 3, std::time::Duration::from_millis(150));
    assert_eq!(done.lost, 0, "{done:?}");
    assert!(done.acknowledged >= 600, "{done:?}");
    let (code, out, error) = runner(&["labels", "status", path(dir.path()), "--format", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {error}"));
    assert_eq!((&report["progress"]["complete"], &report["progress"]["have"]), (&json!(600), &json!(600)));
}

#[test]
fn one_server_per_directory() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 2), 1);
    let first = Site::open(dir.path(), &[]);
    let Err(message) = Site::try_open(dir.path(), &[]) else { panic!("two servers in one directory") };
    assert!(message.starts_with("2: ") && message.contains("another process serves this directory"), "{message}");
    drop(first);
    Site::open(dir.path(), &[]);
}

#[test]
fn damaged_files_are_named_and_good_answers_stay() {
    let dir = scratch();
    let folder = batch(dir.path(), "b1", &questions("q", 4), 1);
    append(
        &folder.join("answers.jsonl"),
        concat!(
            "{\"item\":\"q0\",\"best\":1,\"labeler\":\"Ada\",\"answered_at\":\"2026-01-01T10:00:00Z\"}\n",
            "{\"item\":\"nowhere\",\"best\":1,\"labeler\":\"Ada\"}\n",
            "{\"item\":\"q1\",\"best\":9,\"labeler\":\"Ada\"}\n",
            "garbage\n",
            "{\"item\":\"q1\",\"best\":0,\"skip\":\"x\",\"labeler\":\"Ada\"}\n",
            "\u{0}\u{0}\n",
            "{\"item\":\"q1\",\"best\":0,\"labe"
        ),
    );
    append(&folder.join("answers-other.jsonl"), "{\"item\":\"q3\",\"best\":2,\"labeler\":\"Cy\"}");
    let (_, out, _) = runner(&["labels", "status", path(dir.path()), "--format", "json"]);
    let report: Value = serde_json::from_str(&out).expect("one object");
    let problems = report["batches"][0]["problems"].as_array().expect("a list").clone();
    assert_eq!((problems.len(), &report["progress"]["have"]), (5, &json!(2)), "{problems:?}");
    for (words, problem) in
        ["no item \"nowhere\"", "best is 9", ":4: column 1", "both best and skip", ":6:"].iter().zip(&problems)
    {
        assert!(problem.as_str().is_some_and(|p| p.contains("answers.jsonl:") && p.contains(words)), "{problem}");
    }
    {
        let site = Site::open(dir.path(), &[]);
        let client = Client::new(&site.base);
        let mut ids = BTreeSet::new();
        while let (200, next) = client.next("Ada") {
            let Some(id) = next["item"]["id"].as_str() else { break };
            ids.insert(id.to_string());
            assert_eq!(client.answer("Ada", &next["item"], 0).0, 200);
        }
        assert_eq!(ids, BTreeSet::from(["q1".to_string(), "q2".to_string()]), "q0 and q3 are answered");
    }
    let aside = std::fs::read_to_string(folder.join("answers.jsonl.partial-1")).expect("moved aside, not lost");
    assert_eq!(aside, "{\"item\":\"q1\",\"best\":0,\"labe");
    for (file, text, words) in [
        ("items.jsonl", "{\"id\":\"q0\"}\n", "items.jsonl:1:11: missing field `query`"),
        ("batch.json", "{\"batch_version\":2", "batch.json:1:18: EOF"),
    ] {
        let broken = scratch();
        let folder = batch(broken.path(), "b1", &questions("q", 1), 1);
        std::fs::write(folder.join(file), text).expect("written");
        let Err(message) = Site::try_open(broken.path(), &[]) else { panic!("{file} is served") };
        assert!(message.starts_with("2: ") && message.contains(words), "{message}");
    }
}

#[test]
fn clocks_may_jump() {
    let dir = scratch();
    let folder = batch(dir.path(), "b1", &questions("q", 4), 1);
    append(
        &folder.join("answers.jsonl"),
        concat!(
            "{\"item\":\"q0\",\"best\":1,\"labeler\":\"Ada\",\"shown_at\":\"2026-01-01T10:00:00Z\",\"answered_at\":\"1970-01-01T00:00:01Z\"}\n",
            "{\"item\":\"q1\",\"best\":1,\"labeler\":\"Ada\",\"shown_at\":\"2026-01-01T10:00:00Z\",\"answered_at\":\"2099-01-01T00:00:00Z\"}\n",
            "{\"item\":\"q2\",\"best\":1,\"labeler\":\"Ada\",\"shown_at\":\"yesterday\",\"answered_at\":\"2026-01-01T10:00:07Z\"}\n",
        ),
    );
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    let (_, next) = client.next("Ada");
    assert_eq!(next["item"]["id"], "q3");
    assert_eq!(client.answer("Ada", &next["item"], 0).0, 200);
    let (_, seen) = client.get("/api/lead/overview");
    let ada = &seen["quality"]["labelers"][0];
    assert_eq!((&ada["answers"], &ada["timed"]), (&json!(4), &json!(1)), "only the last has a time of work: {ada}");
}

#[test]
fn tokens_hosts_and_sizes_are_checked() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 4), 1);
    let local = Site::open(dir.path(), &[]);
    let mut client = Client::new(&local.base);
    assert_eq!(client.next("Ada").0, 200);
    assert_eq!(client.next("%20").0, 400);
    assert_eq!(client.get("/api/next").0, 400);
    assert_eq!(client.post_text("/api/answer", "{").0, 400);
    assert_eq!(client.post_text("/api/answer", &"x".repeat(70_000)).0, 413);
    assert_eq!(client.post("/api/answer", &json!({"labeler": "Ada", "item": "q0"})).0, 400);
    assert_eq!(client.post("/api/answer", &json!({"labeler": "Ada", "item": "q0", "place": 4})).0, 400);
    assert_eq!(client.post("/api/answer", &json!({"labeler": "Ada", "item": "../b1", "place": 0})).0, 400);
    assert_eq!(client.get("/../Cargo.toml").0, 404);
    client.headers.push(("Origin", "http://evil.example".into()));
    assert_eq!(client.next("Ada").0, 403);
    client.headers = vec![];
    assert_eq!(client.post("/api/enter", &json!({"labeler": "Ada"})).0, 403, "no X-Runner");
    assert_eq!(client.next("Ada").0, 403, "an image of another site");
    client.headers = vec![("X-Runner", "1".into()), ("Host", "evil.example".into())];
    assert_eq!(client.next("Ada").0, 403, "DNS rebinding");
    drop(local);

    let open = Site::open(dir.path(), &["--listen", "0.0.0.0:0"]);
    let token = |address: &str| address.rsplit("token=").next().expect("a token").to_string();
    let (labeler, lead) = (token(&open.page), token(&open.dashboard));
    assert!(labeler != lead && labeler.len() == 32 && lead.len() == 32);
    // Addresses that other machines can open name this one.
    assert!(!open.base.contains("0.0.0.0"), "{}", open.base);
    let port = open.base.rsplit(':').next().expect("a port");
    let mut client = Client::new(&format!("http://127.0.0.1:{port}"));
    for path in ["/", "/dashboard", "/api/next?labeler=Ada", "/api/lead/overview", "/?token=0123456789abcdef"] {
        assert_eq!(client.get(path).0, 401, "{path}");
    }
    assert_eq!(client.get(&format!("/?token={labeler}")).0, 303);
    client.headers.push(("X-Token", labeler));
    assert_eq!(client.next("Ada").0, 200);
    assert_eq!(client.get("/api/lead/overview").0, 401, "the lead alone");
    client.headers[1].1 = lead;
    assert_eq!(client.get("/api/lead/overview").0, 200);
}

/// Such a connection once kept the server alive whatever it was told.
#[cfg(unix)]
#[test]
fn half_a_request_does_not_keep_the_server_from_ending() {
    use std::io::Write;
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 1), 1);
    let mut site = Site::open(dir.path(), &[]);
    let address = site.base.strip_prefix("http://").expect("an address");
    let half = |text: &str| {
        let mut connection = std::net::TcpStream::connect(address).expect("connected");
        connection.write_all(text.as_bytes()).expect("sent");
        connection
    };
    let body = "POST /api/answer HTTP/1.1\r\nHost: localhost\r\nX-Runner: 1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    let _open = [half("GET / HTTP/1.1\r\nHost: loc"), half(body)];
    assert_eq!(Client::new(&site.base).next("Ada").0, 200);
    let told = Command::new("kill").args(["-TERM", &site.child.id().to_string()]).status().expect("told");
    assert!(told.success());
    let ended = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        site.child.try_wait().expect("a status")
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "it ends within 20 seconds");
}

#[cfg(unix)]
#[test]
fn a_pipe_among_the_batches_is_refused_and_not_waited_for() {
    let dir = scratch();
    let folder = batch(dir.path(), "b1", &questions("q", 1), 1);
    assert!(Command::new("mkfifo").arg(folder.join("answers.jsonl")).status().expect("made").success());
    let (code, _, error) = runner(&["labels", "status", path(dir.path())]);
    assert!(code == 2 && error.contains("answers.jsonl") && error.contains("is not a file"), "{error}");
    assert!(Site::try_open(dir.path(), &[]).is_err_and(|said| said.contains("is not a file")));
}

#[test]
fn dropped_labelers_stop_counting_at_once_and_names_are_checked() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 2), 1);
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    let (_, next) = client.next("mallory");
    assert_eq!(client.answer("mallory", &next["item"], 0).0, 200);
    let (_, like) = client.post("/api/enter", &json!({"labeler": "Malory"}));
    assert_eq!((&like["known"], &like["like"]), (&json!(false), &json!("mallory")));
    let (code, _, error) = runner(&["labels", "drop", "malory", "--dir", path(dir.path())]);
    assert!(code == 2 && error.contains("did you mean \"mallory\"?"), "{error}");
    let decide = |action: &str| {
        runner(&["labels", action, "mallory", "--dir", path(dir.path()), "--reason", "r", "--by", "Lee"])
    };
    assert_eq!(decide("drop").0, 0);
    // The server sees it within seconds.
    let seen = |state: &str| {
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            client.next("mallory").1["state"] == state
        })
    };
    assert!(seen("dropped"));
    let (_, again) = client.next("Ada");
    assert_eq!(again["item"]["id"], next["item"]["id"], "the item is asked again");
    assert_eq!(decide("restore").0, 0);
    assert!(seen("item"));
    let decision = json!({"labeler": "mallory", "action": "drop", "by": "Lee"});
    assert_eq!(client.post("/api/lead/labeler", &decision).0, 200);
    assert_eq!(client.next("mallory").1["state"], "dropped");
    let lines = std::fs::read_to_string(dir.path().join("labelers.jsonl")).expect("there");
    assert_eq!(lines.lines().count(), 3);
}

#[test]
fn new_batches_and_other_tools_answers_appear() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 1), 1);
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    append(&dir.path().join("b1/answers-tool.jsonl"), "{\"item\":\"q0\",\"best\":0,\"labeler\":\"Cy\"}\n");
    batch(dir.path(), "b2", &questions("r", 1), 1);
    let found = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let (_, next) = client.get("/api/lead/overview");
        next["batches"].as_array().is_some_and(|b| b.len() == 2) && next["batches"][0]["progress"]["complete"] == 1
    });
    assert!(found);
    assert_eq!(client.next("Ada").1["item"]["id"], "r0");
}

#[test]
fn a_hundred_thousand_items_are_served() {
    let dir = scratch();
    batch(dir.path(), "b1", &questions("q", 100_000), 1);
    let site = Site::open(dir.path(), &[]);
    let client = Client::new(&site.base);
    for _ in 0..200 {
        let (_, next) = client.next("Ada");
        assert_eq!(client.answer("Ada", &next["item"], 0).0, 200);
    }
    let (_, seen) = client.get("/api/lead/overview");
    assert_eq!(seen["batches"][0]["progress"]["have"], 200);
    if let Some(peak) = load::peak_memory(site.child.id()) {
        assert!(peak < 200 << 20, "{peak} bytes");
    }
}

#[test]
fn agreement_and_status_are_for_people_and_for_programs() {
    let dir = scratch();
    let folder = batch(dir.path(), "b1", &questions("q", 2), 2);
    append(
        &folder.join("answers.jsonl"),
        concat!(
            "{\"item\":\"q0\",\"best\":1,\"labeler\":\"Ada\"}\n{\"item\":\"q0\",\"best\":1,\"labeler\":\"Bob\"}\n",
            "{\"item\":\"q1\",\"best\":1,\"labeler\":\"Ada\"}\n{\"item\":\"q1\",\"best\":2,\"labeler\":\"Bob\"}\n",
        ),
    );
    for (arguments, schema) in [("agreement", "quality"), ("status", "batches_report")] {
        for path in [dir.path(), &folder] {
            let (code, out, error) = runner(&["labels", arguments, self::path(path), "--format", "json"]);
            assert_eq!(code, 0, "{error}");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{schema}.schema.json"));
            let schema: Value = serde_json::from_slice(&std::fs::read(file).expect("the schema")).expect("JSON");
            let value: Value = serde_json::from_str(&out).expect("one object");
            jsonschema::validate(&schema, &value).expect("as published");
        }
    }
    let (_, out, _) = runner(&["labels", "agreement", path(dir.path()), "--format", "markdown"]);
    assert!(out.contains("| labeler-labeler | 50.0 |") && out.contains("| Bob | 2 |"), "{out}");
    let (_, out, _) = runner(&["labels", "status", path(dir.path())]);
    assert!(out.contains("4 of 4") && out.contains("every question has its answers"), "{out}");
}

#[test]
fn the_button_stops_a_run_which_says_who_and_why() {
    let (dir, place) = (scratch(), scratch());
    batch(dir.path(), "b1", &questions("q", 1), 1);
    let results = place.path().join("a");
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/quickstart.toml");
    let mut child = Command::cargo_bin("runner")
        .expect("the program")
        .args([spec, "--profile", "smoke", "--device", "cpu", "--set", "policy.episodes=3200", "--out"])
        .arg(&results)
        .env_remove("RUNNER_CACHE")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let metrics = results.join("runs/direct/metrics.jsonl");
    let begun = (0..2400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::metadata(&metrics).is_ok_and(|m| m.len() > 0)
    });
    assert!(begun, "no update in two minutes");
    let site = Site::open(dir.path(), &["--results", path(&results)]);
    let client = Client::new(&site.base);
    let (_, seen) = client.get("/api/lead/run");
    assert!(seen["runs"]["direct"]["curve"][0][1].is_number(), "{seen}");
    assert_eq!(client.post("/api/stop", &json!({"by": "Ada", "reason": "gibberish"})).0, 200);
    assert_eq!(child.wait().expect("ended").code(), Some(4));
    let stop = std::fs::read_to_string(results.join("stops.jsonl")).expect("recorded");
    let stop: Value = serde_json::from_str(&stop).expect("one line");
    assert_eq!((&stop["kind"], &stop["by"], &stop["reason"]), (&json!("person"), &json!("Ada"), &json!("gibberish")));
    assert!(stop["update"].as_u64() > Some(0) && stop["requested_at"].is_string());
}

#[test]
fn stop_is_asked_for_from_the_page_and_from_the_command_line() {
    let (dir, results) = (scratch(), scratch());
    batch(dir.path(), "b1", &questions("q", 1), 1);
    let site = Site::open(dir.path(), &["--results", path(results.path())]);
    let client = Client::new(&site.base);
    assert_eq!(client.post("/api/stop", &json!({"by": ""})).0, 400);
    let (status, first) = client.post("/api/stop", &json!({"by": "Ada", "reason": "gibberish"}));
    assert_eq!((status, &first["first"]), (200, &json!(true)));
    assert_eq!(client.post("/api/stop", &json!({"by": "Bob"})).1["stop"]["by"], "Ada");
    let (code, _, error) = runner(&["stop", path(results.path())]);
    assert!(code == 2 && error.contains("no results directory"), "{error}");
    std::fs::write(results.path().join("spec.toml"), "").expect("written");
    let (code, _, error) = runner(&["stop", path(results.path()), "--reason", "x"]);
    assert!(code == 0 && error.contains("Ada has asked already") && error.contains("--undo"), "{error}");
    assert_eq!(runner(&["stop", path(results.path()), "--undo"]).0, 0);
    assert_eq!(client.get("/api/stop").1, json!({"known": true, "stop": null}));
}
