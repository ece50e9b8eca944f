use super::{LineFault, Request, TOKENS_PER_ID, TokenSource, Trace, TraceError, TraceLimits, locate};
use kv_pager::ids::TokenId;
use kv_pager::units::Nanos;
use proptest::prelude::*;

const TWO_TURNS: &str = "\
{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 3, \"hash_ids\": [7, 8]}\n\
{\"timestamp\": 5, \"input_length\": 1025, \"output_length\": 0, \"hash_ids\": [7, 8, 9]}\n";

fn read(text: &[u8]) -> Result<Trace, TraceError> {
    Trace::from_reader(text, TraceLimits::default())
}

fn fault_of(text: &str) -> (usize, LineFault) {
    match read(text.as_bytes()).expect_err("the text is wrong") {
        TraceError::Line { line, fault } => (line, fault),
        other => panic!("another error: {other}"),
    }
}

#[test]
fn plain_and_packed_read_alike() {
    let packed = zstd::encode_all(TWO_TURNS.as_bytes(), 3).expect("memory can be packed");
    let plain = read(TWO_TURNS.as_bytes()).expect("it is right");
    assert_eq!(read(&packed).expect("it is right"), plain);
    let second = Request {
        arrival: Nanos::from_millis(5),
        prompt_tokens: 1025,
        output_tokens: 0,
        ids: Box::new([7, 8, 9]),
    };
    assert_eq!(plain.requests()[1], second);
    assert_eq!((plain.references(), plain.prompt_tokens()), (5, 1625));
}

#[test]
fn cut_it_ends_with_the_request_that_has_the_last_reference() {
    for (references, requests) in [(0, 0), (1, 1), (2, 1), (3, 2), (9, 2)] {
        let mut trace = read(TWO_TURNS.as_bytes()).expect("it is right");
        trace.truncate_references(references);
        assert_eq!(trace.requests().len(), requests, "cut to {references}");
    }
}

#[test]
fn the_last_newline_empty_lines_and_further_fields_do_not_matter() {
    let text = "\n{\"timestamp\":1,\"session\":\"a\",\"input_length\":1,\"output_length\":1,\"hash_ids\":[0]}\r\n  \n\
                {\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[0]}";
    assert_eq!(read(text.as_bytes()).expect("it is right").requests().len(), 2);
}

#[test]
fn a_cut_line_is_told_from_a_foreign_one() {
    let cut = &TWO_TURNS[..TWO_TURNS.len() - 10];
    assert_eq!(fault_of(cut), (2, LineFault::Cut));
    for foreign in ["id,tokens\n", "[1, 2]", "{}", "\u{1}", "{\"timestamp\": -1}", "null", "3"] {
        assert!(matches!(fault_of(foreign), (1, LineFault::Foreign { .. })), "{foreign}");
    }
}

#[test]
fn a_cut_packed_file_is_an_error() {
    let long = TWO_TURNS.repeat(1000).replace("\"timestamp\": 0", "\"timestamp\": 5");
    let packed = zstd::encode_all(long.as_bytes(), 3).expect("memory can be packed");
    for length in 4..packed.len() {
        let error = read(&packed[..length]).expect_err("it is cut");
        assert!(matches!(error, TraceError::Broken { .. }), "{length}: {error}");
    }
}

#[test]
fn an_empty_file_is_no_trace() {
    assert!(matches!(read(b""), Err(TraceError::Empty)));
    assert!(matches!(read(b"\n\n"), Err(TraceError::Empty)));
}

#[test]
fn lines_that_break_a_rule_are_named() {
    let line = |timestamp: u64, tokens: u32, ids: &str| {
        format!(
            "{{\"timestamp\": {timestamp}, \"input_length\": {tokens}, \"output_length\": 1, \"hash_ids\": [{ids}]}}\n"
        )
    };
    let cases = [
        (line(0, 0, ""), 1, LineFault::NoPrompt),
        (line(0, 512, "1, 2"), 1, LineFault::WrongIds { ids: 2, tokens: 512 }),
        (line(0, 513, "1"), 1, LineFault::WrongIds { ids: 1, tokens: 513 }),
        (line(9, 1, "1") + &line(8, 1, "1"), 2, LineFault::Backwards { timestamp: 8, before: 9 }),
        (line(u64::MAX, 1, "1"), 1, LineFault::NeverArrives { timestamp: u64::MAX }),
        (
            line(0, 600, "1, 2") + &line(0, 600, "3, 2"),
            2,
            LineFault::OtherPredecessor { id: 2, predecessor: Some(3), before: Some(1), first_line: 1 },
        ),
        (
            line(0, 600, "1, 1"),
            1,
            LineFault::OtherPredecessor { id: 1, predecessor: Some(1), before: None, first_line: 1 },
        ),
    ];
    for (text, line, fault) in cases {
        assert_eq!(fault_of(&text), (line, fault), "{text}");
    }
}

#[test]
fn huge_traces_are_refused_before_they_fill_the_memory() {
    let small = TraceLimits::default();
    let cases = [
        (TraceLimits { text_bytes: 100, ..small }, "bytes of text"),
        (TraceLimits { line_bytes: 40, ..small }, "bytes in a line"),
        (TraceLimits { requests: 1, ..small }, "requests"),
        (TraceLimits { references: 4, ..small }, "hash_ids"),
        (TraceLimits { tokens: 1000, ..small }, "tokens in a prompt or output"),
    ];
    for (limits, expected) in cases {
        match Trace::from_reader(TWO_TURNS.as_bytes(), limits) {
            Err(TraceError::TooLarge { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn errors_say_where_and_what_to_do() {
    let missing = Trace::read("/nowhere/trace.jsonl".as_ref()).expect_err("there is no such file");
    assert!(missing.to_string().contains("/nowhere/trace.jsonl"), "{missing}");
    assert!(missing.to_string().contains("--trace"), "{missing}");
}

#[test]
fn an_id_has_its_own_tokens_and_a_prompt_ends_where_it_says() {
    let source = TokenSource::new(3);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    source.extend(1, TOKENS_PER_ID, &mut first);
    source.extend(2, TOKENS_PER_ID, &mut second);
    assert_eq!(first.len(), 512);
    assert_ne!(first[..16], second[..16]);
    let request =
        Request { arrival: Nanos::ZERO, prompt_tokens: 515, output_tokens: 0, ids: Box::new([1, 2]) };
    let mut prompt = vec![TokenId(99)];
    source.read_prompt(&request, &mut prompt);
    assert_eq!(prompt, [&first[..], &second[..3]].concat());
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that ran on other data says so")]
fn the_recorded_trace_reads_whole() {
    let Some(path) = locate() else {
        eprintln!("no trace here: only the built-in workload was read");
        return;
    };
    let trace = Trace::read(&path).expect("the trace is whole");
    assert!(trace.references() >= trace.requests().len() as u64);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\PC\n]{0,200}") {
        prop_assert!(read(text.as_bytes()).is_err() || !text.is_empty());
    }

    #[test]
    fn no_damage_panics(at in 0..TWO_TURNS.len(), byte: u8, packed: bool) {
        let mut bytes = if packed {
            zstd::encode_all(TWO_TURNS.as_bytes(), 3).expect("memory can be packed")
        } else {
            TWO_TURNS.as_bytes().to_vec()
        };
        let length = bytes.len();
        bytes[at % length] = byte;
        // Some damage still reads as a trace; then it follows the rules.
        if let Ok(trace) = read(&bytes) {
            for request in trace.requests() {
                prop_assert_eq!(request.ids.len(), request.prompt_tokens.div_ceil(TOKENS_PER_ID) as usize);
            }
        }
    }
}
