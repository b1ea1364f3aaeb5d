//! Reads a request's body, within a size and a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::problem::Refusal;

/// The whole body: at most `max` bytes, all of them within `time`.
///
/// # Errors
/// Too large, too slow, or cut off.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    max: usize,
    time: Duration,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > max as u64) {
        return Err(Refusal::BodyTooLarge { max });
    }
    match tokio::time::timeout(time, collect(body, max)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::BodySlow),
    }
}

async fn collect<B>(mut body: B, max: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are read and mean nothing here.
        let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
        if whole.len() + data.len() > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
