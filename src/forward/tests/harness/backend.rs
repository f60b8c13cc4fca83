//! Backends that do byte for byte what a test says.

use super::*;

/// A backend that handles each connection with `serve`, which is told the connection's number.
pub(in crate::forward::tests) struct Backend {
    pub(in crate::forward::tests) address: SocketAddr,
    pub(in crate::forward::tests) log: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub(in crate::forward::tests) async fn serve<F, R>(serve: F) -> Self
    where
        F: Fn(TcpStream, usize, Arc<Mutex<Vec<String>>>) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, number, seen.clone()));
            }
        });
        Self { address, log, task }
    }

    /// Answers every request on every connection with the same bytes, and logs heads and bodies.
    pub(in crate::forward::tests) async fn answering(answer: &'static str) -> Self {
        Self::serve(move |mut stream, _, log| async move {
            loop {
                let Some(request) = read_request(&mut stream).await else {
                    return;
                };
                log.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await
    }

    /// What was seen so far.
    pub(in crate::forward::tests) fn seen(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// Reads one request with its body; `None` when the connection ends before one.
pub(in crate::forward::tests) async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    let head = read_head(stream, &mut seen).await;
    let lower = head.to_ascii_lowercase();
    let body = if lower.contains("transfer-encoding: chunked") {
        let mut out = Vec::new();
        loop {
            while !seen.windows(2).any(|w| w == b"\r\n") {
                if stream.read_buf(&mut seen).await.ok()? == 0 {
                    return None;
                }
            }
            match read_chunk(stream, &mut seen).await {
                Some(chunk) => out.extend_from_slice(&chunk),
                None => break out,
            }
        }
    } else {
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.trim().parse::<usize>().unwrap());
        while seen.len() < length {
            if stream.read_buf(&mut seen).await.ok()? == 0 {
                return None;
            }
        }
        seen
    };
    Some(head + std::str::from_utf8(&body).unwrap())
}

pub(in crate::forward::tests) const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// Writes, and does not mind that nobody listens any more.
pub(in crate::forward::tests) async fn say<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
}
