//! The admin port: `/health/live`, `/health/ready` and `/metrics` (Prometheus text) over HTTP/1.1.
//!
//! Answers GET and HEAD, one request per connection, and reads at most a few kilobytes of it. Shows no documents.

mod metrics;
mod storage_metrics;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::mongo_wire::Server;

const REQUEST_BYTES_MAX: usize = 8 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const REQUESTS_MAX: usize = 64;

/// Answers requests until the task is dropped.
pub(crate) async fn serve(server: Arc<Server>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let permit = room
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    // A client that went away or dawdles gets nothing.
                    let _ = timeout(REQUEST_TIMEOUT, answer(&server, stream)).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn answer(server: &Arc<Server>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() >= REQUEST_BYTES_MAX {
            return write(
                &mut stream,
                &Response::text(431, "the request is too long\n"),
                true,
            )
            .await;
        }
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (server, method, path) = (Arc::clone(server), method.to_owned(), path.to_owned());
    let with_body = method != "HEAD";
    let responding = tokio::task::spawn_blocking(move || respond(&server, &method, &path));
    // A task that panicked has printed why.
    let Ok(response) = responding.await else {
        return Ok(());
    };
    write(&mut stream, &response, with_body).await
}

/// A response: status, type and body.
struct Response {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Response {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

fn respond(server: &Server, method: &str, path: &str) -> Response {
    if method != "GET" && method != "HEAD" {
        return Response::text(405, "only GET and HEAD are answered here\n");
    }
    match path.split('?').next().unwrap_or_default() {
        "/health/live" => Response::text(200, "live\n"),
        "/health/ready" => ready(server),
        "/metrics" => Response {
            status: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics::render(server),
        },
        _ => Response::text(
            404,
            "not found; there are /health/live, /health/ready and /metrics\n",
        ),
    }
}

/// Ready: a member that knows who leads, and, if it leads, takes writes.
fn ready(server: &Server) -> Response {
    let view = server.topology.view();
    if view.stopping {
        return Response::text(503, "stopping\n");
    }
    match &view.primary {
        Some(primary) => Response::text(200, format!("ready; the primary is {primary}\n")),
        None => Response::text(503, "no primary is known\n"),
    }
}

async fn write(
    stream: &mut TcpStream,
    response: &Response,
    with_body: bool,
) -> std::io::Result<()> {
    let reason = match response.status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len()
    );
    if with_body {
        text.push_str(&response.body);
    }
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
