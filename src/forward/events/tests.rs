use std::collections::VecDeque;
use std::future::poll_fn;

use proptest::prelude::*;

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Meters;

struct Nothing;

impl Finish for Nothing {
    fn finish(self) {}
}

/// Pieces, each after a pause.
struct Pieces {
    pieces: VecDeque<(Duration, &'static str)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((pause, piece)) = self.pieces.front().copied() else {
            return Poll::Ready(None);
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        self.pieces.pop_front();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }
}

fn stream(
    pieces: Vec<(u64, &'static str)>,
    keep_alive: u64,
    ends: Option<u64>,
) -> EventStream<Pieces, Nothing> {
    let pieces = pieces
        .into_iter()
        .map(|(pause, piece)| (Duration::from_secs(pause), piece))
        .collect();
    let life = Life {
        keep_alive: Some(Duration::from_secs(keep_alive)),
        idle: Duration::from_secs(1000),
        ends: ends.map(|after| Ends {
            at: Instant::now() + Duration::from_secs(after),
            reason: CloseReason::TokenExpired,
        }),
        over: None,
        opaque: false,
        watch: None,
        drain: CancellationToken::new(),
        kind: Kind::SseGet,
        meters: Arc::new(Meters::for_test(&Metrics::new())),
    };
    EventStream::new(
        Pieces {
            pieces,
            sleep: None,
        },
        Nothing,
        None,
        life,
    )
}

async fn all(stream: &mut EventStream<Pieces, Nothing>) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *stream).poll_frame(cx)).await {
        out.push(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
    }
    out
}

const COMMENT: &str = ": keep-alive\n\n";

#[tokio::test(start_paused = true)]
async fn comments_come_when_it_was_quiet_and_only_then() {
    let began = Instant::now();
    let mut stream = stream(
        vec![
            (14, "data: a\n\n"),
            (14, "data: b\n\n"),
            (31, "data: c\n"),
            (40, "\n"),
        ],
        15,
        None,
    );
    assert_eq!(
        all(&mut stream).await,
        [
            "data: a\n\n",
            "data: b\n\n",
            COMMENT,
            COMMENT,
            "data: c\n",
            "\n"
        ]
    );
    assert_eq!(stream.ended, Some(CloseReason::Backend));
    assert_eq!(began.elapsed().as_secs(), 99);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_credential_ends_the_stream_between_events() {
    let mut quiet = stream(vec![(5, "data: a\n\n"), (100, "data: b\n\n")], 60, Some(20));
    let began = Instant::now();
    assert_eq!(all(&mut quiet).await, ["data: a\n\n"]);
    assert_eq!(
        (quiet.ended, began.elapsed().as_secs()),
        (Some(CloseReason::TokenExpired), 20)
    );

    let mut amid = stream(
        vec![(5, "data: a\n"), (100, "data: b\n\ndata: c\n\n")],
        60,
        Some(20),
    );
    assert_eq!(all(&mut amid).await, ["data: a\n", "data: b\n\n"]);

    let mut busy = stream(vec![(0, "data: a\n\n"); 50], 60, Some(0));
    assert!(all(&mut busy).await.len() <= 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_of_empty_pieces() {
    let mut stream = stream(
        vec![(0, ""), (1, "data: a\n\n"), (1, ""), (1, "")],
        60,
        None,
    );
    assert_eq!(all(&mut stream).await, ["data: a\n\n"]);
    assert_eq!(stream.ended, Some(CloseReason::Backend));
}

/// The events of a stream as the HTML Standard's parser dispatches them, and what is left over at its end.
fn events(stream: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let mut event = Vec::new();
    for line in lines.split('\n') {
        if line.is_empty() {
            if !event.is_empty() {
                events.push(std::mem::take(&mut event));
            }
        } else if !line.starts_with(':') {
            event.push(line.to_owned());
        }
    }
    (events, event)
}

/// Whether comments alone were added, each where an event begins: then taking them out gives the original, and a
/// client that splits events sees the same ones.
fn only_comments_between(original: &str, relayed: &[String]) -> bool {
    let mut boundary = Boundary::default();
    let mut rest = String::new();
    for piece in relayed {
        if piece == COMMENT && boundary.is_between() {
            continue;
        }
        boundary.advance(piece.as_bytes());
        rest += piece;
    }
    rest == original
}

proptest! {
    #[test]
    fn nothing_is_changed_and_no_event_is_broken(
        pieces in proptest::collection::vec((0u64..40, "[a:\n\r]{1,12}"), 0..12),
    ) {
        let original: String = pieces.iter().map(|(_, piece)| piece.as_str()).collect();
        let pieces: Vec<(u64, &'static str)> = pieces
            .into_iter()
            .map(|(pause, piece)| (pause, &*Box::leak(piece.into_boxed_str())))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let relayed = runtime.block_on(async { all(&mut stream(pieces, 15, None)).await });
        prop_assert!(only_comments_between(&original, &relayed), "{:?}", relayed);
        // A stream that ends inside an event ends inside it here too.
        prop_assert_eq!(events(&original), events(&relayed.concat()));
    }
}
