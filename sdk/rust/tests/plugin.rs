use std::time::Duration;

use wasmill::testing::{Event, Host, Output};
use wasmill::{Config, Counter, Error, Gauge, Histogram, Instance, Level, Message, Out, Outcome, Plugin, Result};

#[allow(dead_code)]
#[path = "../examples/route.rs"]
mod route;

fn all(event: &wasmill::Event, out: &mut Out) -> Result {
    match event.payload() {
        b"pass" => out.pass(),
        b"both" => {
            out.pass_to("other")?;
            out.pass()
        }
        b"as" => out.pass_as(&Message { subject: b"s.as", key: b"k", headers: &[("a", b"2")], ..Message::default() }),
        b"emit" => out.emit(&Message {
            output: "other",
            subject: event.subject(),
            key: event.key(),
            headers: &[("b", b"3")],
            payload: b"new",
            keep_headers: true,
        }),
        b"drop" => {
            out.pass()?;
            Err(Outcome::DROP)
        }
        b"later" => Err(Outcome::retry_after(Duration::from_micros(1500), "not yet")),
        b"dead" => Err(Outcome::dead_letter("never")),
        b"text" => Err(Outcome::drop(format!("attempt {}", event.attempt()))),
        b"nowhere" => out.pass_to("nowhere"),
        b"header" => out.emit(&Message { headers: &[("a b", b"")], ..Message::default() }),
        b"break" => out.emit(&Message { headers: &[("a", b"1\r\n")], ..Message::default() }),
        b"error" => {
            let n: i64 = "x".parse()?;
            out.emit(&Message { payload: n.to_string().as_bytes(), ..Message::default() })
        }
        _ => Ok(()),
    }
}

#[test]
fn what_a_handler_decides_concerns_its_own_event() {
    let mut plugin = Host::new().output("other").handler(all);
    let headers = [("a", "1")];
    let event = |payload| Event { subject: "s.1", key: "key", headers: &headers, ..Event::new(payload) };
    let events =
        ["pass", "both", "as", "emit", "drop", "later", "dead", "text", "nowhere", "header", "break", "error", ""];
    let result = plugin.process(&events.map(event));

    let kept = vec![("a".to_string(), "1".to_string())];
    let passed = |event, output: &str, payload: &str| Output {
        event: Some(event),
        output: output.into(),
        subject: String::new(),
        key: String::new(),
        headers: kept.clone(),
        payload: payload.into(),
    };
    let with = |name: &str, value: &str| vec![kept[0].clone(), (name.to_string(), value.to_string())];
    assert_eq!(
        result.outputs,
        [
            passed(0, "default", "pass"),
            passed(1, "other", "both"),
            passed(1, "default", "both"),
            Output { subject: "s.as".into(), key: "k".into(), headers: with("a", "2"), ..passed(2, "default", "as") },
            Output { subject: "s.1".into(), key: "key".into(), headers: with("b", "3"), ..passed(3, "other", "new") },
        ]
    );
    let outcomes: Vec<(usize, Outcome)> = result.outcomes.into_iter().collect();
    assert_eq!(
        outcomes,
        [
            (4, Outcome::DROP),
            (5, Outcome::retry_after(Duration::from_millis(2), "not yet")),
            (6, Outcome::dead_letter("never")),
            (7, Outcome::drop("attempt 1")),
            (8, Outcome::retry("the pipeline has no output \"nowhere\" here; it has default, other")),
            (9, Outcome::retry("a message has a header that cannot travel: its name has a byte that is not allowed")),
            (10, Outcome::retry("a message has a header that cannot travel: its value has a byte that is not allowed")),
            (11, Outcome::retry("invalid digit found in string")),
        ]
    );
}

#[test]
fn an_event_is_what_was_published() {
    fn seen(event: &wasmill::Event, out: &mut Out) -> Result {
        let headers: Vec<_> = event.headers().collect();
        let text = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {} {:?} {}",
            event.subject_token(0),
            event.subject_token(2).map(String::from_utf8_lossy),
            event.subject_token(4),
            String::from_utf8_lossy(event.key()),
            event.header("b").map(String::from_utf8_lossy),
            event.header("c"),
            headers.len(),
            event.time(),
            event.attempt()
        );
        out.emit(&Message { payload: text.as_bytes(), ..Message::default() })
    }
    let event = Event {
        subject: "a.bc.d",
        key: "k",
        headers: &[("a", "1"), ("b", "2"), ("b", "3")],
        time: Duration::from_millis(1500),
        attempt: 3,
        ..Event::default()
    };
    let result = Host::new().handler(seen).process(&[event]);
    assert_eq!(result.outputs[0].payload, r#"None Some("bc") None "k" Some("2") None 3 1.5s 3"#);
}

#[test]
fn responses_grow_with_what_is_emitted() {
    fn large(event: &wasmill::Event, out: &mut Out) -> Result {
        for _ in 0..3 {
            out.emit(&Message { payload: event.payload(), ..Message::default() })?;
        }
        Ok(())
    }
    let mut plugin = Host::new().handler(large);
    for size in [0, 1, 7, 8, 9, 65_535, 65_536, 65_537, 3 << 20, 10] {
        let payload = "x".repeat(size);
        let result = plugin.process(&[Event::new(&payload), Event::new("y")]);
        assert_eq!(result.outputs.len(), 6);
        assert!(result.outputs[..3].iter().all(|o| o.payload == payload) && result.outputs[5].payload == "y");
    }
}

#[test]
fn a_reason_that_is_too_long_is_cut() {
    fn long(_: &wasmill::Event, _: &mut Out) -> Result {
        Err(Outcome::dead_letter("z".repeat(100_000)))
    }
    let result = Host::new().handler(long).process(&[Event::new(""), Event::new("")]);
    assert_eq!(result.outcome(1), Some(&Outcome::dead_letter("z".repeat(65_535))));
}

struct Counting {
    sum: i64,
    from: String,
}

static EVENTS: Counter = Counter::new("events_total");
static SUM: Gauge = Gauge::new("sum");
static SIZES: Histogram = Histogram::new("sizes_bytes");

impl Plugin for Counting {
    fn open(instance: &Instance) -> Result<Self, Error> {
        let config: Config = instance.config();
        config.only(&["start", "name", "scale", "strict", "areas", "wait"])?;
        let strict = config.bool("strict")?.unwrap_or(false);
        if strict && config.f64("scale")?.is_none() {
            return Err(Error::new("config: strict needs a scale"));
        }
        let wait = config.duration("wait")?.unwrap_or_default();
        let from = format!("{}/{}/{}/{:?}", instance.plugin(), instance.pipeline(), instance.partition(), wait);
        Ok(Counting {
            sum: config.i64("start")?.unwrap_or(0),
            from: config.str("name")?.unwrap_or(from) + &format!("{:?}", config.find("/areas/1/name").as_str()),
        })
    }

    fn process(&mut self, event: &wasmill::Event, _: &mut Out) -> Result {
        self.sum += event.find("").as_i64().ok_or(Outcome::RETRY)?;
        EVENTS.inc();
        SUM.set(self.sum as f64);
        SIZES.observe(event.payload().len() as f64);
        wasmill::info!("the sum is {}", self.sum);
        wasmill::debug!("{:?}", event.find(""));
        Ok(())
    }

    fn close(&mut self, out: &mut Out) -> Result<(), Error> {
        assert!(out.pass().is_err());
        out.emit(&Message { payload: format!("{} {}", self.from, self.sum).as_bytes(), ..Message::default() })?;
        Ok(())
    }
}

#[test]
fn an_instance_has_a_configuration_state_and_an_end() {
    let mut plugin = Host::new()
        .config(r#"{"start":40,"wait":"1h2m3.5s4ms","areas":[{},{"name":"\u00e9"}]}"#)
        .open::<Counting>()
        .unwrap();
    let result = plugin.process(&[Event::new("1"), Event::new("x"), Event::new("11")]);
    assert_eq!(result.outcome(1), Some(&Outcome::RETRY));
    assert_eq!(plugin.logs()[0], (Level::Info, "the sum is 41".to_string()));
    assert_eq!(plugin.logs()[3], (Level::Debug, "11".to_string()));
    assert_eq!((plugin.metric("events_total"), plugin.metric("sum"), plugin.metric("sizes_bytes")), (2.0, 52.0, 3.0));
    let last = plugin.close();
    assert_eq!(last.outputs[0].event, None);
    assert_eq!(last.outputs[0].payload, "test/test/0/3723.504sSome(\"é\") 52");
    assert!(plugin.close().outputs.is_empty());
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_with_its_key() {
    for (config, why) in [
        (r#"{"strat":1}"#, "config: unknown key \"strat\"; there is start, name, scale, strict, areas, wait"),
        (r#"{"start":"1"}"#, "config.start: want an integer, got \"1\""),
        (r#"{"start":1.5}"#, "config.start: want an integer, got 1.5"),
        (r#"{"strict":0}"#, "config.strict: want a boolean, got 0"),
        (r#"{"strict":true,"scale":[]}"#, "config.scale: want a number, got []"),
        (r#"{"strict":true,"scale":null}"#, "config: strict needs a scale"),
        (r#"{"wait":1}"#, "config.wait: want a duration such as \"1.5s\", got 1"),
        (r#"{"wait":"1"}"#, "config.wait: want a duration such as \"1.5s\", got \"1\""),
        (r#"{"wait":"-1s"}"#, "config.wait: want a duration such as \"1.5s\", got \"-1s\""),
        (r#"{"wait":"9999999999h"}"#, "config.wait: want a duration such as \"1.5s\", got \"9999999999h\""),
        (r#"{"wait":"s"}"#, "config.wait: want a duration such as \"1.5s\", got \"s\""),
        (r#"{"name":{}}"#, "config.name: want a string, got {}"),
        (r#"{"#, "the document of wasmill_open is not a JSON object"),
    ] {
        assert_eq!(Host::new().config(config).open::<Counting>().err().as_deref(), Some(why), "{}", config);
    }
}

#[test]
fn grants_reach_the_host() {
    fn granted(_: &wasmill::Event, out: &mut Out) -> Result {
        let mut b = [0; 3];
        wasmill::random(&mut b);
        let long = wasmill::secret("long").map(|s| s.len());
        let text = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            wasmill::now(),
            b,
            wasmill::secret("token"),
            long,
            wasmill::secret("x")
        );
        out.emit(&Message { payload: text.as_bytes(), ..Message::default() })
    }
    let host = Host::new().now(Duration::from_secs(7)).secret("token", "t").secret("long", &"l".repeat(1000));
    let result = host.handler(granted).process(&[Event::new("")]);
    assert_eq!(result.outputs[0].payload, "7s [0, 1, 2] Some([116]) Some(1000) None");
}

#[test]
fn the_example_routes() {
    assert_eq!(Host::new().open::<route::Route>().err().as_deref(), Some("the pipeline needs an output \"errors\""));
    let mut plugin = Host::new().output("errors").open::<route::Route>().unwrap();
    let result = plugin.process(&[
        Event::new(r#"{"status":200}"#),
        Event { key: "host", ..Event::new(r#"{"status":503}"#) },
        Event::new(r#"{}"#),
    ]);
    assert_eq!(result.outputs[0].output, "default");
    let error = &result.outputs[1];
    assert_eq!(
        (error.output.as_str(), error.key.as_str(), error.payload.as_str()),
        ("errors", "host", "{\"status\":503}")
    );
    assert_eq!(result.outcome(2), Some(&Outcome::dead_letter("no status")));
}
